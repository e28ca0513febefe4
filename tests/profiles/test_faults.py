"""One test per fault of a profile or overlay: one clear message with its place, all of a profile together."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.foundation.errors import EXIT_BAD_INPUT, InputError, Problem
from builder.steps.profiles import load_buildable, load_recipe
from tests.profiles.sample import Sample


def problems_of(sample: Sample, name: str = "small") -> tuple[Problem, ...]:
    with pytest.raises(InputError) as caught:
        load_recipe(sample.project, name)
    assert caught.value.exit_code == EXIT_BAD_INPUT
    for problem in caught.value.problems:
        assert problem.what
        assert problem.where
    return caught.value.problems


def problem_of(sample: Sample, name: str = "small") -> Problem:
    problems = problems_of(sample, name)
    assert len(problems) == 1, problems
    return problems[0]


def test_sample_itself_loads(sample: Sample) -> None:
    load_recipe(sample.project, "small")
    load_recipe(sample.project, "base")


def test_unknown_key_with_near_match(sample: Sample) -> None:
    sample.add("profiles/small.yaml", "pakages: [git]\n")
    problem = problem_of(sample)
    assert problem.what == "there is no key called 'pakages'"
    assert problem.where == sample.at("profiles/small.yaml", "pakages") + ": pakages"
    assert problem.remedy == "did you mean packages?"


def test_unknown_key_inside(sample: Sample) -> None:
    path = sample.swap("profiles/small.yaml", "  hostname: small\n", "  hostname: small\n  hostnam: x\n")
    problem = problem_of(sample)
    assert problem.where == f"{path}:5: image.hostnam"
    assert "hostname" in problem.remedy


def test_unknown_key_in_parent_names_the_parent(sample: Sample) -> None:
    sample.add("profiles/base.yaml", "colour: red\n")
    assert problem_of(sample).where == sample.at("profiles/base.yaml", "colour") + ": colour"


def test_unknown_key_in_overlay(sample: Sample) -> None:
    sample.add("overlays/web/overlay.yaml", "servces: {}\n")
    problem = next(problem for problem in problems_of(sample) if "servces" in problem.what)
    assert problem.where == sample.at("overlays/web/overlay.yaml", "servces") + ": servces"
    assert "services" in problem.remedy


def test_unknown_key_of_a_declared_option(sample: Sample) -> None:
    sample.add("overlays/web/overlay.yaml", "  bad: {typ: string, type: string, default: a, description: b}\n")
    problem = next(problem for problem in problems_of(sample) if "typ" in problem.what)
    assert problem.where == sample.at("overlays/web/overlay.yaml", "  bad:") + ": options.bad.typ"
    assert "type" in problem.remedy


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("packages: [vim, less]", "packages: vim", "packages"),
        ("packages: [vim, less]", "packages: [vim, 3]", "packages[1]"),
        ("packages: [vim, less]", "packages: [vim, [less]]", "packages[1]"),
        ("packages: [vim, less]", "packages: [Vim]", "packages[0]"),
        ("packages: [vim, less]", "packages:", "packages"),
        ("image:\n  hostname: small", "image: small", "image"),
        ("  hostname: small", "  hostname: 5", "image.hostname"),
        ("  hostname: small", "  hostname: -bad-", "image.hostname"),
        ("  hostname: small", "  hostname: 2024-01-01x", None),
        ("description: a small image", "description: 2024-01-01", None),
        ("description: a small image", "description: yes", "description"),
        ("description: a small image", "description: ''", "description"),
        ("extends: [base]", "extends: [base]\nabstract: 1", "abstract"),
        ("extends: [base]", "extends: [base]\nsuite: sid", "suite"),
        ("extends: [base]", "extends: [base]\narchitectures: [vax]", "architectures[0]"),
        ("  web:\n    title: Hello\n    ports: [eighty]", "  web: none", "options.web"),
    ],
)
def test_wrong_type(sample: Sample, old: str, new: str, key: str | None) -> None:
    path = sample.swap("profiles/small.yaml", old, new)
    if key is None:
        load_recipe(sample.project, "small")
        return
    problem = problem_of(sample)
    assert problem.where.startswith(f"{path}:")
    assert problem.where.endswith(f": {key}")
    assert problem.why


def test_extends_of_wrong_type(sample: Sample) -> None:
    sample.swap("profiles/small.yaml", "extends: [base]", "extends: base")
    assert any(problem.where.endswith(": extends") for problem in problems_of(sample))


def test_wrong_value_of_several_possible_types_is_told_once(sample: Sample) -> None:
    sample.swap("overlays/web/overlay.yaml", "default: Untitled", "default: {a: b}")
    assert problem_of(sample).where.endswith(": options.title.default")


def test_problems_of_a_child_are_told_beside_its_missing_parent(sample: Sample) -> None:
    sample.swap("profiles/small.yaml", "extends: [base]", "extends: [bas]")
    sample.add("profiles/small.yaml", "typo: 1\n")
    assert [problem.what for problem in problems_of(sample)] == [
        "there is no profile called 'bas'",
        "there is no key called 'typo'",
    ]


def test_missing_key(sample: Sample) -> None:
    sample.swap("profiles/small.yaml", "description: a small image\n", "")
    problem = problem_of(sample)
    assert problem.what == "the key 'description' is missing"
    assert "small.yaml" in problem.where
    assert problem.remedy == "add `description:`"


def test_no_architecture(sample: Sample) -> None:
    sample.swap("profiles/base.yaml", "architectures: [amd64]\n", "")
    assert "architecture" in problem_of(sample).what


def test_unknown_profile(sample: Sample) -> None:
    problem = problem_of(sample, "smal")
    assert problem.what == "there is no profile called 'smal'"
    assert problem.remedy == "did you mean small?"


@pytest.mark.parametrize("name", ["", "../base", "/etc/passwd", "a\0b", "a" * 5000, "small\n", "."])
def test_name_that_is_none(sample: Sample, name: str) -> None:
    assert "there is no profile called" in problem_of(sample, name).what


def test_missing_parent(sample: Sample) -> None:
    path = sample.swap("profiles/small.yaml", "extends: [base]", "extends: [bas]")
    problem = problem_of(sample)
    assert problem.what == "there is no profile called 'bas'"
    assert problem.where == f"{path}:2: extends[0]"
    assert problem.remedy == "did you mean base?"


def test_cyclic_parent(sample: Sample) -> None:
    sample.add("profiles/base.yaml", "extends: [small]\n")
    problem = problem_of(sample)
    assert "circle" in problem.what
    assert problem.why == "small -> base -> small"
    assert problem.where == sample.at("profiles/base.yaml", "extends") + ": extends[0]"


def test_parent_of_itself(sample: Sample) -> None:
    sample.swap("profiles/small.yaml", "extends: [base]", "extends: [small]")
    assert problem_of(sample).why == "small -> small"


def test_undeclared_option(sample: Sample) -> None:
    sample.add("profiles/small.yaml", "    titel: x\n")
    problem = problem_of(sample)
    assert problem.what == "there is no option of web called 'titel'"
    assert problem.where == sample.at("profiles/small.yaml", "titel") + ": options.web.titel"
    assert problem.remedy == "did you mean title?"


def test_option_of_absent_overlay(sample: Sample) -> None:
    sample.add("profiles/small.yaml", "  wbe:\n    title: x\n")
    problem = problem_of(sample)
    assert problem.where == sample.at("profiles/small.yaml", "wbe") + ": options.wbe"
    assert "web" in problem.remedy


@pytest.mark.parametrize(
    ("line", "why", "remedy"),
    [
        ("title: 7", "string", "give it a value of type string, matching [A-Za-z ]+ (what stands above)"),
        ("title: a7", "does not match", "give it a value of type string, matching [A-Za-z ]+ (what stands above)"),
        ("colour: blue", "blue", "give it a value of type string, one of red, green (which colour)"),
        ("open: 1", "boolean", "give it a value of type boolean (whether anybody may look)"),
        ("open: 'yes'", "boolean", "give it a value of type boolean (whether anybody may look)"),
        ("ports: 80", "list", "give it a value of type list (which ports)"),
        ("ports: [80]", "strings", "give it a value of type list (which ports)"),
        ("title: null", "NoneType", "give it a value of type string, matching [A-Za-z ]+ (what stands above)"),
    ],
)
def test_wrong_option_value(sample: Sample, line: str, why: str, remedy: str) -> None:
    path = sample.swap("profiles/small.yaml", "    title: Hello\n    ports: [eighty]\n", f"    {line}\n")
    problem = problem_of(sample)
    assert problem.where == f"{path}:9: options.web.{line.partition(':')[0]}"
    assert why in problem.why
    assert problem.remedy == remedy


@pytest.mark.parametrize("line", ["level: 0", "level: 10", "level: true", "level: 1.5", "ratio: .nan", "room: 3X"])
def test_wrong_number_or_size(sample: Sample, line: str) -> None:
    sample.swap("profiles/base.yaml", "level: 3", line)
    assert (
        problem_of(sample).where == sample.at("profiles/base.yaml", line) + f": options.core.{line.partition(':')[0]}"
    )


@pytest.mark.parametrize(
    "option",
    [
        "{type: integer, default: x, description: d}",
        "{type: string, default: x, pattern: '(', description: d}",
        "{type: string, default: x, pattern: 'a{99999999999999999999}', description: d}",
        "{type: string, default: x, choices: [y], description: d}",
        "{type: strange, default: x, description: d}",
        "{type: string, default: x}",
        "{type: string, description: d}",
        "{type: size, default: lots, description: d}",
    ],
)
def test_wrongly_declared_option(sample: Sample, option: str) -> None:
    sample.add("overlays/web/overlay.yaml", f"  bad: {option}\n")
    assert problem_of(sample).where.startswith(sample.at("overlays/web/overlay.yaml", "  bad") + ": options.bad")


def test_missing_overlay(sample: Sample) -> None:
    path = sample.swap("profiles/small.yaml", "overlays: [web]", "overlays: [web, coer]")
    problem = problem_of(sample)
    assert problem.what == "there is no overlay called 'coer'"
    assert problem.where == f"{path}:5: overlays[1]"
    assert problem.remedy == "did you mean core?"


def test_overlay_without_overlay_yaml(sample: Sample) -> None:
    (sample.root / "overlays/core/overlay.yaml").unlink()
    assert any("no overlay.yaml" in problem.what for problem in problems_of(sample))


def test_required_overlay_not_named(sample: Sample) -> None:
    sample.write("overlays/extra/overlay.yaml", "description: d\n")
    path = sample.swap("overlays/web/overlay.yaml", "requires: [core]", "requires: [core, extra]")
    problem = problem_of(sample)
    assert problem.what == "overlay 'extra' is missing"
    assert problem.where == f"{path}:2: requires[1]"
    assert "small.yaml:5" in problem.remedy


def test_required_overlay_that_does_not_exist(sample: Sample) -> None:
    path = sample.swap("overlays/web/overlay.yaml", "requires: [core]", "requires: [cor]")
    problem = problem_of(sample)
    assert problem.what == "there is no overlay called 'cor'"
    assert problem.where == f"{path}:2: requires[0]"
    assert problem.remedy == "did you mean core?"


def test_missing_file_named_in_modes(sample: Sample) -> None:
    (sample.root / "overlays/core/tree/etc/secret").unlink()
    problem = problem_of(sample)
    assert problem.what == "the file is missing from the overlay"
    assert problem.where.endswith("core/overlay.yaml:6: modes.etc/secret")


def test_template_named_in_modes_without_its_suffix(sample: Sample) -> None:
    (sample.root / "overlays/core/tree/etc/secret").rename(sample.root / "overlays/core/tree/etc/secret.j2")
    load_recipe(sample.project, "small")


@pytest.mark.parametrize("name", ["../overlay.yaml", "/etc/passwd", "etc/../../overlay.yaml"])
def test_path_that_leaves_the_tree(sample: Sample, name: str) -> None:
    path = sample.swap("overlays/core/overlay.yaml", "etc/secret", name)
    problem = problem_of(sample)
    assert problem.what == "the path leaves the overlay's tree"
    assert problem.where == f"{path}:6: modes.{name}"


@pytest.mark.parametrize("name", ['"a\\0b"', "a" * 300, "etc/circle"])
def test_path_that_cannot_be_followed(sample: Sample, name: str) -> None:
    (sample.root / "overlays/core/tree/etc/circle").symlink_to("circle")
    sample.swap("overlays/core/overlay.yaml", "etc/secret", name)
    assert "modes" in problem_of(sample).where


@pytest.mark.parametrize("target", ["../../../outside", "../../../../overlays/web", "/../etc", "a/../../../../b"])
def test_link_that_leaves_the_tree(sample: Sample, target: str) -> None:
    link = sample.root / "overlays/core/tree/etc/link"
    link.symlink_to(target)
    problem = problem_of(sample)
    assert problem.what == "a symbolic link leaves the overlay's tree"
    assert problem.where == str(link)
    assert target in problem.why


@pytest.mark.parametrize("target", ["/dev/null", "secret", "../etc/secret", "../usr/lib/absent"])
def test_link_that_stays(sample: Sample, target: str) -> None:
    (sample.root / "overlays/core/tree/etc/link").symlink_to(target)
    load_recipe(sample.project, "small")


def test_link_as_mode_target_outside(sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("x")
    secret = sample.root / "overlays/core/tree/etc/secret"
    secret.unlink()
    secret.symlink_to("../../../../../outside")
    found = {problem.what for problem in problems_of(sample)}
    assert found == {"the path leaves the overlay's tree", "a symbolic link leaves the overlay's tree"}


def test_tree_that_is_a_link(sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (sample.root / "overlays/web/tree/var/www/index.html.j2").unlink()
    for folder in ("var/www", "var", "."):
        (sample.root / "overlays/web/tree" / folder).rmdir()
    (sample.root / "overlays/web/tree").symlink_to(tmp_path / "elsewhere")
    assert "link" in problem_of(sample).what


def test_special_file_in_tree(sample: Sample) -> None:
    os.mkfifo(sample.root / "overlays/web/tree/pipe")
    assert problem_of(sample).what == "not a file, folder or link"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("description: a\ndescription: b\n", ":2:1"),
        ("description: a\nimage: {hostname: a, hostname: b}\n", ":2:22"),
        ("description: [a\n", "YAML"),
        ("description: a\n\tb: c\n", "YAML"),
        ("a: b\n---\nc: d\n", "YAML"),
        ("just words\n", "no mapping"),
        ("- a\n- b\n", "no mapping"),
        ("3: x\n", "not a string"),
        ("? [a]\n: x\n", "not a string"),
        ("true: x\n", "not a string"),
        ("description: !!python/object/apply:os.system [id]\n", "YAML"),
        ("description: !mine x\n", "YAML"),
        ("<<: {description: x}\n", "key"),
        ("description: !mine [x]\n", "tag"),
        ('description: "\\ud800"\n', "Unicode"),
        ('"\\udfff": x\n', "Unicode"),
        ("description: !!int abc\n", "YAML"),
        ("description: 9999-99-99\n", "YAML"),
    ],
)
def test_file_that_is_not_a_profile(sample: Sample, text: str, told: str) -> None:
    path = sample.write("profiles/odd.yaml", text)
    found = problems_of(sample, "odd")
    assert any(told in problem.what + problem.where + problem.why for problem in found), found
    assert all(str(path) in problem.where for problem in found)


@pytest.mark.parametrize("text", ["", "\n", "# nothing but a comment\n", "---\n", "{}\n"])
def test_empty_file(sample: Sample, text: str) -> None:
    path = sample.write("profiles/odd.yaml", text)
    problem = problem_of(sample, "odd")
    assert problem.what == "the profile is empty"
    assert problem.where == str(path)


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_empty_overlay(sample: Sample, text: str) -> None:
    path = sample.write("overlays/web/overlay.yaml", text)
    assert any(str(path) in problem.where for problem in problems_of(sample))


@pytest.mark.parametrize(
    "data", [b"\x7fELF\x02\x01\x01\x00\xff\xfe", b"\xff\xfe\x00d", b"a: \x00\n", b"\x80", b"a: \x1b[2J\n"]
)
def test_binary_file(sample: Sample, data: bytes) -> None:
    path = sample.write("profiles/odd.yaml", data)
    problem = problem_of(sample, "odd")
    assert problem.where.startswith(str(path))
    assert "read" in problem.what or "YAML" in problem.what


def test_folder_in_place_of_a_file(sample: Sample) -> None:
    (sample.root / "profiles/odd.yaml").mkdir()
    assert problem_of(sample, "odd").where
    (sample.root / "overlays/web/overlay.yaml").unlink()
    (sample.root / "overlays/web/overlay.yaml").mkdir()
    assert problems_of(sample)


def test_alias_bomb(sample: Sample) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    path = sample.write("profiles/odd.yaml", "\n".join(lines) + "\n")
    problem = problem_of(sample, "odd")
    assert "alias" in problem.why
    assert problem.where.startswith(f"{path}:")


@pytest.mark.parametrize("alias", ["a: &x [*x]\n", "a: &x {b: *x}\n", "a: &x text\nb: *x\n", "a: *x\n"])
def test_alias(sample: Sample, alias: str) -> None:
    sample.write("profiles/odd.yaml", alias)
    assert problems_of(sample, "odd")


@pytest.mark.parametrize("depth", [40, 500, 100_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("{a: ", "}")])
def test_deep_nesting(sample: Sample, depth: int, opening: str, closing: str) -> None:
    path = sample.write("profiles/odd.yaml", "a: " + opening * depth + closing * depth + "\n")
    problem = problem_of(sample, "odd")
    assert problem.where.startswith(str(path))


def test_long_chain_of_parents(sample: Sample) -> None:
    for number in range(1200):
        sample.write(f"profiles/p{number}.yaml", f"description: d\nextends: [p{number + 1}]\n")
    sample.write("profiles/p1200.yaml", "description: d\n")
    assert problem_of(sample, "p0").what == "too many parents"


def test_huge_number(sample: Sample) -> None:
    sample.write("profiles/odd.yaml", f"description: {'9' * 6000}\n")
    assert problem_of(sample, "odd")


def test_all_problems_together(sample: Sample) -> None:
    """Wrong in the profile, in its parent, in an overlay's declaration, in its tree and in an option: all at once."""
    small = sample.swap("profiles/small.yaml", "packages: [vim, less]", "packages: [vim, Less]\ntypo: 1")
    base = sample.swap("profiles/base.yaml", "level: 3", "level: 30")
    core = sample.swap("overlays/core/overlay.yaml", "etc/secret", "etc/absent")
    (sample.root / "overlays/web/tree/out").symlink_to("../../..")
    where = [problem.where for problem in problems_of(sample)]
    assert sorted(where) == sorted(
        [
            f"{small}:6: packages[1]",
            f"{small}:7: typo",
            f"{base}:12: options.core.level",
            f"{core}:6: modes.etc/absent",
            str(sample.root / "overlays/web/tree/out"),
        ]
    )


def test_abstract_profile_is_not_built(sample: Sample) -> None:
    with pytest.raises(InputError) as caught:
        load_buildable(sample.project, "base")
    assert "abstract" in caught.value.problems[0].what


def test_unreadable_profile_names_its_user(sample: Sample) -> None:
    path = sample.root / "profiles/base.yaml"
    path.unlink()
    path.symlink_to("base.yaml")
    assert "base" in problems_of(sample)[0].what + problems_of(sample)[0].where
