"""Which scheduler is in force: every doubt is EEVDF."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from lichen_sched.guards import Delays, Limits, Returns
from lichen_sched.kernel import Mode
from lichen_sched.layout import bucket
from lichen_sched.memory import Memory
from lichen_sched.quotas import limited
from lichen_sched.warden import Warden, cpu_pressure

from tests.sched.making import Clocks, MadeUpKernel


class Scene:
    """A warden, its kernel and clocks."""

    def __init__(self, folder: Path, configured: str = "active", kernel: MadeUpKernel | None = None) -> None:
        self.folder, self.kernel, self.clocks = folder, kernel or MadeUpKernel(), Clocks()
        self.quotas: tuple[str, ...] = ()
        self.ignore_quotas = False
        self.pressure = 0.0
        self.configured = configured
        self.begin()

    def begin(self) -> None:
        """As after a start of the agent."""
        delays, returns = Delays(Limits(3.0, 0.02, 3.0)), Returns(60.0, 3)
        memory = Memory(self.folder, delays, returns, self.clocks.wall())
        self.warden = Warden(
            self.kernel,
            memory,
            delays,
            returns,
            self.configured,
            self.clocks.boot,
            self.clocks.wall,
            lambda: self.pressure,
            lambda: self.quotas,
            self.ignore_quotas,
        )

    def looks(self, count: int, milliseconds: float = 1.0) -> None:
        """So many looks at a thousand delays each, ten seconds apart."""
        for _ in range(count):
            self.kernel.histogram[bucket(int(milliseconds * 1e6))] += 1000
            self.clocks.pass_(10.1)
            self.warden.turn()

    def activate(self) -> None:
        self.warden.turn()
        self.looks(4)
        assert self.kernel.mode == Mode.ACTIVE, self.warden.why

    def told(self) -> str:
        return "\n".join(text for _, text in self.warden.notes)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_eevdf_is_measured_first(scene: Scene) -> None:
    scene.warden.turn()
    assert scene.kernel.mode == Mode.OBSERVE
    assert "EEVDF is measured first, 0 of 3" in scene.warden.why
    scene.looks(2)
    assert scene.kernel.mode == Mode.OBSERVE
    scene.looks(1)
    assert scene.kernel.mode == Mode.ACTIVE


@pytest.mark.parametrize(("configured", "modes"), [("observe", [Mode.OBSERVE]), ("off", [])])
def test_modes_of_the_settings(tmp_path: Path, configured: str, modes: list[Mode]) -> None:
    scene = Scene(tmp_path, configured)
    scene.warden.turn()
    scene.looks(5)
    assert scene.kernel.modes == modes


def test_kernel_without_sched_ext_is_observed(tmp_path: Path) -> None:
    scene = Scene(tmp_path, kernel=MadeUpKernel("this kernel has no sched_ext"))
    scene.warden.turn()
    scene.looks(5)
    assert scene.kernel.modes == [Mode.OBSERVE]
    assert "active is wanted" in scene.warden.why
    assert "no sched_ext" in scene.warden.why
    scene.warden.try_out(Mode.ACTIVE, 60)
    assert scene.kernel.mode == Mode.OBSERVE


def test_long_delays_bring_eevdf_back(scene: Scene) -> None:
    scene.activate()
    scene.looks(2, 100)
    assert scene.kernel.mode == Mode.ACTIVE
    scene.looks(1, 100)
    assert scene.kernel.mode != Mode.ACTIVE
    assert "back to EEVDF: the 99th percentile" in scene.told()
    scene.warden.turn()
    assert scene.kernel.mode == Mode.OBSERVE
    assert "it is tried again in 6" in scene.warden.why


def test_starved_task_brings_eevdf_back_at_once(scene: Scene) -> None:
    scene.activate()
    scene.looks(1, 5000)
    assert scene.kernel.mode != Mode.ACTIVE
    assert "a task waited" in scene.told()


def test_it_is_tried_again_after_twice_as_long_and_then_given_up(scene: Scene) -> None:
    scene.activate()
    waits = []
    for number in range(3):
        scene.looks(1, 5000)
        began = scene.clocks.seconds
        while number < 2 and scene.kernel.mode != Mode.ACTIVE:
            scene.looks(1)
        waits.append(scene.clocks.seconds - began)
    assert 60 <= waits[0] < 85
    assert 120 <= waits[1] < 145
    scene.looks(100)
    assert scene.kernel.mode == Mode.OBSERVE
    assert "EEVDF had to return 3 times" in scene.warden.why
    assert "not tried again until lichen-sched on" in scene.told()
    # Nor by a restart.
    scene.begin()
    scene.looks(100)
    assert scene.kernel.mode == Mode.OBSERVE
    scene.warden.ask_for("active")
    assert scene.kernel.mode == Mode.ACTIVE


def test_end_by_the_kernel_is_a_return(scene: Scene) -> None:
    scene.activate()
    scene.kernel.end("runnable task stall")
    scene.warden.turn()
    assert "the kernel ended our scheduler: runnable task stall, worker/7 was not run (kind 1026" in scene.told()
    assert scene.warden.returns.count == 1
    scene.warden.turn()
    assert scene.kernel.mode == Mode.OBSERVE


def test_attachment_that_fails_is_a_return(scene: Scene) -> None:
    scene.kernel.refuses.add(Mode.ACTIVE)
    scene.warden.turn()
    scene.looks(4)
    assert scene.warden.returns.count == 1
    assert "active cannot be attached" in scene.told()
    scene.warden.turn()
    assert scene.kernel.mode == Mode.OBSERVE
    assert not (scene.folder / "active").exists()


def test_observing_that_fails_is_told_once_a_minute(scene: Scene) -> None:
    scene.kernel.refuses.add(Mode.OBSERVE)
    for _ in range(50):
        scene.warden.turn()
    assert scene.told().count("the mode observe cannot be had: observe cannot be attached") == 2
    scene.kernel.refuses.clear()
    scene.clocks.pass_(61)
    scene.warden.turn()
    assert scene.kernel.mode == Mode.OBSERVE


def test_off_holds_over_restarts(scene: Scene) -> None:
    scene.activate()
    scene.warden.ask_for("off")
    assert scene.kernel.mode == Mode.OFF
    scene.begin()
    scene.warden.turn()
    scene.looks(5)
    assert scene.kernel.mode == Mode.OFF
    scene.warden.ask_for("")
    scene.looks(4)
    assert scene.kernel.mode == Mode.ACTIVE


def test_file_alone_switches_off(scene: Scene) -> None:
    scene.activate()
    (scene.folder / "off").touch()
    scene.warden.turn()
    assert scene.kernel.mode == Mode.OFF
    scene.warden.try_out(Mode.ACTIVE, 60)
    assert scene.kernel.mode == Mode.OFF


def test_off_holds_even_when_it_cannot_be_kept(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.activate()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space"):
        scene.warden.ask_for("off")
    scene.warden.turn()
    assert scene.kernel.mode == Mode.OFF


def test_wish_holds_over_restarts(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "observe")
    scene.warden.ask_for("active")
    scene.looks(4)
    assert scene.kernel.mode == Mode.ACTIVE
    scene.warden.stop()
    scene.begin()
    scene.warden.turn()
    assert scene.kernel.mode == Mode.ACTIVE, scene.warden.why
    assert "a person asked for it" in scene.warden.why
    scene.warden.ask_for("")
    assert scene.kernel.mode == Mode.OBSERVE


def test_trial_ends_by_itself_and_at_a_violation(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "observe")
    scene.warden.try_out(Mode.ACTIVE, 30)
    assert scene.kernel.mode == Mode.ACTIVE
    scene.looks(3)
    assert scene.kernel.mode == Mode.OBSERVE
    scene.warden.try_out(Mode.ACTIVE, 600)
    scene.looks(1, 5000)
    scene.warden.turn()
    assert scene.kernel.mode == Mode.OBSERVE
    assert scene.warden.returns.count == 1
    scene.warden.try_out(Mode.ACTIVE, 600)
    scene.warden.try_out(None, 0)
    assert scene.kernel.mode == Mode.OBSERVE


def test_agent_that_died_while_ours_was_in_force_waits(scene: Scene) -> None:
    scene.activate()
    scene.kernel.mode = Mode.OFF
    scene.begin()
    assert "had ended while our scheduler was in force" in scene.told()
    scene.looks(4)
    assert scene.kernel.mode == Mode.OBSERVE
    scene.looks(3)
    assert scene.kernel.mode == Mode.ACTIVE


def test_end_in_good_order_is_none_of_that(scene: Scene) -> None:
    scene.activate()
    scene.warden.stop()
    assert scene.kernel.mode == Mode.OFF
    scene.begin()
    assert scene.warden.returns.count == 0
    scene.warden.turn()
    assert scene.kernel.mode == Mode.ACTIVE


def damaged(change: Callable[[dict[str, object]], object]) -> str:
    kept = {"wish": "active", "returns": {"count": 0, "until": 0, "reasons": []}, "usual": {"0": 0.001}, "looks": 9}
    change(kept)
    return json.dumps(kept)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "\x00\xff",
        damaged(lambda kept: kept.update(wish="on")),
        damaged(lambda kept: kept.update(usual=[])),
        damaged(lambda kept: kept.update(usual={"0": -1})),
        damaged(lambda kept: kept.update(returns={"count": 0})),
        damaged(lambda kept: kept.pop("looks")),
    ],
)
def test_damaged_memory_is_a_doubt(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    scene = Scene(tmp_path)
    scene.warden.turn()
    scene.looks(10)
    assert scene.kernel.modes == [Mode.OBSERVE]
    assert "state.json is damaged" in scene.told()
    scene.warden.ask_for("active")
    scene.looks(4)
    assert scene.kernel.mode == Mode.ACTIVE


def test_sound_memory_is_none(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(damaged(lambda kept: None))
    scene = Scene(tmp_path, "observe")
    scene.warden.turn()
    assert scene.kernel.mode == Mode.ACTIVE


QUOTA = ("/classroom.slice/jupyter-ann.service",)


@pytest.mark.parametrize("tried", [False, True])
def test_quota_keeps_eevdf_until_it_is_gone(scene: Scene, tried: bool) -> None:
    """Ours would not keep it, and nobody would see that it is void; that is no return of EEVDF."""
    scene.quotas = QUOTA
    if tried:
        scene.warden.try_out(Mode.ACTIVE, 60)
    scene.warden.turn()
    scene.looks(5)
    assert scene.kernel.modes == [Mode.OBSERVE]
    for said in ("CPU quotas are set", QUOTA[0], "systemctl set-property UNIT CPUQuota=", "ignore_cpu_quotas = true"):
        assert said in scene.warden.why
    assert scene.warden.state()["cpu_quotas"] == [*QUOTA]
    scene.quotas = ()
    scene.looks(1)
    assert scene.kernel.mode == Mode.ACTIVE
    assert scene.warden.returns.count == 0


def test_quota_that_is_set_meanwhile_brings_eevdf_back(scene: Scene) -> None:
    scene.activate()
    scene.quotas = tuple(f"/classroom.slice/jupyter-{number}.service" for number in range(30))
    scene.looks(1)
    assert scene.kernel.mode == Mode.OBSERVE
    assert "jupyter-2.service and 27 more; take them away" in scene.warden.why
    assert scene.warden.returns.count == 0


def test_quota_of_the_last_moment_is_seen_before_ours_comes(scene: Scene) -> None:
    """Not at a look, which would be ten seconds later."""
    scene.warden.turn()
    scene.looks(3)
    scene.warden.ask_for("observe")
    scene.quotas = QUOTA
    scene.warden.ask_for("active")
    assert scene.kernel.mode == Mode.OBSERVE
    assert scene.kernel.modes.count(Mode.ACTIVE) == 1


def test_quotas_are_not_looked_for_where_nobody_wants_ours(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "observe")
    scene.quotas = QUOTA
    scene.warden.turn()
    scene.looks(3)
    assert scene.warden.state()["cpu_quotas"] == []
    scene.warden.ask_for("active")
    assert scene.warden.state()["cpu_quotas"] == [*QUOTA]
    assert scene.kernel.mode == Mode.OBSERVE
    scene.warden.ask_for("observe")
    scene.looks(1)
    assert scene.warden.state()["cpu_quotas"] == []


def test_quotas_that_may_be_ignored(scene: Scene) -> None:
    scene.quotas, scene.ignore_quotas = QUOTA, True
    scene.begin()
    scene.activate()


def test_only_cgroups_with_a_limit_count(tmp_path: Path) -> None:
    for name, text in (("a", "max 100000\n"), ("a/b", "50000 100000\n"), ("c.slice", "1000 100000\n"), ("empty", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cpu.max").write_text(text)
    (tmp_path / "none").mkdir()
    (tmp_path / "cpu.max").write_text("5 10\n")
    assert limited(tmp_path) == ("/a/b", "/c.slice")
    assert limited(tmp_path / "gone") == limited(None) == ()


def test_pressure(tmp_path: Path) -> None:
    (path := tmp_path / "cpu").write_text("some avg10=12.34 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00\n")
    assert cpu_pressure(path) == 12.34
    path.write_text("")
    assert cpu_pressure(path) == 0
    assert cpu_pressure(tmp_path / "none") == 0
