"""Finding mirrors from what apt, pip and uv know; no test names a real host."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from builder.data.profile import Repository
from builder.foundation.errors import InputError
from builder.foundation.process import Completed, Runner
from builder.steps.mirrors import (
    debian_mirrors,
    debian_sources,
    parse_deb822,
    parse_indices,
    parse_one_line,
    parse_pip_config,
    parse_targets,
    parse_template,
    unlocated,
    vendor_indices,
    wheel_index,
)

BOTH = {"debian": ["http://a.test/debian"], "debian-security": ["http://a.test/debian-security"]}
TARGETS = """\
http://a.test/debian/ Debian|Debian
http://a.test/debian/ Debian|Debian
https://pool.test/apt/ Tool Maker|Debian
http://a.test/debug/ Debian|Debian debug
copy:/media/cd/ Debian|Debian
http://b.test/debian Debian|Debian
http://a.test/debian-security/ Debian|Debian-Security
http://c.test/ubuntu/ Ubuntu|Ubuntu
"""
ONE_LINE = """\
# deb http://off.test/debian trixie main
deb http://a.test/debian trixie main contrib # the usual
deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive.gpg] http://proxy.test/all-of-it trixie-updates main
deb-src http://a.test/debian/ trixie main
deb http://a.test/debian-security trixie-security main
deb http://tool.test/linux/debian trixie stable
deb http://tool.test/debian trixie-pgdg main
deb http://c.test/ubuntu noble main
deb cdrom:[Debian]/ trixie main
not an entry
"""
DEB822 = """\
# A comment
Types: deb
URIs: http://a.test/debian
  http://b.test/debian/
Suites: bookworm
 bookworm-updates
# in between
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://a.test/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.test/debian
Suites: trixie
Components: main
"""
TEMPLATE = """\
ChangelogURI: https://t.test/%s

Suite: {series}
RepositoryType: deb
BaseURI: https://t.test/debian/
Component: main
X-Version: ge 12

Suite: {series}-security
BaseURI: https://s.test/
ParentSuite: {series}

Suite: {series}/updates
BaseURI: https://old.test/

