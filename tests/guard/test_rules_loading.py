"""Rule files: what they may say, how later ones change earlier ones, what is refused; watches and denials."""

from __future__ import annotations

from pathlib import Path

import pytest
from lichen_guard.alert import Priority
from lichen_guard.rules import RulesError, RuleSet, load_rules
from lichen_guard.watch import Denial, Interest, Watch

from .rule_scene import faults, happens, load, opens, process, rule, start

SH, VI = start("sh"), start("vi")


def names(rules: RuleSet) -> list[str]:
    return [rule.name for rule in rules.rules]


def test_what_a_rule_says(tmp_path: Path) -> None:
    rules = load(tmp_path, rule("proc.name = sh", more="  tags: [a, T1059]\n").replace("NOTICE", "info"))
    (alert,) = rules.judge(SH)
    assert (alert.source, alert.rule, alert.priority, alert.text) == ("rules", "R", Priority.INFORMATIONAL, "o")
    assert (alert.tags, alert.time, alert.denied) == (("a", "T1059"), SH.time, False)
    assert not rules.judge(VI)


def test_every_matching_rule_tells(tmp_path: Path) -> None:
    rules = load(tmp_path, rule("proc.name = sh", "A") + rule("evt.type = execve", "B") + rule("proc.name = vi", "C"))
    assert [alert.rule for alert in rules.judge(SH)] == ["A", "B"]


CHANGES = [
    ("- rule: R\n  append: true\n  condition: or proc.name = vi\n", True, True),
    ("- rule: R\n  override: {condition: append}\n  condition: and user.uid = 7\n", False, False),
    ("- rule: R\n  override: {condition: replace}\n  condition: proc.name = vi\n", False, True),
    ("- rule: R\n  enabled: false\n", False, False),
    ("- rule: R\n  override: {enabled: replace}\n  enabled: false\n", False, False),
    (rule("proc.name = vi"), False, True),
    ("- list: words\n  append: true\n  items: [vi]\n", True, True),
    ("- list: words\n  override: {items: append}\n  items: [vi]\n", True, True),
    ("- list: words\n  override: {items: replace}\n  items: [vi]\n", False, True),
    ("- list: words\n  items: [vi]\n", False, True),
    ("- macro: m\n  override: {condition: append}\n  condition: or proc.name = vi\n", True, True),
    ("- macro: m\n  condition: proc.name = vi\n", False, True),
    ("- rule: R\n  append: true\n  exceptions: [{name: e, fields: proc.name, values: [sh]}]\n", False, False),
]


@pytest.mark.parametrize(("later", "shell", "editor"), CHANGES)
def test_later_files_change_earlier_ones(tmp_path: Path, later: str, shell: bool, editor: bool) -> None:
    first = "- list: words\n  items: [sh]\n- macro: m\n  condition: proc.name in (words)\n" + rule("m")
    rules = load(tmp_path, first, later)
    assert (bool(rules.judge(SH)), bool(rules.judge(VI))) == (shell, editor)


def test_what_else_can_be_overridden(tmp_path: Path) -> None:
    later = (
        "- rule: R\n  output: and %proc.pid\n  priority: CRITICAL\n  tags: [b]\n  desc: more\n"
        "  override: {output: append, priority: replace, tags: append, desc: append}\n"
    )
    rules = load(tmp_path, rule("proc.name = sh", more="  tags: [a]\n"), later)
    (alert,) = rules.judge(SH)
    assert (alert.text, alert.priority, alert.tags) == (f"o and {SH.process.pid}", Priority.CRITICAL, ("a", "b"))
    assert rules.rules[0].description == "d more"


