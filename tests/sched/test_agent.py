"""The agent's loop with a kernel that is made up, and everything else real."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lichen_agent.control import ask
from lichen_sched.ensemble import Ensemble
from lichen_sched.kernel import Mode, SchedulerError
from lichen_sched.layout import Counter, Owner, Predictor, Share, bucket
from lichen_sched.teacher import FIRST_SECONDS

from tests.sched.making import SECOND, Clocks, MadeUpKernel, made_samples, made_settings, records

pytest.importorskip("prometheus_client", reason="not installed here (apt install python3-prometheus-client)")
pytest.importorskip("sklearn", reason="not installed here (apt install python3-sklearn)")
from lichen_sched import service
from lichen_sched.agent import Agent, Signals, weight
from lichen_sched.learner import learn


class Bench:
    """An agent, its kernel and clocks, and what it told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, **lines: str) -> None:
        self.folder, self.kernel, self.clocks = folder, MadeUpKernel(), Clocks()
        self.told: list[tuple[int, str]] = []
        monkeypatch.setattr(service, "boot_time", self.clocks.boot)
        monkeypatch.setattr(service.time, "time", self.clocks.wall)
        self.settings = made_settings(folder, **lines)
        (folder / "state").mkdir(exist_ok=True)
        self.agent: Agent = service.make_agent(self.settings, self.kernel, folder / "state")
        self.agent.say = lambda priority, text: self.told.append((priority, text))

    def step(self, seconds: float = 0.2) -> None:
        self.clocks.pass_(seconds)
        self.agent.take()
        self.agent.turn()

    def ask(self, **request: Any) -> Any:
        answer = self.agent.answer(request)
        return json.loads(json.dumps(answer, allow_nan=False))


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def taught(bench: Bench) -> Ensemble:
    """Has a model learned from what the kernel hands over, in this process."""
    bench.kernel.waiting = records(made_samples(4000))
    bench.step()
    model = learn(made_samples(4000), None, 1e9, 0)

    class Done:
        def result(self) -> object:
            return model

        def stop(self) -> None:
            pass

    bench.agent.teacher._learner = lambda *_: Done()
    bench.step(FIRST_SECONDS)
    bench.step()
    return model.ensemble


def test_settings_reach_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch, slice_min_us="700", slice_max_us="9000", preempt_us="0", predictor='"last"')
    control = bench.kernel.in_force
    assert (control.slice_min_ns, control.slice_max_ns, control.preempt_ns) == (700_000, 9_000_000, 0)
    assert control.predictor == Predictor.LAST


def test_model_reaches_the_kernel(bench: Bench) -> None:
    assert bench.kernel.in_force.predictor == Predictor.EWMA
    ensemble = taught(bench)
    ((trees, base),) = bench.kernel.models
    assert (base, trees) == (ensemble.base, ensemble.trees())
    assert bench.kernel.in_force.predictor == Predictor.TREES
    assert any("model 1 is installed" in text for _, text in bench.told)
    bench.step()
    assert len(bench.kernel.models) == 1, "once is enough"


def test_model_is_there_after_a_restart(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    taught(bench)
    again = Bench(bench.folder, monkeypatch)
    assert again.kernel.in_force.predictor == Predictor.TREES
    assert len(again.kernel.models) == 1


def test_sampling_follows_the_machine(bench: Bench) -> None:
    first = bench.kernel.in_force.sample_every
    bench.step()
    bench.kernel.counts[Counter.WAKEUPS] += 100_000
    bench.step(11)
    assert 400 <= bench.kernel.in_force.sample_every <= 550
    generation = bench.kernel.in_force.generation
    bench.kernel.counts[Counter.WAKEUPS] += 90_000
    bench.step(10.1)
    assert bench.kernel.in_force.generation == generation, "a small change is none"
    bench.step(10.1)
    assert bench.kernel.in_force.sample_every == 1 < first


def test_status_is_json_and_whole(bench: Bench) -> None:
    bench.kernel.histogram[bucket(2_000_000)] = 0
    bench.step()
    bench.kernel.histogram[bucket(2_000_000)] += 1000
    bench.step(11)
    told = bench.ask(command="status")
    assert told["mode"] == "observe"
    assert told["delays"]["counted"] == 1000
    assert 0.002 <= told["delays"]["p99"] <= 0.0026
    assert told["model"]["predictor"] == "ewma"
    taught(bench)
    assert bench.ask(command="status")["model"]["tried"]["best"] in {"constant", "last", "ewma"}


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"command": "x"},
        {"command": ["off"]},
        {"command": "trial"},
        {"command": "trial", "mode": "off", "seconds": 5},
        {"command": "trial", "mode": "active", "seconds": -1},
        {"command": "trial", "mode": "active", "seconds": 10**9},
        {"command": "trial", "mode": "active", "seconds": float("nan")},
        {"command": "trial", "mode": "active", "seconds": "5"},
    ],
)
def test_hostile_requests_change_nothing(bench: Bench, request_: dict[str, object]) -> None:
    bench.step()
    assert "does not know this request" in bench.agent.answer(request_)["error"]
    assert bench.kernel.modes == [Mode.OBSERVE]


