"""The agent's loop over a tree and a systemd that are made up, and everything else real."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lichen_agent.control import Control, ControlError, ask
from lichen_resources import restore as restoring
from lichen_resources.audit import read_log
from lichen_resources.command import SETTLE
from lichen_resources.record import Record
from lichen_resources.settings import load_settings

from tests.resources.test_units import rendered
from tests.resources.tree import Systemd, Tree

pytest.importorskip("prometheus_client", reason="not installed here (apt install python3-prometheus-client)")
from lichen_resources.agent import Agent
from lichen_resources.audit import AuditLog
from lichen_resources.looking import Looker
from lichen_resources.metrics import Metrics

UNITS = [
    "notebook classroom.slice cpu=50-400@20 io=50-400@20 memory@5",
    "batch batch.slice cpu=5-100 io=5-100 memory=20M-100%",
]
TOTAL = 1 << 30


class Bench:
    """A machine, its clock, and an agent on it."""

    def __init__(self, folder: Path, units: list[str] = UNITS) -> None:
        self.folder, self.now, self.blind = folder, 1000.0, ""
        (file := folder / "resources.toml").write_text(rendered("etc/lichen/resources.toml.j2", units=units))
        self.settings = load_settings(file, TOTAL)
        self.tree = Tree(folder)
        self.control = folder / "control.d"
        self.systemd = Systemd(self.tree, self.control)
        self.systemd.add("classroom.slice", CPUWeight="50")
        self.systemd.add("batch.slice", CPUWeight="20", IOWeight="20")
        self.log, self.switch = folder / "changes.jsonl", folder / "off"
        self.agent = self.start()

    def start(self) -> Agent:
        record = Record(self.folder / "overridden.json", self.control, self.systemd)
        looker = Looker(self.settings.units, self.tree.root, 2, self.tree.sys)
        log = AuditLog(self.log, 1 << 20, 2)
        self.agent = Agent(
            self.settings,
            looker,
            record,
            log,
            Metrics(),
            self.switch,
            run=self.systemd,
            why_blind=lambda: self.blind,
            clock=lambda: self.now,
        )
        return self.agent

    def look(self, times: int = 1) -> None:
        """Looks with batch at work."""
        for _ in range(times):
            self.tree.burn("batch.slice", 9.0)
            self.agent.look()
            self.now += 5

    def weight(self, name: str = "classroom.slice") -> str:
        return self.tree.read(name, "cpu.weight")

    def press(self, cpu: float = 60.0) -> None:
        self.tree.press("classroom.slice", "cpu", cpu)

    def changes(self) -> list[Any]:
        return list(read_log(self.log))

    def drop_ins(self) -> list[str]:
        return sorted(str(path.relative_to(self.control)) for path in self.control.rglob("*.conf"))

    def unit(self, name: str = "classroom.slice") -> Any:
        units: Any = self.agent.status()["units"]
        return next(unit for unit in units if unit["unit"] == name)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_who_waits_gets_more_and_it_is_written_down(bench: Bench) -> None:
    bench.press()
    bench.look(3)
    assert bench.weight() == "75"
    assert bench.systemd.units["classroom.slice"]["CPUWeight"] == "75"
    (change,) = bench.changes()
    assert {name: change[name] for name in ("unit", "knob", "from", "to", "actor")} == {
        "unit": "classroom.slice",
        "knob": "cpu",
        "from": "50",
        "to": "75",
        "actor": "policy",
    }
    assert change["reason"] == "cpu pressure of classroom.slice 60.0 %, above 20 %"
    assert change["pressure"]["cpu.some"] == 60.0
    assert abs(change["time"] - time.time()) < 60
    knob = bench.unit()["knobs"]["cpu"]
    assert (knob["static"], knob["now"]) == (50, 50)  # what is now was read before it was set
    bench.look()
    assert bench.unit()["knobs"]["cpu"]["now"] == 75


def test_agent_touches_nothing_but_its_knobs(bench: Bench) -> None:
    """The settings of systemd-oomd above all."""
    bench.press()
    bench.tree.press("classroom.slice", "memory", 50.0, 50.0)
    bench.tree.press("classroom.slice", "io", 50.0)
    bench.tree.press("batch.slice", "io", 5.0)
    bench.look(60)
    assigned = {argument.split("=")[0] for command in bench.systemd.commands for argument in command if "=" in argument}
    assert assigned - {"--property"} == {"CPUWeight", "IOWeight", "MemoryHigh"}
    assert bench.systemd.units["batch.slice"]["ManagedOOMMemoryPressure"] == "auto"


def test_memory_of_batch_goes_down_to_what_it_works_with(bench: Bench) -> None:
    bench.tree.press("classroom.slice", "memory", 50.0, 50.0)
    for _ in range(100):
        held = bench.tree.read("batch.slice", "memory.high")
        bench.look()
        if held != "max":
            (bench.tree.root / "batch.slice/memory.current").write_text(held)
    # 40 MiB that are no files and 10 that are in use, and a tenth more.
    assert bench.tree.read("batch.slice", "memory.high") == str(55 << 20)
    assert bench.systemd.units["batch.slice"]["MemoryHigh"] == str(55 << 20)


def test_off_gives_all_back_at_once_and_stays(bench: Bench) -> None:
    bench.press()
    bench.tree.press("classroom.slice", "io", 50.0)
    bench.tree.press("batch.slice", "io", 5.0)
    bench.look(60)
    assert bench.weight() == "400"
    assert bench.agent.answer({"command": "off"}) == {"mode": "off"}
    assert bench.weight() == "50"
    assert bench.weight("batch.slice") == "20"
    assert bench.systemd.units["classroom.slice"]["IOWeight"] == "[not set]"
    assert bench.drop_ins() == []
    assert [command for command in bench.systemd.commands if command[0] != "show"][-1] == ("daemon-reload",)
    assert bench.changes()[-1]["actor"] == "switch"
    bench.start()
    bench.look(20)
    assert (bench.weight(), bench.agent.mode) == ("50", "off")
    assert bench.agent.answer({"command": "on"}) == {"mode": "adjusting"}
    bench.look(3)
    assert int(bench.weight()) > 50


def test_off_does_not_wait_for_systemds_answer(bench: Bench) -> None:
    """What there is is asked afterwards, for that may take a minute."""
    bench.press()
    bench.look(5)
    bench.now += 60
    done = len(bench.systemd.commands)
    bench.systemd.refuses = "show"
    assert bench.agent.answer({"command": "off"}) == {"mode": "off"}
    assert bench.weight() == "50"
    verbs = [command[0] for command in bench.systemd.commands[done:]]
    assert "show" in verbs
    assert verbs.index("set-property") < verbs.index("show")
    assert bench.changes()[-1]["actor"] == "switch"


@pytest.mark.parametrize(("file", "helped"), [("memory.events", True), ("memory.events.local", False)])
def test_limit_of_a_student_is_not_the_classes(bench: Bench, file: str, helped: bool) -> None:
    """memory.events counts what runs into limits within the unit; memory.events.local its own limit alone."""
    bench.tree.press("classroom.slice", "memory", 50.0, 50.0)
    for number in range(10):
        (bench.tree.root / "classroom.slice" / file).write_text(f"low 0\nhigh 0\nmax {number * 100}\noom 0\n")
        bench.look()
    assert (bench.tree.read("batch.slice", "memory.high") != "max") is helped


def test_weights_of_one_resource_have_arrived_when_a_comparison_counts(bench: Bench) -> None:
    def weights() -> list[str]:
        return [bench.systemd.units[name]["CPUWeight"] for name in ("classroom.slice", "batch.slice")]

    bench.press()
    bench.look(SETTLE // bench.settings.interval)
    assert weights() == ["400", "5"]


def test_end_gives_all_back(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> None:
        bench.tree.burn("batch.slice", 9.0)
        bench.now += 5
        seen.append(bench.weight())

    monkeypatch.setattr("lichen_resources.agent.PAUSE", 0.0)
    seen: list[str] = []
    bench.press()
    stops = iter([False] * 10)
    bench.agent.run(lambda: next(stops, True), work)
    assert int(seen[-1]) > 50
    assert bench.weight() == "50"
    assert bench.changes()[-1]["actor"] == "stop"


def test_killed_agent_is_cleaned_up_after(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ExecStopPost does: nothing but the record is known to it."""
    bench.press()
    bench.look(20)
    monkeypatch.setattr(restoring, "LOG", bench.log)
    monkeypatch.setattr(restoring, "RECORD", bench.folder / "overridden.json")
    monkeypatch.setattr(restoring, "Record", lambda path: Record(path, bench.control, bench.systemd))
    assert restoring.restore("after the end", "killed") == 2
    assert (bench.weight(), bench.weight("batch.slice")) == ("50", "20")
    assert bench.drop_ins() == []
    assert restoring.restore("after the end", "killed") == 0
    assert [change["actor"] for change in bench.changes()[-2:]] == ["after the end"] * 2


