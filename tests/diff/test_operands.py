"""What can be named, what is said of anything else, and what the command prints."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from builder.foundation.errors import EXIT_BAD_INPUT
from tests.diff.conftest import Lichen
from tests.diff.desk import Desk, changelog, entry, file

LOCK = "profiles/locks/small.amd64.json"


def git(*arguments: str) -> None:
    settings = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.test", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *settings, *arguments], check=True, capture_output=True)


@pytest.fixture
def history(desk: Desk) -> Desk:
    """The project in git: its lock has one package more than the one committed."""
    desk.write(LOCK, desk.lock([desk.deb("nano")]))
    for arguments in (("init", "."), ("add", "profiles"), ("commit", "-m", "a lock")):
        git(*arguments)
    desk.write(LOCK, desk.lock([desk.deb("nano", "2.0-1"), desk.deb("less")]))
    return desk


def names(said: dict[str, list[dict[str, str]]]) -> list[str]:
    return [item["name"] for item in said["moved"]]


@pytest.mark.parametrize("new", ["small", LOCK, f"./{LOCK}"])
@pytest.mark.parametrize("old", [f"main:{LOCK}", f"HEAD:{LOCK}", f":{LOCK}", f"HEAD:./{LOCK}"])
def test_lock_in_git(history: Desk, lichen: Lichen, old: str, new: str) -> None:
    said = lichen("diff", old, new, "--json")
    assert said.code == 0
    assert names(said.json) == ["less", "nano"]
    assert (said.json["old"]["given"], said.json["new"]["given"]) == (old, new)


def test_project_below_the_root_of_its_repository(
    history: Desk, lichen: Lichen, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = history.sample.root / "profiles"
    monkeypatch.chdir(below)
    assert names(lichen("diff", f"main:{LOCK}", "locks/small.amd64.json", "--json").json) == ["less", "nano"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("nowhere:profiles/locks/small.amd64.json", "nowhere"),
        ("main:profiles/locks/none.json", "none.json"),
        ("--output=x:y", "x:y"),
    ],
)
def test_not_in_git(history: Desk, lichen: Lichen, given: str, why: str) -> None:
    said = lichen("diff", "--json", "--", given, "small")
    assert said.code == EXIT_BAD_INPUT
    (problem,) = said.json["error"]
    assert problem["what"] == "git does not have this file"
    assert problem["where"] == given
    assert why in problem["why"]
    assert "fetch" in problem["remedy"]
    assert not Path("x").exists()


def test_no_repository(desk: Desk, lichen: Lichen, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.write(LOCK, desk.lock())
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(desk.sample.root.parent))
    said = lichen("diff", f"main:{LOCK}", "small")
    assert said.code == EXIT_BAD_INPUT
    assert "git repository" in said.err


def test_profile_goes_before_a_file_of_its_name(desk: Desk, lichen: Lichen) -> None:
    desk.write(LOCK, desk.lock([desk.deb("nano")]))
    desk.write("small", desk.lock())
    assert names(lichen("diff", "small", "./small", "--json").json) == ["nano"]


WRONG: list[tuple[str, str, str]] = [
    ("smal", "there is nothing called 'smal' to compare", "did you mean small?"),
    ("/no/where", "there is nothing called '/no/where' to compare", "REVISION:PATH"),
    ("small", "there is no lock for this profile", "run `lichen lock small`"),
    ("base", "the profile is abstract", "name a profile that extends it"),
    ("profiles", "this is not a complete image folder", "REVISION:PATH"),
    ("profiles/small.yaml", "this is neither a lock nor a manifest", "REVISION:PATH"),
    ("other.json", "this is neither a lock nor a manifest", "REVISION:PATH"),
    ("list.json", "this is neither a lock nor a manifest", "REVISION:PATH"),
    ("empty.json", "this is neither a lock nor a manifest", "REVISION:PATH"),
    ("bytes.json", "a file cannot be read", "REVISION:PATH"),
    ("cut.json", "this is neither a lock nor a manifest", "REVISION:PATH"),
    ("manifest.json", "the manifest is damaged, or of another version of Lichen", "make it anew"),
    ("lock.json", "the lock is damaged, or of another version of Lichen", "make it anew"),
]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("given", "what", "remedy"), WRONG, ids=[case[0] for case in WRONG])
def test_bad_input(desk: Desk, lichen: Lichen, given: str, what: str, remedy: str, first: bool) -> None:
    good = desk.write("good.json", desk.lock())
    manifest = desk.manifest(desk.lock()).text()
    for name, text in (
        ("other.json", '{"name": "x"}'),
        ("list.json", "[]"),
        ("empty.json", ""),
        ("cut.json", manifest[: len(manifest) // 2]),
        ("manifest.json", manifest.replace('"profile"', '"prophile"')),
        ("lock.json", desk.lock().text().replace('"debs": []', '"debs": [5]')),
    ):
        desk.sample.write(name, text)
    desk.sample.write("bytes.json", b"\xff\xfe")
    said = lichen("diff", *((given, good) if first else (good, given)))
    assert said.code == EXIT_BAD_INPUT
    assert said.out == ""
    assert said.err.startswith(f"error: {what}\n")
    assert "  where  " in said.err
    assert remedy in said.err


def test_markdown_and_json_exclude_one_another(desk: Desk, lichen: Lichen) -> None:
    said = lichen("diff", "small", "small", "--json", "--markdown")
    assert said.code == EXIT_BAD_INPUT
    assert said.json["error"][0]["what"] == "--markdown and --json exclude one another"


def test_nothing_differs(desk: Desk, lichen: Lichen) -> None:
    path = desk.write("lock.json", desk.lock([desk.deb("nano")]))
    said = lichen("diff", path, path)
    assert said.code == 0
    assert said.out.splitlines()[-1] == "no difference"
    assert lichen("diff", path, path, "--json").json["same"]
    assert "`amd64`: no difference\n" in lichen("diff", path, path, "--markdown").out


def test_text(desk: Desk, lichen: Lichen) -> None:
    new = desk.deb("nano", "2.0-1", changelog("nano", entry("nano", "2.0-1", "* Fix CVE-2026-1111.")))
    before = desk.manifest(desk.lock([desk.deb("nano")]))
    after = desk.manifest(desk.lock([new, desk.deb("less")]))
    sizes = [file(f"/{number}", number << 20, f"deb:p{number}") for number in range(1, 31)]
    desk.image("old", before, [])
    desk.image("new", after, [*sizes, file("/bin/su", mode=0o4755)])
    said = lichen("diff", "out/old", "out/new")
    assert said.code == 0
    lines = [line.split() for line in said.out.splitlines()]
    assert ["added", "less", "1.0-1"] in lines
    assert ["moved", "nano", "1.0-1", "2.0-1"] in lines
    assert ["/bin/su", "4755", "0:0", "build"] in lines
    assert ["deb:p30", "0", "B", "30.0", "MiB", "+30.0", "MiB"] in lines
    assert ["and", "11", "more"] in lines
    assert said.out.endswith("\nnano 1.0-1 → 2.0-1 (nano)\ntells of CVE-2026-1111\n2.0-1\n  * Fix CVE-2026-1111.\n")
    assert "open ports are not compared (out/old, out/new): no test of it wrote them down" in said.err
    found = lichen("diff", "out/old", "out/new", "--json")
    assert len(json.loads(found.out)["sizes"]) == 31


def test_names_from_files_do_not_steer_the_terminal(desk: Desk, lichen: Lichen) -> None:
    manifest = desk.manifest(desk.lock())
    desk.image("old", manifest, [])
    desk.image("new", manifest, [file("/bin/\x1b[2Jsu", mode=0o4755)])
    for option in ((), ("--markdown",)):
        said = lichen("diff", "out/old", "out/new", *option)
        assert "\x1b" not in said.out
        assert "/bin/\\x1b[2Jsu" in said.out