@pytest.mark.parametrize(
    ("exceptions", "excepted"),
    [
        ("[{name: e, fields: proc.name, comps: in, values: [sh, bash]}]", True),
        ("[{name: e, fields: proc.name, values: [shells]}]", True),
        ("[{name: e, fields: proc.name, comps: endswith, values: [sh, x]}]", True),
        ("[{name: e, fields: proc.name, values: []}]", False),
        ("[{name: e, fields: proc.name}]", False),
        ("[{name: e, fields: [proc.name, user.uid], comps: [=, in], values: [[sh, [7, 1000]]]}]", True),
        ("[{name: e, fields: [proc.name, user.uid], values: [[sh, 7], [sh, 1000]]}]", True),
        ("[{name: e, fields: [proc.name, user.uid], values: [[sh, 7]]}]", False),
        ("[{name: e, fields: ['proc.aname[1]'], comps: [=], values: [[systemd]]}]", True),
        ("[{name: e, fields: [proc.name, proc.pname], comps: [in, in], values: [[(shells), [systemd]]]}]", True),
    ],
)
def test_exceptions(tmp_path: Path, exceptions: str, excepted: bool) -> None:
    text = "- list: shells\n  items: [sh, bash]\n" + rule("proc.name exists", more=f"  exceptions: {exceptions}\n")
    assert bool(load(tmp_path, text).judge(SH)) is not excepted


def test_exceptions_are_extended_by_later_files(tmp_path: Path) -> None:
    first = rule("proc.name exists", more="  exceptions: [{name: e, fields: [proc.name], values: [[sh]]}]\n")
    later = "- rule: R\n  override: {exceptions: append}\n  exceptions: [{name: e, values: [[vi]]}]\n"
    rules = load(tmp_path, first, later)
    assert not rules.judge(SH)
    assert not rules.judge(VI)
    assert rules.judge(start("ls"))


REFUSED = [
    ("- rule: R\n  condition: a.b = c\n", "0.yaml:1:3: without desc, output, priority"),
    (rule("a.b = c", more="  colour: red\n"), "0.yaml:6:11: unknown key 'colour'"),
    (rule("a.b = c").replace("NOTICE", "LOUD"), "0.yaml:5:13: no priority 'LOUD'"),
    (rule("a.b = c", more="  enabled: perhaps\n"), "0.yaml:6:12: neither true nor false"),
    (rule("a.b = c", more="  enforce: 'true'\n"), "0.yaml:6:12: neither true nor false"),
    (rule("a.b = c", more="  tags: a\n"), "0.yaml:6:9: not a list"),
    (rule("''"), "0.yaml:3:14: nothing stands there"),
    ("- macro: a-b\n  condition: a.b = c\n", "0.yaml:1:10: 'a-b' is no name"),
    ("- macro: a\n", "0.yaml:1:3: without condition"),
    ("- list: a\n  items: {b: c}\n", "0.yaml:2:10: not a list"),
    ("- list: a\n  items: [[b]]\n", "0.yaml:2:11: not a text"),
    ("- list: a\n  append: true\n  items: [b]\n", "0.yaml:1:3: no 'a' to change"),
    ("- macro: a\n  append: true\n  condition: or a.b = c\n", "0.yaml:1:3: no 'a' to change"),
    ("- rule: X\n  append: true\n  condition: or a.b = c\n", "0.yaml:1:3: no rule 'X' to change"),
    ("- rule: X\n  enabled: false\n", "0.yaml:1:3: no rule 'X' to change"),
    ("- colour: red\n", "0.yaml:1:3: neither rule, macro nor list"),
    ("- 3\n", "0.yaml:1:3: not a mapping"),
    ("rule: R\n", "0.yaml:1:1: not a list"),
    ("- list: a\n  list: b\n  items: []\n", "0.yaml:2:3: 'list' twice"),
    ("- list: [a\n", "0.yaml:2:1: not YAML"),
    ("- list: a\n\titems: []\n", "0.yaml:2:1: not YAML"),
    ("- list: \x07a\n", "0.yaml:1:9: not YAML: a control character"),
    ("- required_engine_version: newest\n", "0.yaml:1:28: no version"),
    (rule("proc.name = a", more="  exceptions: [{name: e, fields: [a.b], values: [[c, d]]}]\n"), "0.yaml:6:50: a row"),
    (rule("proc.name = a", more="  exceptions: [{fields: a.b}]\n"), "0.yaml:6:16: no exception"),
    (rule("proc.name = a", more="  exceptions: [{name: e, fields: a, values: [b]}]\n"), "0.yaml:6:34: no field 'a'"),
    (
        rule("proc.name = a", more="  exceptions: [{name: e, fields: [a.b], comps: [like], values: []}]\n"),
        "0.yaml:6:49: no comparison 'like'",
    ),
    (
        rule("proc.name = a", more="  exceptions: [{name: e, fields: [a.b, c.d], comps: [=], values: []}]\n"),
        "0.yaml:6:53: fields and comps differ",
    ),
    ("- &a [*a]\n", "0.yaml:1:7: no anchor 'a'"),
    ("--- []\n--- []\n", "0.yaml:2:1: a second document"),
    ("- " + "[" * 60 + "]" * 60 + "\n", "too much"),
    # libyaml's binding would end the process.
    ("[" * 200_000, "0.yaml:1:34: too much"),
    ("- " * 200_000, "too much"),
    ("{a: " * 200_000, "too much"),
    ("- list: a\n  items: [" + "a," * 200_000 + "a]\n", "too much"),
]


