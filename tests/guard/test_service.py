"""The agent's loop with a sensor that is made up, and everything else real."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from lichen_agent.clock import boot_time
from lichen_agent.control import Control, ControlError, ask
from lichen_agent.notify import notify
from lichen_guard.alert import Alert, Priority
from lichen_guard.alertrecord import Record
from lichen_guard.courier import Courier
from lichen_guard.event import Event
from lichen_guard.reports import Losses, Mark
from lichen_guard.rules import RuleSet, load_rules
from lichen_guard.selftest import run_self_test
from lichen_guard.sensor import SensorError
from lichen_guard.settings import Settings, load_settings
from lichen_guard.watch import Denial, Watch

from tests.guard.making import made
from tests.guard.test_settings import OVERLAY, rendered

pytest.importorskip("prometheus_client", reason="not installed here (apt install python3-prometheus-client)")
from lichen_guard.agent import SELF_TEST, Agent, Signals
from lichen_guard.metrics import Metrics
from lichen_guard.outputs import Outputs
from lichen_guard.service import first_rules, make_detector, serve

SHIPPED = OVERLAY / "tree/usr/share/lichen/guard/rules/self-test.yaml"
RULE = """
- rule: Shell
  desc: a shell
  condition: evt.type = execve and proc.name = sh
  output: shell %proc.cmdline
  priority: WARNING