Suite: {series}-updates
ParentSuite: {series}
"""
PIP = """\
:env:.cert='/etc/ca.crt'
:env:.extra-index-url='https://e.test/simple\\nfile:///opt/wheels https://f.test/simple/'
global.extra-index-url='https://g.test/simple'
global.index-url='https://i.test/simple/'
broken
"""


class NoTools(Runner):
    """A machine whose apt, pip and uv know nothing."""

    def run(self, argv: Sequence[str | Path], **_: Any) -> Completed:
        return Completed(tuple(str(word) for word in argv), 1, "", "")


def test_indextargets() -> None:
    assert parse_targets(TARGETS) == {
        "debian": ["http://a.test/debian", "http://b.test/debian"],
        "debian-security": ["http://a.test/debian-security"],
    }


def test_one_line_sources() -> None:
    assert debian_sources(parse_one_line(ONE_LINE)) == {
        "debian": ["http://a.test/debian", "http://proxy.test/all-of-it"],
        "debian-security": ["http://a.test/debian-security"],
    }


def test_deb822_sources() -> None:
    assert debian_sources(parse_deb822(DEB822)) == {
        "debian": ["http://a.test/debian", "http://b.test/debian"],
        "debian-security": ["http://a.test/debian-security"],
    }


def test_ubuntu_template() -> None:
    assert parse_template(TEMPLATE) == {
        "debian": ["https://t.test/debian"],
        "debian-security": ["https://s.test/debian-security", "https://s.test"],
    }


def machine(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    "files",
    [
        {"etc/apt/sources.list": ONE_LINE.replace("proxy.test/all-of-it", "a.test/debian")},
        {"etc/apt/sources.list.d/debian.sources": DEB822.replace("\n  http://b.test/debian/", "")},
        {
            "etc/apt/sources.list.d/cloud.list": (
                "deb mirror+file:/etc/apt/mirrors/debian.list trixie main\n"
                "deb mirror+file:/etc/apt/mirrors/security.list trixie-security main\n"
            ),
            "etc/apt/mirrors/debian.list": "# ours\nhttp://a.test/debian\tpriority:1\n",
            "etc/apt/mirrors/security.list": "http://a.test/debian-security\n",
        },
    ],
    ids=["one-line", "deb822", "mirror-file"],
)
def test_machine_before_its_first_update(tmp_path: Path, files: dict[str, str]) -> None:
    assert debian_mirrors(NoTools(), root=machine(tmp_path, files)) == BOTH


def test_ubuntu_machine_uses_the_template(tmp_path: Path) -> None:
    files = {
        "etc/apt/sources.list": "deb http://c.test/ubuntu noble main\ndeb http://c.test/ubuntu noble-security main\n",
        "usr/share/python-apt/templates/Debian.info": TEMPLATE,
    }
    assert debian_mirrors(NoTools(), root=machine(tmp_path, files))["debian"] == ["https://t.test/debian"]


def test_real_apt_before_its_first_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = machine(tmp_path, {"etc/apt/sources.list": ONE_LINE, "conf": f'Dir "{tmp_path}"; Dir::Etc "etc/apt";'})
    (tmp_path / "var/lib/apt/lists/partial").mkdir(parents=True)
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "conf"))
    assert debian_mirrors(Runner(), root=root)["debian-security"] == ["http://a.test/debian-security"]


def test_override_wins_for_the_archives_it_names(tmp_path: Path) -> None:
    root = machine(tmp_path, {"etc/apt/sources.list": ONE_LINE})
    override = ["debian=http://x.test/debian/", "debian=file:///srv/debian"]
    found = debian_mirrors(NoTools(), override, root=root)
    assert found["debian"] == ["http://x.test/debian", "file:///srv/debian"]
    assert found["debian-security"] == ["http://a.test/debian-security"]


def test_malformed_overrides_are_reported_together(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        debian_mirrors(NoTools(), ["debian", "debian=ftp://x.test", "=http://x.test"], root=tmp_path)
    assert [problem.where for problem in caught.value.problems] == ["debian", "debian=ftp://x.test", "=http://x.test"]
    assert {problem.remedy for problem in caught.value.problems} == {"write `--mirror debian=URL`"}


def test_unknown_archives_are_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        debian_mirrors(NoTools(), root=tmp_path)
    [problem] = caught.value.problems
    assert problem.what == "no mirror is known of the archive debian and debian-security"
    assert problem.where == str(tmp_path / "etc/apt")
    assert problem.why
    assert "`--mirror debian=URL --mirror debian-security=URL`" in problem.remedy


def test_pip_config() -> None:
    assert parse_pip_config(PIP) == (["https://i.test/simple"], ["https://e.test/simple", "https://f.test/simple"])


def test_wheel_index_override() -> None:
    assert wheel_index(NoTools(), ["https://o.test/simple/", "https://o.test/simple"]) == ["https://o.test/simple"]


def test_named_indices_are_those_of_repositories(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["vendor=https://v.test/simple/", "https://o.test/simple?a=b", "near=file:///srv/wheels"]
    named = {"vendor": "https://v.test/simple", "near": "file:///srv/wheels"}
    assert parse_indices(given) == (["https://o.test/simple?a=b"], named)
    assert wheel_index(NoTools(), given) == ["https://o.test/simple?a=b"]
    # Naming a vendor's index leaves the machine's own as they are.
    monkeypatch.setenv("PIP_INDEX_URL", "https://i.test/simple")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    assert wheel_index(Runner(), given[:1]) == ["https://i.test/simple"]


def test_named_indices_that_are_none() -> None:
    with pytest.raises(InputError) as caught:
        parse_indices(["vendor=ftp://v.test", "near=", "twice=http://a.test", "twice=http://b.test"])
    assert [(problem.what, problem.where) for problem in caught.value.problems] == [
        ("not an index of wheels", "vendor=ftp://v.test"),
        ("not an index of wheels", "near="),
        ("two places for one index of wheels", "twice=http://b.test"),
    ]
    for problem in caught.value.problems:
        assert all((problem.why, problem.remedy)), problem


@pytest.mark.parametrize(
    ("wheels", "given", "found"),
    [
        (None, (), {}),
        (False, ("vendor=http://o.test",), {}),
        (None, ("vendor=http://o.test",), {}),
        (True, (), {}),
        (True, ("other=http://o.test",), {}),
        (True, ("vendor=http://o.test/",), {"vendor": "http://o.test"}),
        ("http://p.test/", (), {"vendor": "http://p.test"}),
        ("http://p.test", ("vendor=http://o.test",), {"vendor": "http://o.test"}),
    ],
)
def test_where_the_index_of_a_repository_is(
    wheels: str | bool | None, given: tuple[str, ...], found: dict[str, str]
) -> None:
    vendor = Repository(key="k", fingerprint="A" * 40, suites=("./",), wheels=wheels)
    assert vendor_indices(given, {"vendor": vendor}) == found
    told = [problem.remedy for problem in unlocated(("vendor=http://d.test",), given, {"vendor": vendor}, wheels=True)]
    assert told == (["add `--index vendor=URL`"] if wheels and not found else [])


def test_wheel_index_of_pip_comes_before_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://i.test/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://e.test/simple")
    assert wheel_index(Runner()) == ["https://i.test/simple", "https://e.test/simple"]


def test_wheel_index_of_uv_fills_in(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    [default] = wheel_index(Runner())
    assert default.startswith("https://")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://u.test/simple/")
    assert wheel_index(Runner()) == ["http://u.test/simple"]


def test_no_wheel_index_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    with pytest.raises(InputError) as caught:
        wheel_index(NoTools())
    [problem] = caught.value.problems
    assert (problem.what, problem.remedy) == ("no index of wheels is known", "set PIP_INDEX_URL")