def test_static_value_is_known_though_nobody_cleaned_up(bench: Bench) -> None:
    bench.press()
    bench.look(20)
    bench.start()
    bench.look()
    assert bench.unit()["knobs"]["cpu"]["static"] == 50


def test_record_that_somebody_damaged_is_nobodys(tmp_path: Path) -> None:
    for text in ("", "{", "[1]", '{"a": 1}', '[{"unit": "a", "knob": "gpu", "text": "", "foreign": false}]'):
        (tmp_path / "x.json").write_text(text)
        assert Record(tmp_path / "x.json").kept == {}


def test_value_that_somebody_else_sets_is_his(bench: Bench) -> None:
    bench.press()
    bench.look(3)
    bench.systemd("set-property", "--runtime", "--", "classroom.slice", "CPUWeight=77")
    bench.look(20)
    assert bench.weight() == "77"
    assert bench.unit()["knobs"]["cpu"]["taken_over"]
    assert bench.changes()[1]["actor"] == "somebody"
    bench.agent.answer({"command": "off"})
    assert bench.weight() == "77"


def test_property_that_was_there_before_stays(bench: Bench) -> None:
    bench.systemd("set-property", "--runtime", "--", "classroom.slice", "CPUWeight=60")
    bench.press()
    bench.look(20)
    assert bench.weight() == "400"
    bench.agent.answer({"command": "off"})
    assert bench.weight() == "60"
    assert bench.drop_ins() == ["classroom.slice.d/50-CPUWeight.conf"]