"""


class MadeUpSensor:
    """Hands over what lies ready; then does what the test wants next, and at last has the agent stopped."""

    hooks: Mapping[str, str] = {"lsm/file_open": "attached", "lsm/bpf": "no such hook"}

    def __init__(self, *turns: Sequence[Event] | Callable[[], None]) -> None:
        self.signals = Signals()
        self.turns = iter(turns)
        self.counts: Counter[str] = Counter()
        self.watches: list[Watch] = []
        self.denials: list[Denial] = []
        self.enforcing: list[bool] = []
        self.closed = False
        self.faulty = 0
        self.refuses = 0
        self.changed: list[str] = []

    def poll(self, timeout_ms: int, callback: Callable[[Event], None]) -> int:
        turn = next(self.turns, None)
        if turn is None:
            self.signals.stop = 15
        elif callable(turn):
            turn()
        else:
            for event in turn:
                callback(event)
        return 0

    def set_watches(self, watches: Sequence[Watch]) -> None:
        self.watches = list(watches)

    def set_denials(self, denials: Sequence[Denial]) -> None:
        if self.refuses:
            self.refuses -= 1
            raise SensorError("the rules do not fit", "too many paths", "Use fewer.")
        self.denials = list(denials)

    def enforce(self, on: bool) -> None:
        self.enforcing.append(on)

    def lost(self) -> Mapping[str, int]:
        return dict(self.counts)

    def repair(self) -> Sequence[str]:
        changed, self.changed = self.changed, []
        if "gone" in changed:
            raise SensorError("the sensor cannot be kept as it was", "Operation not permitted", "Restart the agent.")
        return changed

    def close(self) -> None:
        self.closed = True


class Bench:
    """An agent around a sensor, and the alerts that it told."""

    def __init__(self, folder: Path, sensor: MadeUpSensor, **changed: Any) -> None:
        (settings := folder / "guard.toml").write_text(rendered("etc/lichen/guard.toml.j2", **changed))
        self.file = folder / "rules.yaml"
        self.file.write_text(RULE)
        self.settings: Settings = load_settings(settings)
        self.told: list[Alert] = []
        self.folder, self.sensor = folder, sensor
        metrics = Metrics()
        place = Courier("here", self._take)
        outputs = Outputs([place], metrics, self.priority(), self.settings.alerts_per_minute)
        detector = make_detector(self.settings, folder)
        self.agent = Agent(self.settings, sensor, self.load(), self.load, outputs, metrics, detector)

    def priority(self) -> Any:
        from lichen_guard.alert import Priority

        return Priority[self.settings.minimum_priority.upper()]

    def _take(self, record: Record) -> None:
        self.told.append(record.alert)

    def load(self) -> RuleSet:
        return load_rules([SHIPPED, self.file])

    def run(self) -> list[str]:
        serve(self.agent, self.folder, self.folder / "control", self.sensor.signals)
        return [alert.rule for alert in self.told]


def shell(**more: Any) -> Event:
    event = made("exec", boot_time(), exe="/bin/sh", arguments=("sh", "-c", "x\x1b"), **more)
    event.process.name = "sh"
    return event


def test_life_of_an_agent(tmp_path: Path) -> None:
    sensor = MadeUpSensor([made("exec"), shell()])
    bench = Bench(tmp_path, sensor)
    assert bench.run() == ["Agent started", "Shell", "Agent stopped"]
    assert bench.told[0].priority is Priority.WARNING, "it does not see everything"
    assert "1 of 2 hooks are attached" in bench.told[0].text
    assert "lsm/bpf: no such hook" in bench.told[0].text
    assert "x\\x1b" in bench.told[1].text
    assert "signal 15" in bench.told[2].text
    assert sensor.closed
    assert bench.agent.events == {"exec": 2}
    assert not (tmp_path / "attached").exists()
    assert (tmp_path / "memory.npz").exists()


def test_crash_is_seen_by_the_next_start(tmp_path: Path) -> None:
    def crash() -> None:
        raise OSError("the ring is gone")

    bench = Bench(tmp_path, MadeUpSensor(crash))
    with pytest.raises(OSError, match="ring"):
        bench.run()
    assert bench.sensor.closed
    assert [alert.rule for alert in bench.told] == ["Agent started", "Agent failed"]
    assert "OSError: the ring is gone" in bench.told[1].text
    assert Bench(tmp_path, MadeUpSensor()).run() == ["Sensor was detached", "Agent started", "Agent stopped"]
    assert Bench(tmp_path, MadeUpSensor()).run() == ["Agent started", "Agent stopped"]


def test_a_sensor_that_others_changed_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path, sensor := MadeUpSensor())
    sensor.changed = ["places", "settings"]
    assert bench.run() == ["Agent started", "Sensor changed by others", "Agent stopped"]
    assert "places, settings were no longer" in bench.told[1].text
    assert bench.told[1].priority is Priority.CRITICAL


def test_a_sensor_that_cannot_be_kept_as_it_was_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path, sensor := MadeUpSensor())
    sensor.changed = ["gone"]
    assert bench.run() == ["Agent started", "Sensor changed by others", "Agent stopped"]
    assert "cannot be kept as it was: Operation not permitted" in bench.told[1].text


def test_power_failure_is_not_taken_for_a_kill(tmp_path: Path) -> None:
    Mark(tmp_path / "attached").set()
    (tmp_path / "attached").write_text("another boot")
    assert Bench(tmp_path, MadeUpSensor()).run()[0] == "Unclean end"


@pytest.mark.parametrize(("mode", "enforcing"), [("observe", [False]), ("enforce", [True])])
def test_sensor_is_told_what_the_rules_want(tmp_path: Path, mode: str, enforcing: list[bool]) -> None:
    bench = Bench(tmp_path, sensor := MadeUpSensor(), mode=mode)
    bench.agent.apply(bench.agent.rules)
    assert sensor.watches == list(bench.agent.rules.watches())
    assert any(watch.value.startswith("/run/lichen-guard") for watch in sensor.watches)
    assert sensor.enforcing == enforcing


def test_reload_takes_new_rules_and_refuses_malformed_ones(tmp_path: Path) -> None:
    sensor = MadeUpSensor()

    def write(text: str) -> Callable[[], None]:
        def change() -> None:
            bench.file.write_text(text)
            sensor.signals.reload = True

        return change

    malformed = RULE.replace("proc.name = sh", "proc.name = = sh")
    sensor.turns = iter([write(malformed), [shell()], write(RULE.replace("rule: Shell", "rule: Other")), [shell()]])
    bench = Bench(tmp_path, sensor)
    assert bench.run() == ["Agent started", "Rules refused", "Shell", "Rules loaded", "Other", "Agent stopped"]
    assert f"{bench.file}:4:" in bench.told[1].text
    assert bench.agent.refused == ()


def test_malformed_rules_of_the_administrator_leave_those_of_the_image(tmp_path: Path) -> None:
    (bad := tmp_path / "bad.yaml").write_text("- rule: [\n")
    rules, error = first_rules(lambda: load_rules([SHIPPED, bad]), lambda: load_rules([SHIPPED]))
    assert [rule.name for rule in rules.rules] == [SELF_TEST]
    assert error
    assert str(bad) in str(error)


def test_event_that_rules_fail_at_blinds_to_no_other(tmp_path: Path) -> None:
    bench = Bench(tmp_path, MadeUpSensor([made("exec"), shell()]))
    real = bench.agent.rules.judge

    def judge(event: Event) -> list[Alert]:
        if event.process.name != "sh":
            raise RecursionError
        alerts: list[Alert] = real(event)
        return alerts

    bench.agent.rules.judge = judge
    assert bench.run() == ["Agent started", "Shell", "Agent stopped"]
    bench.agent._look(boot_time())
    assert bench.agent.status()["not_judged"] == 1


def test_rules_that_do_not_fit_into_the_kernel_are_refused(tmp_path: Path) -> None:
    sensor = MadeUpSensor()

    def ask_for_too_much() -> None:
        condition = "evt.type = open and fd.name startswith /srv/secret/"
        bench.file.write_text(RULE.replace("evt.type = execve and proc.name = sh", condition))
        sensor.signals.reload, sensor.refuses = True, 1

    sensor.turns = iter([ask_for_too_much, [shell()]])
    bench = Bench(tmp_path, sensor)
    assert bench.run() == ["Agent started", "Rules refused", "Shell", "Agent stopped"]
    assert "too many paths" in bench.told[1].text
    assert sensor.watches == list(bench.agent.rules.watches())


def test_losses_are_told_once() -> None:
    losses = Losses()
    assert losses.report({"open": 0}, 0) is None
    told = losses.report({"open": 5, "exec": 2}, 0)
    assert told
    assert "5 open, 2 exec" in told.text
    assert losses.report({"open": 5, "exec": 2}, 0) is None
    again = losses.report({"open": 6, "exec": 2}, 0)
    assert again
    assert "1 open" in again.text


def test_lost_events_reach_the_outputs(tmp_path: Path) -> None:
    sensor = MadeUpSensor()
    sensor.counts["open"] = 3
    assert "Events lost" in Bench(tmp_path, sensor).run()


# Control


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Bench]:
    """An agent at work in a thread."""
    waiting = threading.Event()

    def pause() -> None:
        waiting.wait(0.01)

    sensor = MadeUpSensor(*[pause] * 100_000)
    bench = Bench(tmp_path, sensor)
    (thread := threading.Thread(target=bench.run, daemon=True)).start()
    while not (tmp_path / "control").exists():
        waiting.wait(0.01)
    yield bench
    sensor.signals.stop = 15
    thread.join(30)


def test_status_is_answered_to_root_only(running: Bench) -> None:
    told = ask(running.folder / "control", {"command": "status"})
    assert told["hooks"] == {"lsm/file_open": "attached", "lsm/bpf": "no such hook"}
    assert told["rules"]["loaded"] == [SELF_TEST, "Shell"]
    assert told["model"]["state"] == "learning"
    assert told["memory_bytes"] > 1 << 20
    assert (running.folder / "control").stat().st_mode & 0o777 == 0o700


def test_learning_starts_anew_on_request(running: Bench) -> None:
    assert ask(running.folder / "control", {"command": "learn", "windows": 70}) == {"windows": 70}
    assert ask(running.folder / "control", {"command": "status"})["model"]["wanted_windows"] == 70
    for bad in (0, -1, 49, "70", 1.5):
        with pytest.raises(ControlError, match="does not know"):
            ask(running.folder / "control", {"command": "learn", "windows": bad})


def test_self_test_measures_the_way(running: Bench) -> None:
    def question(control: Path, request: Mapping[str, object]) -> Mapping[str, object]:
        """What the sensor would do: the file's event comes before the first question about it."""
        if request["command"] == "test" and request["path"] not in dict(running.agent.seen_tests):
            event = made("open", boot_time(), path=str(request["path"]), flags=os.O_WRONLY | os.O_CREAT)
            running.agent.see(event)
        answer: Mapping[str, object] = ask(control, request)
        return answer

    real = SHIPPED.read_text()
    assert "/run/lichen-guard/self-test-" in real
    running.file.write_text(RULE + real.replace("/run/lichen-guard", str(running.folder)))
    running.agent.rules = load_rules([running.file])
    seconds = run_self_test(10, running.folder / "control", question)
    assert seconds is not None
    assert 0 < seconds < 10
    assert not list(running.folder.glob("self-test-*"))


