"""The harness sees what it looks for: each invariant is broken once, by a command that does just that."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.chaos import rounds
from tests.chaos.faults import Trouble
from tests.chaos.rounds import run_round
from tests.chaos.stage import Place, Stage, end_family
from tests.chaos.watch import adopt_orphans, descendants, left_running, untouched

GOOD = 'echo done > "$1/result"'


class Shell(Stage):
    """A shell script in the command's place; it gets the place's root as ``$1``."""

    name = "shell"
    script = GOOD

    def place(self, root: Path) -> Place:
        for name in ("tmp", "earlier"):
            (root / name).mkdir(parents=True)
        (root / "earlier/image").write_text("old")
        return Place(root)

    def command(self, place: Place) -> list[str]:
        return ["sh", "-c", self.script, "sh", str(place.root)]

    def options(self, place: Place) -> list[str]:
        return []

    def folders(self, place: Place) -> dict[str, Path]:
        return {"temporary": place.temporary}

    def earlier(self, place: Place) -> Mapping[str, str]:
        return untouched(place.root / "earlier")

    def result(self, place: Place) -> Mapping[str, str]:
        return {"result": (place.root / "result").read_text()}

    def halves(self, place: Place) -> list[str]:
        path = place.root / "result"
        return [] if not path.exists() or path.read_text() == "done\n" else ["half"]

    def leftovers(self, place: Place) -> list[str]:
        return [path.name for path in place.temporary.iterdir()]


@contextlib.contextmanager
def nothing(_stage: Stage, _place: Place, _rng: random.Random) -> Iterator[Trouble]:
    yield Trouble("nothing", words=("a word",))


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    monkeypatch.setitem(rounds.FAULTS, "nothing", nothing)
    monkeypatch.setattr(left_running, "__defaults__", (0.5,))
    adopt_orphans()
    before = descendants(os.getpid())
    yield Shell(reference={"result": "done\n"})
    adopt_orphans(False)
    for pid in set(descendants(os.getpid())).difference(before):
        end_family(pid)


@pytest.mark.parametrize(
    ("script", "broken"),
    [
        (GOOD, set()),
        ("echo a word; exit 1", {"next run succeeds"}),
        ("echo hmm; exit 1", {"says what was wrong", "next run succeeds"}),
        ("echo a word: Traceback; exit 1", {"no traceback", "next run succeeds"}),
        ("exit 7", {"ends in order", "says what was wrong", "next run succeeds"}),
        ('echo don > "$1/result"', {"complete or absent", "identical"}),
        (f'touch "$1/earlier/image"; {GOOD}', {"earlier results untouched"}),
        (f'rm "$1/earlier/image"; {GOOD}', {"earlier results untouched"}),
        (f': > "$TMPDIR/file"; {GOOD}', {"nothing left behind", "nothing left over"}),
        (f'sleep 20 & echo $! >> "$1/pids"; {GOOD}', {"no process left"}),
    ],
)
def test_every_invariant_can_be_broken(shell: Shell, tmp_path: Path, script: str, broken: set[str]) -> None:
    shell.script = script
    report = run_round(shell, "shell-nothing-0", 1, tmp_path / "place")
    assert {line.partition(":")[0] for line in report.broken} == broken
    assert (tmp_path / "place").exists() == bool(broken)
