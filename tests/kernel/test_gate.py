"""The gate: what fragments ask for against what the kernel's own Kconfig makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.data.fragment import config_text, merge_fragments, parse_config, parse_fragment
from builder.data.kconfig import Verdict, judge
from tests.kernel.conftest import KconfigTools

HEADER = "# Purpose: a test\n# Cost: none\n# Source: nowhere\n"
FIRST_LINE = 4

KCONFIG = """\
mainmenu "Tiny"

config MODULES
	bool "Modules"
	modules
	default y

config BUS
	bool "Bus"

config CONTROLLER
	tristate "Controller"
	depends on BUS

config DISK
	tristate "Disk"
	depends on CONTROLLER

config PORT
	bool "Port"
	depends on BUS && CONTROLLER

config REALTIME
	bool "Real-time"

config PAGES
	bool "Huge pages"
	depends on !REALTIME

config EITHER
	bool "Either"
	depends on BUS || DISK=y || COMPILE_TEST

config COMPILE_TEST
	bool "Compile test"

config TUNNEL
	tristate "Tunnel"
	default m

config DRIVER
	tristate "Driver"
	depends on TUNNEL || !TUNNEL

config HASH
	tristate "Hash"

config SIGNATURES
	bool "Signatures"
	select HASH

config KEY
	string "Key"
	depends on SIGNATURES

config LIBRARY
	tristate

config USER_OF_LIBRARY
	bool "User of the library"
	depends on BUS
	select LIBRARY

config HAVE_FEATURE
	bool

config FEATURE
	bool "Feature"
	depends on HAVE_FEATURE

config ALWAYS
	def_bool y

config COMPILER_CAN
	bool "Needs a compiler"
	depends on n

config SIZE
	int "Size"
	range 12 25
	default 18

config NAME
	string "Name"
	default "none"

choice
	prompt "Speed"
	default SLOW
config SLOW
	bool "Slow"
config FAST
	bool "Fast"
endchoice

config DETAILS
	bool

choice
	prompt "Details"
	default NO_DETAILS
config NO_DETAILS
	bool "None"
config SHORT_DETAILS
	bool "Short"
	select DETAILS
config LONG_DETAILS
	bool "Long"
	select DETAILS
endchoice

config TYPES
	bool "Types"
	depends on DETAILS

config BORROWED
	bool "Depends on what is defined nowhere"
	depends on OTHER_ARCHITECTURE