def test_self_test_that_nobody_sees_says_so(running: Bench) -> None:
    assert run_self_test(0.1, running.folder / "control") is None


@pytest.mark.parametrize("sent", [b"", b"no json\n", b"[1]\n", b"x" * 70_000, b'{"command": "format"}\n'])
def test_nonsense_harms_nobody(running: Bench, sent: bytes) -> None:
    path = running.folder / "control"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(sent)
    assert ask(path, {"command": "status"})["mode"] == "observe"


def test_agent_that_does_not_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="does not run"):
        ask(tmp_path / "control", {})
    Control(tmp_path / "control", lambda _: {}).close()
    with pytest.raises(ControlError, match="does not run"):
        ask(tmp_path / "control", {})


# systemd and rights


def test_systemd_hears_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(str(tmp_path / "notify"))
        ear.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        Bench(tmp_path, MadeUpSensor()).run()
        first = ear.recv(4096).decode()
        assert first.startswith("WATCHDOG=1\nSTATUS=2 rules, learning")
        assert ear.recv(4096).decode().startswith("READY=1\n")
        notify(STATUS="two\nlines")
        assert ear.recv(4096) == b"STATUS=two lines"
    notify(READY=1)  # nobody listens any more


def test_rights_once_given_up_do_not_come_back() -> None:
    """In a process of its own, and for one that it starts; as root, who would get all of them again without more."""
    if os.geteuid():
        pytest.skip("only root has rights to give up")
    code = """if True:
        import json, subprocess, sys
        from lichen_agent.privileges import NUMBERS, held, keep_only
        keep_only(["CAP_SYS_PTRACE"])
        assert held() == 1 << NUMBERS["CAP_SYS_PTRACE"]
        keep_only([])
        status = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout
        print(json.dumps({**dict(line.split(":\\t", 1) for line in status.splitlines()), "held": held()}))
    """
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told["held"] == 0
    assert told["CapEff"] == told["CapPrm"] == told["CapAmb"] == "0" * 16
    assert told["NoNewPrivs"] == "1"


def test_signals_are_heard(tmp_path: Path) -> None:
    code = """if True:
        import os, signal
        from lichen_guard.service import handle_signals
        told = handle_signals()
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        print(told)
    """
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == f"Signals(stop={int(signal.SIGTERM)}, reload=True)\n"