def test_unit_that_ends_and_comes_back_begins_static(bench: Bench) -> None:
    bench.press()
    bench.look(3)
    unit = bench.systemd.units.pop("classroom.slice")
    (bench.tree.root / "classroom.slice").rename(bench.folder / "away")
    bench.look(1)
    assert bench.drop_ins() == []
    assert bench.unit()["notes"] == ["not adjusted: there is no such unit"]
    assert not bench.unit()["there"]
    bench.systemd.units["classroom.slice"] = unit | {"CPUWeight": "50"}
    (bench.folder / "away").rename(bench.tree.root / "classroom.slice")
    (bench.tree.root / "classroom.slice/cpu.weight").write_text("50\n")
    bench.now += 30
    bench.look(4)
    assert int(bench.weight()) > 50


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (
            lambda b: (b.tree.root / "cgroup.controllers").write_text("memory io\n"),
            "cpu: the kernel has no such controller",
        ),
        (lambda b: (b.tree.sys / "block/vda/queue/scheduler").write_text("[none]\n"), "io: no disk heeds weights"),
        (lambda b: b.systemd.units["classroom.slice"].update(CPUWeight="idle"), "cpu: is set to idle"),
        (
            lambda b: b.systemd.units["classroom.slice"].update(CPUWeight="49"),
            "cpu: the unit's own 49 is outside of 50-400",
        ),
        (lambda b: b.systemd.units["classroom.slice"].update(ActiveState="failed"), "not adjusted: failed"),
        (lambda b: b.systemd.units["classroom.slice"].update(LoadState="masked"), "not adjusted: masked"),
        (lambda b: b.systemd.units["classroom.slice"].update(ControlGroup=""), "not adjusted: it has no cgroup"),
    ],
)
def test_what_cannot_be_adjusted_is_told_and_left(bench: Bench, change: Callable[[Bench], Any], note: str) -> None:
    change(bench)
    bench.press()
    bench.tree.press("classroom.slice", "io", 60.0)
    bench.look(10)
    assert any(note in told for told in bench.unit()["notes"])
    knob = note.partition(":")[0]
    assert not [row for row in bench.changes() if (row["unit"], row["knob"]) == ("classroom.slice", knob)]