@pytest.mark.parametrize(("text", "words"), REFUSED, ids=range(len(REFUSED)))
def test_refused_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    found = faults(tmp_path, text)
    assert any(words in fault for fault in found), found


def test_anchors(tmp_path: Path) -> None:
    text = "- list: a\n  items: &words [sh, vi]\n- list: b\n  items: *words\n" + rule("proc.name in (b)")
    assert load(tmp_path, text).judge(SH)


def test_a_file_with_nothing(tmp_path: Path) -> None:
    for text in ("", "# only a remark\n", "---\n[]\n", "\ufeff# a mark of byte order\n"):
        assert names(load(tmp_path, text)) == []


def test_overrides_that_are_refused(tmp_path: Path) -> None:
    def fault_of(text: str) -> str:
        return "\n".join(faults(tmp_path, rule("proc.name = a") + text))

    assert "'source' cannot be overridden" in fault_of("- rule: R\n  override: {source: replace}\n  source: x\n")
    assert "'merge' is no way to override" in fault_of("- rule: R\n  override: {output: merge}\n  output: x\n")
    assert "'append' is no way to override" in fault_of("- rule: R\n  override: {enabled: append}\n  enabled: no\n")
    assert "nothing to override output with" in fault_of("- rule: R\n  override: {output: replace}\n")


