"""What the commands hand to the long verbs and print of their results; the verbs themselves are stood in for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builder.data.history import Estimate
from builder.data.plan import Component, Plan
from builder.foundation.errors import EXIT_BAD_INPUT, EXIT_FAILED, EXIT_TEST_FAILED, GuestTestError, Problem
from builder.verbs.boot import Request, Running
from builder.verbs.doctor import Finding
from builder.verbs.imagetest import Verdict
from builder.verbs.lock import Change
from tests.cli.conftest import Lichen
from tests.profiles.sample import Sample

SHA = "a" * 64


class Spy:
    """Stands in for a verb: remembers its arguments, gives back ``result``."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.arguments: tuple[Any, ...] = ()
        self.options: dict[str, Any] = {}

    def __call__(self, workbench: object, *arguments: Any, **options: Any) -> Any:
        self.arguments, self.options = arguments, options
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def stand_in(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> Any:
    def put(verb: str, result: Any) -> Spy:
        spy = Spy(result)
        monkeypatch.setattr(f"builder.verbs.{verb}", spy)
        return spy

    put("build.find_image", Path("/images/small"))
    put("build.provide_toolbox", "toolbox")
    put("build.find_toolbox", "toolbox")
    return put


def test_plan(stand_in: Any, lichen: Lichen) -> None:
    kept = Component(name="tools", inputs={}, cached=True)
    base = Component(name="base", inputs={"tools": kept.key}, estimate=Estimate(seconds=64.0, runs=5, own=True))
    initrd = Component(name="initrd", inputs={"tools": kept.key}, estimate=Estimate(seconds=20.5, runs=1, own=False))
    compilers = Component(name="toolchain", inputs={}, stale=("never built here",))
    stale = Component(
        name="image", inputs={"a": "b"}, needs=("base", "initrd"), stale=("the base moved", "so did python")
    )
    spy = stand_in("plan.make_plan", made := plan_of(kept, compilers, base, initrd, stale))
    lines = [line.split() for line in lichen("plan", "small", "-a", "arm64").out.splitlines()]
    assert spy.arguments == ("small", "arm64")
    assert lines[0] == ["component", "key", "state", "estimate", "why"]
    assert lines[1] == ["tools", kept.key[:12], "kept"]
    assert lines[2] == f"toolchain {compilers.key[:12]} not needed what is made with it is kept".split()
    assert lines[3] == ["base", base.key[:12], "to", "build", "1", "min", "04", "s"]
    assert lines[4] == ["initrd", initrd.key[:12], "to", "build", "20.5", "s", "(other", "profiles)"]
    assert lines[5][:7] == ["image", stale.key[:12], "to", "build", "no", "earlier", "run"]
    assert lines[5][7:] == ["the", "base", "moved;", "so", "did", "python"]
    told = "expected: 1 min 04 s, parts beside one another; 1 min 24 s one after another; not counted: image, downloads"
    assert " ".join(lines[6]) == told
    document = lichen("plan", "small", "--json").json
    assert [item["key"] for item in document["components"]] == [item.key for item in made.components]
    assert [item["to_build"] for item in document["components"]] == [False, False, True, True, True]
    assert document["components"][2]["estimate"] == {"seconds": 64.0, "runs": 5, "own": True}
    assert document["expected"] == {"together": 64.0, "alone": 84.5, "unknown": ["image"]}


def test_plan_tells_the_first_reasons(stand_in: Any, lichen: Lichen) -> None:
    stale = tuple(f"/etc/{number} is new" for number in range(6))
    stand_in("plan.make_plan", plan_of(Component(name="image", inputs={}, stale=stale)))
    told = "/etc/0 is new; /etc/1 is new; /etc/2 is new; /etc/3 is new; and 2 more, which --json lists"
    assert lichen("plan", "small").out.splitlines()[1].endswith(told)
    assert lichen("plan", "small", "--json").json["components"][0]["stale"] == list(stale)


def plan_of(*components: Component) -> Plan:
    return Plan(profile="small", architecture="arm64", lock=SHA, components=components)


@pytest.mark.parametrize(
    ("component", "last"),
    [
        (Component(name="image", inputs={}, cached=True), "image"),
        (Component(name="image", inputs={}), "expected: unknown, no earlier run"),
        (
            Component(name="image", inputs={}, estimate=Estimate(seconds=0.0, runs=1, own=True)),
            "expected: 0.0 s; not counted: downloads",
        ),
    ],
)
def test_plan_tells_what_is_expected(stand_in: Any, lichen: Lichen, component: Component, last: str) -> None:
    stand_in("plan.make_plan", plan_of(component))
    assert lichen("plan", "small").out.splitlines()[-1].startswith(last)


def test_render(stand_in: Any, lichen: Lichen, sample: Sample) -> None:
    spy = stand_in("render.render", sample.root / "tree")
    assert lichen("render", "small", "tree").out == f"{sample.root}/tree\n"
    assert spy.options == {"destination": sample.root / "tree", "packages": False}
    assert lichen("render", "small", "tree", "--packages", "--json").json == {"folder": f"{sample.root}/tree"}
    assert spy.options["packages"]


@pytest.mark.parametrize("rebuilt", [True, False])
def test_build(stand_in: Any, lichen: Lichen, rebuilt: bool) -> None:
    stand_in("build.build", built_image("/out/x", rebuilt=rebuilt))
    said = lichen("build", "small", "--architecture", "amd64")
    assert said.out == "/out/x\n"
    assert said.err.startswith("built in" if rebuilt else "nothing changed")
    assert "lichen boot small --architecture amd64" in said.err
    told = lichen("build", "small", "--json").json
    assert told == {"folder": "/out/x", "rebuilt": rebuilt, "seconds": {"base": 1.0}, "image": SHA, "lock": SHA}


def built_image(folder: str, *, rebuilt: bool) -> Any:
    manifest = SimpleNamespace(image=SHA, lock=SHA)
    return SimpleNamespace(folder=Path(folder), manifest=manifest, rebuilt=rebuilt, seconds={"base": 1.0})


@pytest.mark.parametrize(
    ("arguments", "wanted"), [(("small", "other"), ([("small", None), ("other", None)],)), (("--all",), ())]
)
def test_build_several(stand_in: Any, lichen: Lichen, arguments: tuple[str, ...], wanted: tuple[object, ...]) -> None:
    spy = stand_in("build.build_all", [built_image("/out/x", rebuilt=True), built_image("/out/y", rebuilt=False)])
    said = lichen("build", *arguments)
    assert spy.arguments == wanted
    assert said.out == "/out/x\n/out/y\n"
    assert said.err.startswith("built 1 of 2 images in ")
    assert said.err.endswith(", 1 unchanged\n")
    told = lichen("build", *arguments, "--json").json
    assert [(item["folder"], item["rebuilt"]) for item in told] == [("/out/x", True), ("/out/y", False)]
    assert told[0] == {"folder": "/out/x", "rebuilt": True, "seconds": {"base": 1.0}, "image": SHA, "lock": SHA}


def test_build_all_is_a_list_whatever_the_project_has(stand_in: Any, lichen: Lichen) -> None:
    stand_in("build.build_all", [built_image("/out/x", rebuilt=False)])
    said = lichen("build", "--all")
    assert (said.out, said.err) == ("/out/x\n", "nothing changed, the images are those built before\n")
    assert [item["folder"] for item in lichen("build", "--all", "--json").json] == ["/out/x"]
    stand_in("build.build_all", [])
    said = lichen("build", "--all")
    assert (said.code, said.out) == (0, "")
    assert said.err.startswith("no profile to build yet")
    assert lichen("build", "--all", "--json").json == []


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ((), "name one profile or several, or --all of them"),
        (("small", "--all"), "name one profile or several, or --all of them"),
        (("small", "other", "--architecture", "amd64"), "--architecture goes with one profile"),
        (("--all", "-a", "amd64"), "--architecture goes with one profile"),
    ],
)
def test_build_refuses_what_makes_no_sense(
    stand_in: Any, lichen: Lichen, arguments: tuple[str, ...], what: str
) -> None:
    stand_in("build.build", AssertionError("it was built"))
    stand_in("build.build_all", AssertionError("it was built"))
    said = lichen("build", *arguments, "--json")
    assert said.code == EXIT_BAD_INPUT
    assert said.json["error"][0]["what"] == what


