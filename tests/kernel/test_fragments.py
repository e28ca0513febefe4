"""Fragments: read, merged, held against a final configuration."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from builder.data.fragment import Fragment, config_text, merge_fragments, parse_config, parse_fragment, unmet
from builder.foundation.errors import InputError
from tests.build.bench import REPOSITORY

HEADER = "# Purpose: a test\n# Cost: none\n# Source: nowhere\n"
SHIPPED = sorted((REPOSITORY / "kernel-configs").glob("*.config"))


def fragment(name: str, *lines: str) -> Fragment:
    return parse_fragment(name, HEADER + "".join(f"{line}\n" for line in lines), f"{name}.config")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_fragment_is_well_formed(path: Path) -> None:
    found = parse_fragment(path.stem, path.read_text(), str(path))
    assert found.settings
    assert config_text(found.settings).count("\n") == len(found.settings)


def test_remarks_are_understood() -> None:
    found = fragment(
        "one", "CONFIG_A=m  # or y, preferred, arm64 riscv64", 'CONFIG_B="x # y"  # required', "CONFIG_C=n"
    )
    first, second, third = found.settings
    assert (first.required, first.built_in_will_do, first.architectures) == (False, True, ("arm64", "riscv64"))
    assert (second.value, second.required, second.place) == ('"x # y"', True, "one.config:5")
    assert (third.symbol, third.value) == ("C", "n")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("CONFIG_A", "CONFIG_A"),
        ("CONFIG_A=maybe", "CONFIG_A=maybe"),
        ("A=y", "A=y"),
        ("CONFIG_A=y # wanted", "behind # stands wanted"),
        ("CONFIG_A=y # or y", "`or y` is for modules"),
        ('CONFIG_A="open', 'CONFIG_A="open'),
    ],
)
def test_line_that_is_no_setting_is_named(line: str, why: str) -> None:
    with pytest.raises(InputError) as caught:
        fragment("bad", "CONFIG_GOOD=y", line)
    (problem,) = caught.value.problems
    assert (problem.what, problem.where, problem.why) == ("not a setting of a kernel", "bad.config:5", why)


def test_all_faults_of_a_fragment_are_told_together() -> None:
    with pytest.raises(InputError) as caught:
        parse_fragment("bad", "CONFIG_A=y\nCONFIG_A=n\nnonsense\n", "bad.config")
    assert [problem.where for problem in caught.value.problems] == ["bad.config:2", "bad.config:3", *["bad.config"] * 3]


def test_stricter_setting_counts() -> None:
    lax, strict = (
        fragment("lax", "CONFIG_A=m # or y", "CONFIG_B=y # preferred"),
        fragment("strict", "CONFIG_A=y", "CONFIG_B=y"),
    )
    for order in ((lax, strict), (strict, lax)):
        first, second = merge_fragments(order, "amd64")
        assert (first.value, first.place, second.required) == ("y", "strict.config:4", True)


def test_preference_gives_way() -> None:
    for order in (("CONFIG_A=y # preferred", "CONFIG_A=n"), ("CONFIG_A=n", "CONFIG_A=y # preferred")):
        (found,) = merge_fragments([fragment("one", order[0]), fragment("two", order[1])], "amd64")
        assert (found.value, found.required) == ("n", True)


@pytest.mark.parametrize("order", list(itertools.permutations(("y # preferred", "n # preferred", "y"))))
def test_order_of_fragments_decides_nothing(order: tuple[str, ...]) -> None:
    (found,) = merge_fragments([fragment(str(at), f"CONFIG_A={value}") for at, value in enumerate(order)], "amd64")
    assert (found.value, found.required) == ("y", True)


def test_preference_makes_no_requirement_stricter() -> None:
    lines = ("CONFIG_A=m # or y", "CONFIG_A=y # preferred")
    for order in (lines, lines[::-1]):
        (found,) = merge_fragments([fragment("one", order[0]), fragment("two", order[1])], "amd64")
        assert (found.value, found.built_in_will_do) == ("m", True)


def test_preferences_that_disagree_are_told_where_nobody_requires_anything() -> None:
    with pytest.raises(InputError):
        merge_fragments([fragment("one", "CONFIG_A=y # preferred"), fragment("two", "CONFIG_A=n # preferred")], "amd64")


def test_contradiction_names_both_places() -> None:
    with pytest.raises(InputError) as caught:
        merge_fragments(
            [fragment("one", "CONFIG_A=y", "CONFIG_HZ=100"), fragment("two", "CONFIG_HZ=1000", "CONFIG_A=m")], "amd64"
        )
    assert [problem.why for problem in caught.value.problems] == [
        "one.config:5 wants 100, two.config:4 wants 1000",
        "one.config:4 wants y, two.config:5 wants m",
    ]


def test_other_architectures_settings_do_not_count() -> None:
    both = [fragment("one", "CONFIG_A=y # arm64"), fragment("two", "CONFIG_A=n # amd64")]
    assert [item.value for item in merge_fragments(both, "arm64")] == ["y"]
    assert [item.value for item in merge_fragments(both, "amd64")] == ["n"]
    assert merge_fragments(both, "riscv64") == ()


def test_final_configuration_is_judged() -> None:
    settings = fragment("one", "CONFIG_A=y", "CONFIG_B=m # or y", "CONFIG_C=n", "CONFIG_D=m", 'CONFIG_E="x"').settings
    final = parse_config('CONFIG_B=y\n# CONFIG_C is not set\nCONFIG_D=y\nCONFIG_E="x"\n')
    assert [(item.setting.symbol, item.got) for item in unmet(settings, final)] == [("A", "n"), ("D", "y")]