def test_all_faults_of_all_files_at_once(tmp_path: Path) -> None:
    found = faults(
        tmp_path, rule("proc.name ~ a") + rule("a.b = c", "S", "  x: y\n"), "- list: [\n", rule("nothing", "T")
    )
    assert [fault.split(": ")[0] for fault in found] == ["0.yaml:3:24", "0.yaml:11:6", "1.yaml:2:1", "2.yaml:3:14"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(b"- list: a\n  items: [\xff]\n")
    with pytest.raises(RulesError) as caught:
        load_rules([tmp_path / "none.yaml", bad])
    assert [str(problem).removeprefix(f"{tmp_path}/") for problem in caught.value.problems] == [
        "none.yaml:1:1: cannot be read: No such file or directory; check path and permissions",
        "bad.yaml:2:11: not UTF-8: byte 0xff; save the file as UTF-8",
    ]


def test_what_is_not_to_be_had_is_listed(tmp_path: Path) -> None:
    text = (
        rule("proc.env contains x and proc.vpid = 1", "Fields")
        + rule("evt.type = dup", "Events")
        + rule("proc.name regex '.*'", "Operators")
        + rule("ka.verb = get", "Sources", "  source: k8s_audit\n")
        # The part that asks for what is missing belongs to an event that never comes.
        + rule("evt.type = execve or (evt.type = sendto and fd.connected = true)", "Works")
    )
    rules = load(tmp_path, text)
    assert names(rules) == ["Works"]
    assert [str(one).replace(f"{tmp_path}/", "") for one in rules.unsupported] == [
        "0.yaml:3:14: rule 'Fields' is off: proc.env is not to be had",
        "0.yaml:3:38: rule 'Fields' is off: proc.vpid is not to be had",
        "0.yaml:8:14: rule 'Events' is off: every event that it waits for is not to be had",
        "0.yaml:13:14: rule 'Operators' is off: proc.name regex is not to be had",
        "0.yaml:16:3: rule 'Sources' is off: source k8s_audit is not to be had",
    ]


@pytest.mark.parametrize(
    "field",
    ["container.name", "container.image", "container.image.repository", "container.image.tag", "fd.cip", "fd.cnet"],
)
def test_a_rule_that_excepts_by_what_is_not_to_be_had_is_listed(tmp_path: Path, field: str) -> None:
    rules = load(tmp_path, rule(f"evt.type in (execve, connect) and not {field} = 10.0.0.1"))
    assert names(rules) == []
    assert [one.field for one in rules.unsupported] == [field]


def test_fields_that_alerts_cannot_show_are_listed(tmp_path: Path) -> None:
    output = ">-\n    of %proc.name %%x.y\n    in %container.image.tag %*proc.env[A] again %container.image.tag"
    rules = load(tmp_path, rule("proc.name = sh").replace("output: o", f"output: {output}"))
    assert names(rules) == ["R"]
    assert [str(one).replace(f"{tmp_path}/", "") for one in rules.unfilled] == [
        "0.yaml:6:8: rule 'R' says <NA>: container.image.tag is not to be had",
        "0.yaml:6:29: rule 'R' says <NA>: proc.env[A] is not to be had",
    ]


def test_rules_that_are_switched_off(tmp_path: Path) -> None:
    rules = load(tmp_path, rule("proc.name = sh", more="  enabled: false\n"))
    assert rules.disabled == ("R",)
    assert not rules.judge(SH)


READ, WRITE, CHANGE, REMOVE = Interest.READ, Interest.WRITE, Interest.CHANGE, Interest.REMOVE
OPEN = "evt.type in (open, openat) and"
WATCHES = [
    ("evt.is_open_read = true and fd.name = /a/b", {("prefix", "/a/b"): READ}),
    ("evt.is_open_write = true and fd.name in (/a/b, /c)", {("prefix", "/a/b"): WRITE, ("prefix", "/c"): WRITE}),
    ("evt.type = open and fd.name pmatch (/a)", {("prefix", "/a"): READ | WRITE}),
    ("evt.is_open_read = true and fd.name startswith /a/", {("prefix", "/a"): READ}),
    ("evt.is_open_read = true and fd.name startswith /a/b/c", {("prefix", "/a/b"): READ}),
    ("evt.is_open_read = true and fd.directory = /a/b", {("prefix", "/a/b"): READ}),
    ("evt.is_open_read = true and fd.directory endswith /.ssh", {("name", ".ssh"): READ}),
    ("evt.is_open_read = true and fd.filename in (x, y)", {("name", "x"): READ, ("name", "y"): READ}),
    ("evt.is_open_read = true and fd.name endswith /x", {("name", "x"): READ}),
    ("evt.is_open_read = true and fd.name glob /proc/*/mem", {("name", "mem"): READ}),
    ("evt.is_open_read = true and fd.name glob /a/b/*.so", {("prefix", "/a/b"): READ}),
    # Of two conditions the narrower one.
    ("evt.is_open_read = true and fd.name startswith /proc/ and fd.filename = mem", {("name", "mem"): READ}),
    ("evt.is_open_read = true and not (not fd.name = /a/b or proc.name = x)", {("prefix", "/a/b"): READ}),
    (
        "evt.is_open_read = true and (fd.name = /a/b or fd.filename = c)",
        {("prefix", "/a/b"): READ, ("name", "c"): READ},
    ),
    ("evt.type in (unlink, rename) and fd.name = /a/b", {("prefix", "/a/b"): CHANGE | REMOVE}),
    ("evt.type = rename and evt.arg.newpath startswith /a/", {("prefix", "/a"): CHANGE}),
    ("evt.type = chmod and file.path pmatch (/a)", {("prefix", "/a"): CHANGE}),
    ("evt.type = execve and proc.name = x", {}),
]


@pytest.mark.parametrize(("condition", "expected"), WATCHES)
def test_watches(tmp_path: Path, condition: str, expected: dict[tuple[str, str], Interest]) -> None:
    rules = load(tmp_path, rule(condition))
    base = set(load(tmp_path, "").watches())
    assert {(w.place, w.value): w.interest for w in rules.watches() if w not in base} == expected
    assert not rules.unbounded


@pytest.mark.parametrize(
    ("condition", "reasons"),
    [
        (
            "evt.is_open_read = true and proc.name = x",
            {"reads of files at any path", "opens to read and write of files at any path"},
        ),
        ("evt.is_open_write = true and (fd.name = /a/b or proc.name = x)", None),
        ("evt.is_open_read = true and not fd.name = /a/b", None),
        ("evt.is_open_read = true and fd.name startswith /etc", {"paths that go on after /etc without a slash"}),
        ("evt.is_open_read = true and fd.name endswith .key", {"names that end in .key but are longer"}),
        ("evt.is_open_read = true and fd.name contains /.ssh/", {"files deeper below /.ssh/ than directly in it"}),
        ("evt.is_open_read = true and fd.name contains secret", None),
        ("evt.type = unlink and proc.name = x", {"unlink events of files at any path"}),
        ("evt.type = symlink and evt.arg.target = /etc/shadow", {"symlink events of files at any path"}),
        ("evt.type = symlink and fs.path.target = /etc/shadow", {"symlink events of files at any path"}),
        (f"evt.is_open_read = true and fd.filename = {'x' * 64}", None),
        (f"evt.is_open_read = true and fd.name = /{'x' * 255}", None),
    ],
)
def test_unbounded(tmp_path: Path, condition: str, reasons: set[str] | None) -> None:
    rules = load(tmp_path, rule(condition))
    found = {one.reason for one in rules.unbounded}
    assert found == reasons if reasons else found
    assert str(rules.unbounded[0]).startswith(f"{tmp_path}/0.yaml:1:3: rule 'R' does not see ")


def test_the_longest_prefix_has_what_those_above_it_want(tmp_path: Path) -> None:
    text = rule("evt.is_open_write = true and fd.name pmatch (/a)", "A") + rule(
        "evt.is_open_read = true and fd.name = /a/b", "B"
    )
    watches = {watch.value: watch.interest for watch in load(tmp_path, text).watches()}
    assert (watches["/a"], watches["/a/b"]) == (WRITE, READ | WRITE)


def test_the_agents_own_files_are_always_watched(tmp_path: Path) -> None:
    assert Watch("prefix", "/etc/lichen/guard", WRITE | CHANGE | REMOVE) in load(tmp_path, "").watches()


ENFORCED = [
    ("evt.type = execve and proc.exepath in (/usr/bin/nc)", [("exec", ("/usr/bin/nc",), 0, ())]),
    ("evt.type = execve and proc.exepath pmatch (/tmp, /dev/shm)", [("exec", ("/tmp", "/dev/shm"), 0, ())]),
    (
        "evt.type = execve and proc.is_exe_in_memory = true and not proc.exepath in (/usr/bin/runc)",
        [("exec-in-memory", (), 0, ("/usr/bin/runc",))],
    ),
    (
        "evt.type = openat and evt.is_open_write = true and fd.num >= 0 and fd.typechar = f and fd.name = /a/b",
        [("open", ("/a/b",), WRITE, ())],
    ),
    ("evt.is_open_read = true and fd.name pmatch (/a)", [("open", ("/a",), READ, ())]),
    ("evt.type = open and file.path = /a/b and proc.exepath != /usr/bin/x", [("open", ("/a/b",), 3, ("/usr/bin/x",))]),
    ("evt.type = unlink and fd.name = /a/b", [("unlink", ("/a/b",), 0, ())]),
    (
        "evt.type in (creat, rename, link, symlink, chmod, unlink) and file.path pmatch (/a)",
        [("change", ("/a",), 0, ()), ("unlink", ("/a",), 0, ())],
    ),
    (
        "evt.type = init_module and not (proc.exepath = /usr/bin/kmod or proc.exepath = /usr/sbin/dkms)",
        [("module", (), 0, ("/usr/bin/kmod", "/usr/sbin/dkms"))],
    ),
    ("evt.type = ptrace", [("ptrace", (), 0, ())]),
    (
        "evt.type = bpf and evt.arg.cmd in (BPF_LINK_GET_FD_BY_ID, BPF_MAP_GET_FD_BY_ID, BPF_PROG_GET_FD_BY_ID)",
        [("bpf", (), 0, ())],
    ),
]


@pytest.mark.parametrize(("condition", "expected"), ENFORCED)
def test_denials(tmp_path: Path, condition: str, expected: list[tuple[object, ...]]) -> None:
    rules = load(tmp_path, rule(condition, more="  enforce: true\n"))
    found = [(d.kind, d.paths, d.interest, d.except_programs) for d in rules.denials()]
    assert sorted(found) == sorted(expected)
    assert all(denial.rule == "R" for denial in rules.denials())
    assert load(tmp_path, rule(condition)).denials() == ()
    assert load(tmp_path, rule(condition, more="  enforce: true\n  enabled: false\n")).denials() == ()


@pytest.mark.parametrize(
    ("condition", "about"),
    [
        ("evt.type = execve and proc.exepath = /a and user.uid = 0", "user.uid ="),
        ("evt.type = execve and (proc.exepath = /a or proc.name = b)", "a choice of different comparisons (or)"),
        ("evt.type = execve and proc.name = nc", "proc.name ="),
        ("evt.type = execve", "exec anywhere, without paths"),
        ("evt.type = execve and proc.exepath pmatch (/home/*/bin)", "proc.exepath pmatch"),
        ("evt.type = execve and proc.exepath startswith /tmp/", "proc.exepath startswith"),
        ("evt.type = execve and proc.exepath = nc", "proc.exepath ="),
        ("evt.is_open_read = true and fd.name = /a and fd.typechar = f", "fd.typechar ="),
        ("evt.is_open_read = true and not fd.name = /a", "not fd.name ="),
        ("evt.is_open_read = true and fd.name = /a and fd.name = /b", "fd.name ="),
        ("evt.is_open_read = true and fd.name = /a and not proc.name = b", "not proc.name ="),
        (
            "evt.type = rename and file.path = /a",
            "some changes of files without the others (create, link, setattr, symlink)",
        ),
        ("evt.type = connect and fd.sport = 1", "connect events"),
        ("evt.type = bpf", "bpf without evt.arg.cmd in (BPF_LINK_GET_FD_BY_ID, BPF_MAP_GET_FD_BY_ID"),
        ("evt.type = bpf and evt.arg.cmd in (BPF_MAP_GET_FD_BY_ID)", "evt.arg.cmd in"),
        ("evt.type = bpf and evt.arg.cmd = BPF_PROG_LOAD", "evt.arg.cmd ="),
        ("evt.type = execve and proc.exepath = /a and not (proc.exepath = /b and proc.exepath = /c)", "(or)"),
        (
            "(evt.is_open_read = true and fd.name = /a) or (evt.is_open_write = true and fd.name = /b)",
            "a choice of different comparisons (or)",
        ),
        (
            "evt.type in (creat, rename, link, symlink) and file.path = /a or evt.type = chmod and file.path = /b",
            "different files for different kinds of change",
        ),
        (
            "evt.is_open_read = true and evt.is_open_write = false and fd.name = /a",
            "opens to read and write apart from",
        ),
        ("evt.is_open_read = true and evt.is_open_write = true and fd.name = /a", "opens to read and write apart from"),
        ("evt.type = open and ((evt.is_open_read = true and fd.name = /a) or fd.name = /b)", "or"),
        ("fd.name = /a", "connect events"),
    ],
)
def test_what_cannot_be_enforced(tmp_path: Path, condition: str, about: str) -> None:
    (fault,) = faults(tmp_path, rule(condition, more="  enforce: true\n"))
    assert "rule 'R' cannot be enforced: the kernel cannot decide about " in fault
    assert about in fault
    assert "; what can: evt.type of exec" in fault


def test_what_the_kernel_refused_is_told(tmp_path: Path) -> None:
    condition = "evt.is_open_write = true and fd.num >= 0 and fd.name = /a/b"
    rules = load(tmp_path, rule(condition, more="  enforce: true\n"))
    assert rules.denials() == (Denial("R", "open", ("/a/b",), WRITE),)
    event = opens("/a/b", process("vi"), "w")
    assert [alert.denied for alert in rules.judge(event)] == [False]
    event.denied = "R"
    assert [alert.denied for alert in rules.judge(event)] == [True]
    assert not rules.judge(happens("unlink", process("rm"), path="/x", denied="gone"))