def test_lock_prints_what_moved(stand_in: Any, lichen: Lichen, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = (
        Change("moved", "deb", "nano", "1", "2"),
        Change("added", "wheel", "torch", None, "3"),
        Change("changed", "deb", "less", "4", "4"),
    )
    lock = SimpleNamespace(profile="small", architecture="amd64", digest=SHA, debs=(1, 2), wheels=(1,))
    spy = Spy(SimpleNamespace(path=Path("/x.json"), lock=lock, changed=True, changelog=changes))
    monkeypatch.setattr("builder.cli.locking.make_lock", spy)
    said = lichen("lock", "small", "--upgrade", "--accept-expired", "forky", "--without", "a", "--without", "b")
    assert list(spy.arguments) == ["small", None]
    assert spy.options == {"upgrade": True, "accept_expired": {"forky"}, "without": {"a", "b"}}
    lines = said.out.splitlines()
    assert lines[0] == "/x.json: written, 2 Debian packages, 1 wheels"
    assert lines[2].split() == ["moved", "deb", "nano", "1", "→", "2"]
    assert lines[3].split() == ["added", "wheel", "torch", "3"]
    assert lines[4].split() == ["changed", "deb", "less", "4,", "other", "bytes"]
    (told,) = lichen("lock", "--all", "--json").json["locks"]
    assert list(spy.arguments) == ["small", "amd64"]
    assert told["changelog"][0] == {"kind": "moved", "what": "deb", "name": "nano", "old": "1", "new": "2"}


def test_boot_in_the_background(stand_in: Any, lichen: Lichen, sample: Sample) -> None:
    running = SimpleNamespace(
        name="lab",
        acceleration=SimpleNamespace(kind="tcg", reason="no kvm"),
        ssh="ssh -F x guest",
        stop="lichen boot --stop lab",
        ports={22: 40022, 443: 40443},
        console_log="/c.log",
        as_dict=lambda: {"name": "lab"},
    )
    assert set(vars(running)) - {"acceleration"} <= set(dir(Running)) | set(Running.__dataclass_fields__)
    spy = stand_in("boot.boot_daemon", running)
    options = ["--daemon", "--name", "lab", "--memory", "2G", "--cpus", "4", "--grow", "1G", "--data-disk", "d.raw"]
    options += ["--forward", "443:8443", "--forward", "80", "--credential", "a=b=c", "--acceleration", "tcg"]
    said = lichen("boot", "small", *options)
    assert said.code == 0
    toolbox, image, request = spy.arguments
    assert (toolbox, image) == ("toolbox", Path("/images/small"))
    assert request == Request(
        name="lab",
        kind="tcg",
        memory=2048,
        cpus=4,
        grow=1 << 30,
        data_disk=Path("d.raw"),
        forwards={443: 8443, 80: 0},
        credentials={"a": "b=c"},
    )
    assert "log in with:  ssh -F x guest" in said.out
    assert "end it with:  lichen boot --stop lab" in said.out
    assert lichen("boot", "small", "--daemon", "--json").json == {"name": "lab"}
    # Else an image that keeps data behind itself, as on a machine's own disk, would find no room.
    assert spy.arguments[2].grow == 4 << 30


def test_boot_on_the_console_cannot_be_json(stand_in: Any, lichen: Lichen) -> None:
    said = lichen("boot", "small", "--json")
    assert "a console cannot be JSON" in said.json["error"][0]["what"]


@pytest.mark.parametrize(("clean", "told"), [(True, "switched itself off"), (False, "by force")])
def test_boot_stop(stand_in: Any, lichen: Lichen, clean: bool, told: str) -> None:
    spy = stand_in("boot.stop", clean)
    assert told in lichen("boot", "--stop", "lab").out
    assert spy.arguments == ("lab",)
    assert lichen("boot", "--stop", "lab", "--json").json == {"name": "lab", "clean": clean}


def test_test(stand_in: Any, lichen: Lichen) -> None:
    verdict = Verdict(folder=Path("/x.test"), passed=3, skipped=1, state="running", acceleration="tcg")
    spy = stand_in("imagetest.run_image_tests", verdict)
    assert lichen("test", "small").out == "3 passed, 1 skipped (tcg); see /x.test\n"
    assert spy.options["quick"] is False
    assert lichen("test", "small", "--quick", "--json").json["passed"] == 3
    assert spy.options["quick"] is True


def test_failed_test_has_exit_code_three(stand_in: Any, lichen: Lichen) -> None:
    stand_in("imagetest.run_image_tests", GuestTestError(Problem("a test of the image failed", "test_x")))
    assert lichen("test", "small").code == EXIT_TEST_FAILED
    assert lichen("test", "small", "--json").json["exit_code"] == EXIT_TEST_FAILED


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (None, 0), (False, EXIT_FAILED)])
def test_doctor(stand_in: Any, lichen: Lichen, ok: bool | None, code: int) -> None:
    stand_in("doctor.examine", [Finding("memory", ok, "1 GiB", "buy some")])
    said = lichen("doctor")
    assert said.code == code
    assert said.out.splitlines()[1].split()[-4:] == ["1", "GiB", "buy", "some"]
    told = lichen("doctor", "--json")
    assert (told.code, told.json[0]["ok"]) == (code, ok)
