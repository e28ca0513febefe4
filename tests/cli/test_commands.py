"""What the commands print and how they end, without network, mkosi or QEMU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer.main

from builder import __version__
from builder.cli.commands import app
from builder.cli.session import hoist
from builder.foundation.errors import EXIT_BAD_INPUT, EXIT_FAILED
from builder.foundation.place import Project, find_project
from tests.cli.conftest import Lichen
from tests.conftest import REPOSITORY
from tests.profiles.sample import Sample

FINGERPRINT = "3C6D1FF3100C8C3ABB0869C0E6543461A9996195"
COMMANDS = (
    "list",
    "show",
    "lock",
    "plan",
    "render",
    "kernel",
    "keys",
    "fetch",
    "build",
    "boot",
    "test",
    "doctor",
    "export",
    "clean",
    "schema",
    "sign",
    "inspect",
    "diff",
    "report",
    "verify",
)


def test_all_commands_are_there() -> None:
    group: Any = typer.main.get_command(app)
    assert sorted(group.commands) == sorted(COMMANDS)


@pytest.mark.parametrize("command", [*COMMANDS, ""])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(lichen: Lichen, command: str, option: str) -> None:
    said = lichen(*([command] if command else []), option)
    assert said.code == 0
    assert f"Usage: lichen {command}" in said.out
    assert said.err == ""


def test_no_command_shows_the_help(lichen: Lichen) -> None:
    said = lichen()
    assert said.code == 0
    assert "classroom" not in said.out
    assert all(command in said.out for command in COMMANDS)


def test_version(lichen: Lichen) -> None:
    assert lichen("--version").out == f"lichen {__version__}\n"
    assert lichen("--version", "--json").json == {"version": __version__}


def test_list(sample: Sample, lichen: Lichen) -> None:
    said = lichen("list")
    assert said.code == 0
    assert said.err == ""
    lines = said.out.splitlines()
    assert lines[1].split() == ["base", "a", "parent", "only", "the", "ground"]
    assert lines[2].split() == ["small", "amd64", "missing", "a", "small", "image"]


@pytest.mark.parametrize("arguments", [("--json", "list"), ("list", "--json")])
def test_list_json(sample: Sample, lichen: Lichen, arguments: tuple[str, ...]) -> None:
    base, small = lichen(*arguments).json
    assert base["abstract"]
    assert base["locks"] == {}
    assert small == {
        "name": "small",
        "description": "a small image",
        "abstract": False,
        "architectures": ["amd64"],
        "locks": {"amd64": "missing"},
        "problems": [],
    }


def test_list_tells_damaged_lock_and_broken_profile(sample: Sample, lichen: Lichen) -> None:
    sample.write("profiles/locks/small.amd64.json", "{")
    sample.write("profiles/odd.yaml", "x: 1\n")
    said = lichen("list")
    assert said.code == 0
    assert "amd64 damaged" in said.out
    assert "`lichen show odd` tells what is wrong" in said.out
    odd = next(item for item in lichen("list", "--json").json if item["name"] == "odd")
    assert odd["problems"][0]["where"].endswith("odd.yaml:1: x")


def test_show(sample: Sample, lichen: Lichen) -> None:
    said = lichen("show", "small")
    assert said.code == 0
    rows = [line.split() for line in said.out.splitlines()]
    assert ["packages", "nano,", "less,", "vim"] in rows
    assert ["core.level", "3", "integer", "1", "how", "much"] in rows


def test_show_explain(sample: Sample, lichen: Lichen) -> None:
    rows = [line.split() for line in lichen("show", "small", "--explain").out.splitlines()]
    assert ["image.hostname", "small", "profiles/small.yaml:4"] in rows
    assert ["suite", "trixie", "default"] in rows
    assert ["packages[2]", "vim", "profiles/small.yaml:6"] in rows


def test_show_json(sample: Sample, lichen: Lichen) -> None:
    shown = lichen("show", "small", "--json").json
    assert shown["profile"]["packages"] == ["nano", "less", "vim"]
    assert {"key": "packages[2]", "value": "vim", "origin": "profiles/small.yaml:6"} in shown["explained"]
    assert shown["options"][0]["type"] == "integer"
    assert shown["requirements"] == ["requests>=2"]


@pytest.mark.parametrize("kind", ["profile", "overlay"])
def test_schema(sample: Sample, lichen: Lichen, kind: str) -> None:
    document = lichen("schema", kind).json
    assert document["additionalProperties"] is False
    assert "description" in document["properties"]
    assert document["required"] == ["description"]


def test_schema_write(sample: Sample, lichen: Lichen) -> None:
    said = lichen("schema", "--write", "--json")
    paths = [str(sample.project.profiles / f"{kind}.schema.json") for kind in ("profile", "overlay")]
    assert said.json == {"changed": paths}
    assert lichen("schema", "--write", "--json").json == {"changed": []}
    Path(paths[0]).write_text("{}")
    assert lichen("schema", "--write").out == f"{paths[0]}\n"
    assert json.loads(Path(paths[0]).read_text()) == lichen("schema", "profile").json


ERRORS: list[tuple[tuple[str, ...], str, str]] = [
    (("show", "smal"), "there is no profile called 'smal'", "did you mean small?"),
    (("plan", "base"), "the profile is abstract", "name a profile that extends it"),
    (("lock", "--check", "small"), "there is no lock for this profile", "run `lichen lock small`"),
    (("lokc", "small"), "no such command 'lokc'", "did you mean lock?"),
    (("list", "--jsn"), "no such option: --jsn", "did you mean --json?"),
    (("--verbos", "list"), "no such option: --verbos", "did you mean --verbose"),
    (("show",), "missing argument 'PROFILE'", "run `lichen show --help`"),
    (("show", "small", "extra"), "got unexpected extra argument", "run `lichen show --help`"),
    (("list", "--project"), "option '--project' requires an argument", "run `lichen --help`"),
    (("list", "--project", "/nowhere"), "this is no Lichen project", "give --project the folder"),
    (("lock",), "name one profile, or --all of them", "run `lichen lock --help`"),
    (("lock", "small", "--all"), "name one profile, or --all of them", "run `lichen lock --help`"),
    (("lock", "small", "--check", "--upgrade"), "--check changes nothing", ""),
    (("clean", "--all", "--unused"), "--unused, --all, and --older-than or --max-size exclude", "give one of them"),
    (("clean", "--all", "--max-size", "1G"), "--unused, --all, and --older-than or --max-size exclude", "go together"),
    (("clean", "--unused", "--older-than", "1d"), "--unused, --all, and --older-than or", "give one of them"),
    (("clean", "--dry-run"), "--dry-run without an option that removes", "add the option that would remove"),
    (("clean", "--older-than", "30"), "--older-than does not fit", "as in --older-than 30d"),
    (("clean", "--older-than", "0d"), "--older-than does not fit", "a whole number and h, d or w"),
    (("clean", "--older-than", "30days"), "--older-than does not fit", "hours, days, weeks"),
    (("clean", "--older-than", ""), "--older-than does not fit", "as in --older-than 30d"),
    (("clean", "--max-size", "20GB"), "--max-size does not fit", "write a whole number and K, M, G or T"),
    (("clean", "--max-size", "0"), "--max-size does not fit", "write a whole number and K, M, G or T"),
    (("clean", "--max-size", "-1"), "--max-size does not fit", "write a whole number and K, M, G or T"),
    (("schema",), "name one kind, or --write for both", "lichen schema --write"),
    (("schema", "lock"), "invalid value for 'KIND'", "run `lichen schema --help`"),
    (("boot",), "no profile given", "--stop"),
    (("boot", "small", "--memory", "much"), "--memory does not fit", ""),
    (("boot", "small", "--forward", "x"), "--forward does not fit", "443:8443"),
    (("boot", "small", "--credential", "x"), "--credential does not fit", "="),
    (("boot", "small", "--cpus", "x"), "invalid value for '--cpus'", "run `lichen boot --help`"),
]


@pytest.mark.parametrize(
    ("arguments", "what", "remedy"), ERRORS, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_bad_input(sample: Sample, lichen: Lichen, arguments: tuple[str, ...], what: str, remedy: str) -> None:
    said = lichen(*arguments)
    assert said.code == EXIT_BAD_INPUT
    assert said.out == ""
    first, *rest = said.err.splitlines()
    assert first.startswith(f"error: {what}")
    assert any(line.startswith("  where  ") for line in rest)
    if remedy:
        assert any(line.startswith("  do     ") and remedy in line for line in rest)


@pytest.mark.parametrize("arguments", [case[0] for case in ERRORS if case[0] != ("list", "--project")], ids=" ".join)
def test_bad_input_json(sample: Sample, lichen: Lichen, arguments: tuple[str, ...]) -> None:
    said = lichen("--json", *arguments)
    assert said.code == EXIT_BAD_INPUT
    assert said.err == ""
    assert said.json["exit_code"] == EXIT_BAD_INPUT
    (problem,) = said.json["error"]
    assert sorted(problem) == ["remedy", "what", "where", "why"]


def test_several_problems_are_numbered(sample: Sample, lichen: Lichen) -> None:
    sample.add("profiles/small.yaml", "one: 1\ntwo: 2\n")
    lines = lichen("show", "small").err.splitlines()
    assert lines[0] == "2 problems"
    assert "1. there is no key called 'one'" in lines
    assert "2. there is no key called 'two'" in lines
    assert len(lichen("show", "small", "--json").json["error"]) == 2


def test_lock_check_all_tells_every_profile(sample: Sample, lichen: Lichen) -> None:
    sample.write("profiles/other.yaml", "description: d\nextends: [small]\n")
    problems = lichen("lock", "--check", "--all", "--json").json["error"]
    assert [problem["where"] for problem in problems] == [
        str(sample.project.lock(name, "amd64")) for name in ("other", "small")
    ]


@pytest.mark.parametrize("command", [("lock", "--all"), ("lock", "--all", "--check"), ("build", "--all")])
def test_all_leaves_alone_what_cannot_be_locked_here(sample: Sample, lichen: Lichen, command: tuple[str, ...]) -> None:
    """A profile whose vendor nothing locates, and that nobody locked yet, keeps no other from being built."""
    sample.swap("profiles/small.yaml", "description: a small image", "description: d\nabstract: true")
    key = sample.write("keys/vendor.asc", (REPOSITORY.root / "profiles/keys/jetson.asc").read_bytes())
    said = f"key: {key.relative_to(sample.root)}, fingerprint: {FINGERPRINT}, suites: [./]"
    sample.write("profiles/far.yaml", f"description: d\nextends: [small]\nrepositories: {{vendor: {{{said}}}}}\n")
    told = lichen(*command)
    assert told.code == 0
    assert "far amd64 is left alone, it has no lock yet: nothing says where the repository 'vendor' is" in told.err
    assert "`--mirror vendor=URL`" in told.err
    # Asked for by its name, it is an error as any other; so is a lock that is missing once the vendor is located.
    assert lichen(command[0], "far").code == EXIT_BAD_INPUT
    if command != ("lock", "--all"):
        assert lichen(*command, "--mirror", "vendor=http://127.0.0.1:1").code == EXIT_BAD_INPUT


def test_text_from_files_does_not_steer_the_terminal(sample: Sample, lichen: Lichen) -> None:
    sample.add("profiles/small.yaml", '"\\e[2Jkey": 1\n')
    assert "\x1b" not in lichen("show", "small").err
    sample.write("profiles/other.yaml", 'description: "\\e[31m[bold]x[/bold]"\nextends: [small]\n')
    sample.swap("profiles/small.yaml", '"\\e[2Jkey": 1\n', "")
    out = lichen("list").out
    assert "\x1b" not in out
    assert "[bold]x[/bold]" in out


def test_verbose_shows_what_lay_beneath(sample: Sample, lichen: Lichen) -> None:
    assert "Traceback" in lichen("show", "smal", "--verbose").err
    assert "Traceback" not in lichen("show", "smal").err


def test_project_is_found_from_below_or_named(
    sample: Sample, lichen: Lichen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(sample.root / "overlays/core")
    assert lichen("list").code == 0
    assert find_project(Path.cwd()) == Project(sample.root)
    monkeypatch.chdir(tmp_path)
    said = lichen("list")
    assert said.code == EXIT_BAD_INPUT
    assert "no Lichen project here" in said.err
    assert lichen("list", "--project", "project").code == 0
    assert lichen("list", "--project=project").code == 0


def test_unexpected_exceptions_are_bugs_and_keep_their_traceback(
    sample: Sample, lichen: Lichen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr("builder.verbs.listing.list_profiles", broken)
    with pytest.raises(KeyError, match="a bug"):
        lichen("list")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["list", "--json"], ["--json", "list"]),
        (["show", "x", "--project", "p", "--explain"], ["--project", "p", "show", "x", "--explain"]),
        (["list", "--project=p"], ["--project=p", "list"]),
        (["boot", "x", "--", "--json"], ["boot", "x", "--", "--json"]),
        (["a", "--mirror", "--json", "b"], ["--mirror", "--json", "a", "b"]),
        (["list", "--cache"], ["--cache"]),
        ([], []),
    ],
)
def test_global_options_may_stand_anywhere(before: list[str], after: list[str]) -> None:
    assert hoist(before) == after


def test_mirrors_and_cache_come_from_options_or_environment(
    sample: Sample, lichen: Lichen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = []

    def spy(bench: Any) -> tuple[()]:
        seen.append((bench.mirrors, bench.indices, bench.cache.root))
        return ()

    monkeypatch.setattr("builder.verbs.listing.list_profiles", spy)
    monkeypatch.setenv("LICHEN_MIRRORS", "debian=http://a/  debian-security=http://b/")
    lichen("list")
    lichen("list", "--mirror", "debian=http://c/", "--index", "http://d/", "--cache", str(tmp_path / "e"))
    assert seen == [
        (("debian=http://a/", "debian-security=http://b/"), (), tmp_path / "cache"),
        (("debian=http://c/",), ("http://d/",), tmp_path / "e"),
    ]


def test_failure_has_exit_code_one(sample: Sample, lichen: Lichen, monkeypatch: pytest.MonkeyPatch) -> None:
    sample.project.profiles.joinpath("profile.schema.json").mkdir()
    assert lichen("schema", "--write").code == EXIT_FAILED
