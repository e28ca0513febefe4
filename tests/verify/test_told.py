"""What a person reads of a verification."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.cli.verifying import _print
from builder.data.verification import Compared, Difference, Rebuild, Verification
from builder.verbs.verify import Verdict

SAME, OTHER = "a" * 64, "b" * 64


def test_causes_are_explained_once_and_bases_told(capsys: pytest.CaptureFixture[str]) -> None:
    differences = [
        Difference(artefact="image.raw", part="root", path=path, what="content", cause=cause, evidence="-1\n+2")
        for path, cause in (("/etc/when", "clock"), ("/etc/then", "clock"), ("/etc/odd", None))
    ]
    rows = (
        Compared(name="image.efi", first=SAME, second=SAME, basis="unsigned"),
        Compared(name="image.raw", first=SAME, second=OTHER),
    )
    rebuild = Rebuild(
        number=1, conditions={"umask": "0077"}, seconds=61.0, compared=rows, differences=tuple(differences)
    )
    found = Verification(profile="small", architecture="amd64", lock=SAME, seed=1, rebuilds=(rebuild,))
    _print(Verdict(found, Path("/out/small"), Path("/out/small.verify.json"), Path("/out/small.differs")))
    out = capsys.readouterr().out
    assert "1 of 2 differ" in out
    assert "image.efi: the same bytes without signatures" in out
    assert "build 1: image.raw: root: /etc/when: content (known cause: clock)\n    -1\n    +2" in out
    assert "build 1: image.raw: root: /etc/odd: content\n" in out
    assert out.count("\nclock: ") == 1
    assert "0 of 1 identical with /out/small" in out