def test_orders(bench: Bench) -> None:
    bench.step()
    assert bench.ask(command="off")["mode"] == "off"
    assert bench.ask(command="on")["why"].startswith("active is wanted, a person asked for it, but EEVDF is measured")
    assert bench.ask(command="observe")["wish"] == "observe"
    assert bench.ask(command="configured")["wish"] == ""
    assert "too few" in bench.ask(command="train")["error"]


def test_trial(bench: Bench) -> None:
    bench.step()
    assert bench.ask(command="trial", mode="active", seconds=5)["mode"] == "active"
    assert bench.ask(command="trial", mode="")["mode"] == "observe"


def test_audit_counts_from_the_last_change(bench: Bench) -> None:
    def owned(ran: int, bursts: int, bias: int) -> None:
        bench.kernel.owners[Owner(1, 1000)] = Share(ran * SECOND, SECOND, SECOND, bursts, 512, bias, 100)

    owned(10, 50, 0)
    bench.step()
    assert bench.ask(command="trial", mode="active", seconds=60)["mode"] == "active"
    owned(14, 60, 10 * 256)
    old, new = made_samples(30, "noise"), made_samples(40, "noise")
    new["generation"], new["time"], new["cgroup"], new["uid"] = bench.kernel.in_force.generation, 1 << 62, 1, 1000
    new["predicted"] = (np.log2(new["burst"].astype(float)) + 1) * 256
    bench.kernel.waiting = records(np.concatenate([old, new]))
    bench.step()
    told = bench.ask(command="audit")
    assert (told["mode"], told["samples"]) == ("active", 40)
    (row,) = told["users"]
    assert (row["uid"], row["ran"], row["bursts"], row["bias"]) == (1000, 4.0, 10, 1.0)
    assert told["bias"] == pytest.approx(1, abs=0.01)


def test_weight(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/cpu.weight").write_text("300\n")
    assert weight(tmp_path, "/a") == 300
    assert weight(tmp_path, "/b") == weight(None, "/a") == 100
    (tmp_path / "a/cpu.weight").write_text("idle")
    assert weight(tmp_path, "/a") == 100


def test_failing_programs_end_the_agent_and_everything_is_detached(bench: Bench) -> None:
    def fails() -> None:
        raise SchedulerError("samples cannot be read", "Bad file descriptor", "Restart.")

    bench.kernel.turns = [fails]
    with pytest.raises(SchedulerError):
        service.serve(bench.agent, bench.folder / "control", Signals())
    assert bench.kernel.closed


def test_life_over_socket_and_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    bench = Bench(tmp_path, monkeypatch, port=str(free_port))
    signals = Signals()
    answers: list[Any] = []
    url = f"http://127.0.0.1:{free_port}/metrics"

    def asks() -> None:
        try:
            answers.append(ask(tmp_path / "control", {"command": "off"}))
            bench.clocks.pass_(11)
            answers.append(ask(tmp_path / "control", {"command": "status"}))
            # Both may have been answered in one turn, and what is shown follows in the next.
            for _ in range(1000):
                shown = urllib.request.urlopen(url).read().decode()
                if 'mode="off"} 1.0' in shown:
                    break
                time.sleep(0.01)
            answers.append(shown)
        finally:
            signals.stop = 15

    thread = threading.Thread(target=asks)
    bench.kernel.turns = [thread.start]
    service.serve(bench.agent, tmp_path / "control", signals)
    thread.join()
    off, status, metrics = answers
    assert (off["mode"], status["mode"]) == ("off", "off")
    samples = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    assert samples['lichen_sched_mode{mode="off"}'] == "1.0"
    assert samples["lichen_sched_supported"] == "1.0"
    assert 'lichen_sched_kernel_events_total{event="switches"}' in samples
    assert bench.kernel.closed
    assert bench.told[-1][1].startswith("mode off") or "signal 15" in str(bench.told)


def test_taken_port_is_told_and_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    import socket

    bench = Bench(tmp_path, monkeypatch, port=str(free_port))
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", free_port))
        other.listen()
        service.serve(bench.agent, tmp_path / "control", Signals(stop=15))
    assert any("metrics are not served" in text for _, text in bench.told)


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