"""

CASES = [
    ("CONFIG_BUS=y CONFIG_CONTROLLER=m CONFIG_DISK=m", []),
    (
        "CONFIG_DISK=m",
        ["wanted m, got n; it depends on CONFIG_CONTROLLER=n (needs m or y), which depends on CONFIG_BUS=n (needs y)"],
    ),
    (
        "CONFIG_PORT=y",
        ["wanted y, got n; it depends on CONFIG_CONTROLLER=n (needs m or y), which depends on CONFIG_BUS=n (needs y)"],
    ),
    (
        "CONFIG_DISK=y CONFIG_CONTROLLER=m CONFIG_BUS=y",
        ["wanted y, got m; it depends on CONFIG_CONTROLLER=m (needs y), as tiny.config:5 asks"],
    ),
    (
        "CONFIG_REALTIME=y CONFIG_PAGES=y",
        ["wanted y, got n; it depends on CONFIG_REALTIME=y (needs n), as tiny.config:4 asks"],
    ),
    (
        "CONFIG_EITHER=y",
        [
            "wanted y, got n; it depends on either CONFIG_BUS=n (needs y) or on CONFIG_DISK=n (needs y), which depends"
            " on CONFIG_CONTROLLER=n (needs y), which depends on CONFIG_BUS=n (needs y)"
        ],
    ),
    ("CONFIG_DRIVER=y", ["wanted y, got m; it depends on CONFIG_TUNNEL=m (needs y or n)"]),
    (
        "CONFIG_SIGNATURES=y CONFIG_HASH=n",
        ["wanted n, got y; CONFIG_SIGNATURES (as tiny.config:4 asks) forces it"],
    ),
    ("CONFIG_SIGNATURES=y CONFIG_HASH=m", ["wanted m, got y; CONFIG_SIGNATURES (as tiny.config:4 asks) forces it"]),
    ("CONFIG_LIBRARY=m", ["wanted m, got n; only CONFIG_USER_OF_LIBRARY can switch it on"]),
    (
        "CONFIG_FEATURE=y",
        [
            "wanted y, got n; it depends on CONFIG_HAVE_FEATURE=n (needs y), which only architecture or compiler can"
            " switch on"
        ],
    ),
    ("CONFIG_ALWAYS=n", ["wanted n, got y; nobody can set it, the kernel does"]),
    (
        "CONFIG_COMPILER_CAN=y",
        ["wanted y, got n; it depends on something that the compiler or the architecture lacks"],
    ),
    ("CONFIG_SIZE=99", ["wanted 99, got 25; it may be 12 to 25"]),
    ('CONFIG_NAME="name" CONFIG_SIZE=20', []),
    ("CONFIG_BUS=m", ["wanted m, got n; it is on or off, never a module"]),
    ("CONFIG_SIZE=y", ["wanted y, got 18; it is of type integer"]),
    (
        "CONFIG_SLOW=y CONFIG_FAST=y",
        ["wanted y, got n; only one of a choice can be, CONFIG_SLOW (as tiny.config:4 asks) was taken"],
    ),
    ("CONFIG_SLOW=n CONFIG_FAST=n", ["wanted n, got y; it is the one that was taken of a choice"]),
    (
        "CONFIG_BORROWED=y",
        ["wanted y, got n; it depends on CONFIG_OTHER_ARCHITECTURE=n (needs y), which this architecture does not have"],
    ),
]


REMEDIES = [
    ("CONFIG_DISK=m", "add CONFIG_BUS=y, CONFIG_CONTROLLER=m, or mark the line `# preferred`"),
    ("CONFIG_DISK=y CONFIG_CONTROLLER=m CONFIG_BUS=y", "decide between it and tiny.config:5"),
    ("CONFIG_DISK=m CONFIG_BUS=n#preferred", "add CONFIG_BUS=y, CONFIG_CONTROLLER=m"),
    ("CONFIG_REALTIME=y CONFIG_PAGES=y", "decide between it and tiny.config:4"),
    ("CONFIG_EITHER=y", "add CONFIG_BUS=y"),
    ("CONFIG_PORT=y", "add CONFIG_BUS=y, CONFIG_CONTROLLER=m"),
    ("CONFIG_SIGNATURES=y CONFIG_HASH=m", "write `# or y` behind it"),
    ("CONFIG_SIGNATURES=y CONFIG_HASH=n", "switch that off, remove the line"),
    ("CONFIG_LIBRARY=m", "ask for what switches it on instead"),
    ("CONFIG_TYPES=y", "add CONFIG_SHORT_DETAILS=y"),
    ("CONFIG_FEATURE=y", "remove the line"),
    ("CONFIG_COMPILER_CAN=y", "remove the line"),
    ("CONFIG_SIZE=99", "write a number in this range"),
    ("CONFIG_BUS=m", "write a value of its type"),
    ("CONFIG_SLOW=y CONFIG_FAST=y", "ask for one of them only"),
]


def gate(tools: KconfigTools, tree: Path, *lines: str) -> Verdict:
    (tree / "Kconfig").write_text(KCONFIG)
    text = HEADER + "".join(f"{line}\n" for line in lines)
    settings = merge_fragments([parse_fragment("tiny", text, "tiny.config")], "arm64")
    final, answers = tools.configure(tree, config_text(settings))
    return judge(settings, parse_config(final), answers, "linux 6.12 for arm64")


@pytest.mark.parametrize(("asked", "causes"), CASES, ids=[case[0] for case in CASES])
def test_unmet_symbol_is_told_with_its_chain(
    kconfig_tools: KconfigTools, tmp_path: Path, asked: str, causes: list[str]
) -> None:
    verdict = gate(kconfig_tools, tmp_path, *asked.split())
    assert [problem.why for problem in verdict.problems] == causes


@pytest.mark.parametrize(("asked", "remedy"), REMEDIES, ids=[case[0] for case in REMEDIES])
def test_remedy_leads_through_the_gate(kconfig_tools: KconfigTools, tmp_path: Path, asked: str, remedy: str) -> None:
    lines = asked.split()
    (problem,) = gate(kconfig_tools, tmp_path, *lines).problems
    assert problem.what.endswith("is not what the fragments ask for")
    assert problem.remedy.startswith(remedy)
    if remedy.startswith("add "):
        added = remedy.removeprefix("add ").removesuffix(", or mark the line `# preferred`").split(", ")
        kept = [line for line in lines if "preferred" not in line]
        assert not gate(kconfig_tools, tmp_path, *kept, *added).problems


def test_unknown_symbol_is_told_with_near_ones(kconfig_tools: KconfigTools, tmp_path: Path) -> None:
    (problem,) = gate(kconfig_tools, tmp_path, "CONFIG_CONTROLER=y", "CONFIG_NOTHING_LIKE_IT=n").problems
    assert problem.what == "linux 6.12 for arm64 has no CONFIG_CONTROLER"
    assert problem.where == "tiny.config:4"
    assert problem.remedy == "write CONFIG_CONTROLLER, remove the line, or make it one for other architectures"


def test_symbol_that_others_only_mention_is_unknown(kconfig_tools: KconfigTools, tmp_path: Path) -> None:
    (problem,) = gate(kconfig_tools, tmp_path, "CONFIG_OTHER_ARCHITECTURE=y").problems
    assert problem.what == "linux 6.12 for arm64 has no CONFIG_OTHER_ARCHITECTURE"


def test_preferred_symbol_is_noted(kconfig_tools: KconfigTools, tmp_path: Path) -> None:
    verdict = gate(kconfig_tools, tmp_path, "CONFIG_CONTROLLER=m  # preferred", "CONFIG_NOT_THERE=y  # preferred")
    assert not verdict.problems
    assert verdict.notes == (
        "tiny.config:4: CONFIG_CONTROLLER is only preferred: wanted m, got n; it depends on CONFIG_BUS=n (needs y)",
        "tiny.config:5: CONFIG_NOT_THERE is only preferred: wanted y, got n",
    )


def test_all_unmet_symbols_are_told_together(kconfig_tools: KconfigTools, tmp_path: Path) -> None:
    asked = ("CONFIG_PAGES=y", "CONFIG_DISK=m", "CONFIG_REALTIME=y", "CONFIG_UNHEARD_OF=y", "CONFIG_SIZE=2")
    verdict = gate(kconfig_tools, tmp_path, *asked)
    assert [problem.where for problem in verdict.problems] == [
        f"tiny.config:{FIRST_LINE + line}" for line in (1, 0, 4, 3)
    ]


def test_value_that_cannot_be_set_is_not_in_the_configuration(kconfig_tools: KconfigTools, tmp_path: Path) -> None:
    (problem,) = gate(kconfig_tools, tmp_path, 'CONFIG_KEY=""').problems
    assert problem.why == 'wanted "", got n; it depends on CONFIG_SIGNATURES=n (needs y)'
