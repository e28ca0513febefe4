"""Our own rules: each meets what it is for, and leaves alone what looks like it."""

from __future__ import annotations

from functools import cache

import pytest
from lichen_guard.event import Event
from lichen_guard.rules import RuleSet, load_rules

from . import rows_access, rows_ai, rows_kernel_network, rows_persistence
from .rule_ordinary import ORDINARY
from .rule_scene import NAMES, OWN_RULES

FILES = [OWN_RULES / "lichen.yaml", OWN_RULES / "ai.yaml"]
ROWS = rows_access.ROWS | rows_persistence.ROWS | rows_kernel_network.ROWS | rows_ai.ROWS


@cache
def own_rules() -> RuleSet:
    return load_rules(FILES, NAMES)


def told(event: Event) -> list[str]:
    return [alert.rule for alert in own_rules().judge(event)]


@pytest.mark.parametrize("name", ROWS)
def test_a_rule_meets_what_it_is_for(name: str) -> None:
    for event in ROWS[name][0]:
        assert name in told(event), event


@pytest.mark.parametrize("name", ROWS)
def test_a_rule_leaves_alone_what_looks_like_it(name: str) -> None:
    for event in ROWS[name][1]:
        assert name not in told(event), event


def test_every_rule_has_its_row() -> None:
    assert {rule.name for rule in own_rules().rules} == set(ROWS)
    assert all(fires and benign for fires, benign in ROWS.values())


def test_every_rule_can_be_judged_and_sees_all_that_it_waits_for() -> None:
    rules = own_rules()
    assert (rules.unsupported, rules.unfilled, rules.unbounded, rules.disabled) == ((), (), (), ())


def test_the_order_of_our_files_does_not_matter() -> None:
    """They are read by name, so ai.yaml comes first."""
    assert len(load_rules(FILES[::-1], NAMES).rules) == len(own_rules().rules)


def test_every_rule_says_what_it_is() -> None:
    for rule in own_rules().rules:
        assert rule.description.endswith("."), rule.name
        assert any(tag.startswith("mitre_") for tag in rule.tags), rule.name
        assert any(tag.startswith(("T1", "AML.")) for tag in rule.tags), rule.name


def test_no_watch_brings_everything() -> None:
    broad = {"/", "/usr", "/proc", "/sys", "/dev", "/home", "/var", "/srv", "/run"}
    assert not broad & {watch.value for watch in own_rules().watches() if watch.place == "prefix"}
    # Reading is most of what programs do; folders are read below these few alone.
    assert not {watch.value for watch in own_rules().watches() if watch.interest & 1} & {
        "/etc",
        "/usr/lib",
        "/opt",
        "/tmp",
        "/root",
    }


def test_what_the_kernel_refuses() -> None:
    denials = own_rules().denials()
    assert {denial.rule for denial in denials} == {
        "Loader preload changed",
        "Agent's files changed",
        "Agent's BPF opened",
    }
    assert {denial.kind for denial in denials} == {"open", "change", "unlink", "bpf"}
    assert all(denial.except_programs == ("/usr/bin/dpkg",) for denial in denials if denial.paths)
    assert all(denial.except_programs == () for denial in denials if not denial.paths)


@pytest.mark.parametrize("what", ORDINARY)
def test_ordinary_work_is_nothing_to_tell(what: str) -> None:
    for event in ORDINARY[what]:
        assert told(event) == [], event