def test_pressure_that_is_not_counted_is_told(bench: Bench) -> None:
    for resource in ("cpu", "io", "memory"):
        (bench.tree.root / f"classroom.slice/{resource}.pressure").unlink()
    bench.look(5)
    assert "its pressure is not counted: cgroup.pressure is 0" in bench.unit()["notes"]
    assert bench.changes() == []


def test_kernel_without_pressure_adjusts_nothing(bench: Bench) -> None:
    bench.press()
    bench.look(5)
    assert int(bench.weight()) > 50
    bench.blind = "pressure is switched off; nothing is adjusted. Put psi=1 on the kernel's command line"
    bench.look(5)
    assert bench.weight() == "50"
    assert bench.agent.status()["mode"] == bench.blind


def test_systemd_that_refuses_is_told_and_the_rest_goes_on(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.press()
    bench.systemd.refuses = "classroom.slice"
    bench.look(1)
    assert "nothing can be seen" in capsys.readouterr().err
    bench.systemd.refuses = ""
    bench.now += 30
    bench.look(1)
    bench.systemd.refuses = "CPUWeight=75"
    bench.look(4)
    assert "classroom.slice cpu stays at 50: systemctl set-property: refused" in capsys.readouterr().err
    assert bench.weight() == "50"
    bench.systemd.refuses = ""
    bench.look(4)
    assert int(bench.weight()) > 50


def test_log_that_cannot_be_written_keeps_nobody_waiting(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    bench.log.mkdir()
    bench.press()
    bench.look(3)
    assert bench.weight() == "75"
    assert "classroom.slice cpu 50 -> 75" in capsys.readouterr().err


def test_record_that_cannot_be_written_keeps_everything_static(bench: Bench) -> None:
    (bench.folder / "overridden.new").mkdir()
    bench.press()
    bench.look(10)
    assert bench.weight() == "50"


# Control


@pytest.fixture
def running(bench: Bench) -> Iterator[Path]:
    """The socket of an agent at work in a thread."""
    path = bench.folder / "control"
    control = Control(path, bench.agent.answer)
    ended = threading.Event()
    thread = threading.Thread(target=bench.agent.run, args=(ended.is_set, control.turn), daemon=True)
    thread.start()
    yield path
    ended.set()
    thread.join(30)
    control.close()


def test_status_is_answered(running: Path) -> None:
    told = ask(running, {"command": "status"})
    while not told["mode"]:
        told = ask(running, {"command": "status"})
    assert told["mode"] == "adjusting"
    assert json.loads(json.dumps(told["units"]))[0]["unit"] == "classroom.slice"


def test_hold_ends_by_itself(bench: Bench) -> None:
    bench.press()
    bench.look(3)
    assert bench.agent.answer({"command": "hold", "seconds": 20}) == {"mode": "held static for a comparison"}
    assert bench.weight() == "50"
    bench.look(3)
    assert bench.weight() == "50"
    bench.look(6)
    assert int(bench.weight()) > 50


@pytest.mark.parametrize(
    "request_", [{}, {"command": "format"}, {"command": "hold", "seconds": -1}, {"command": "hold", "seconds": 1e9}]
)
def test_nonsense_is_refused(running: Path, request_: dict[str, Any]) -> None:
    with pytest.raises(ControlError, match="does not know"):
        ask(running, request_)


def test_systemd_hears_of_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(bench.folder / "notify"))
        ear.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(bench.folder / "notify"))
        stops = iter([False])
        bench.agent.run(lambda: next(stops, True), lambda: None)
        assert ear.recv(4096) == b"READY=1"
        assert ear.recv(4096).startswith(b"WATCHDOG=1\nSTATUS=adjusting; 2 of 2 units there, 0 values are not static")


def test_metrics_show_what_is(bench: Bench) -> None:
    from prometheus_client import generate_latest

    bench.press()
    bench.look(4)
    text = generate_latest(bench.agent._metrics.registry).decode()
    assert 'lichen_resources_changes_total{actor="policy",knob="cpu",unit="classroom.slice"} 1.0' in text
    assert 'lichen_resources_value{knob="cpu",unit="classroom.slice"} 75.0' in text
    assert 'lichen_resources_value{knob="memory",unit="batch.slice"} +Inf' in text
    assert 'lichen_resources_pressure_percent{kind="some",resource="cpu",unit="classroom.slice"} 60.0' in text
    assert "lichen_resources_adjusting 1.0" in text
