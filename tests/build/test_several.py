"""Several images in one run: judged together, parts shared, one failing. mkosi is stood in for; nothing is built."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from builder.data.history import Target
from builder.data.lock import Lock
from builder.foundation.errors import EXIT_BAD_INPUT, EXIT_FAILED, InputError, LichenError, Problem
from builder.foundation.making import alone, made_anew
from builder.foundation.process import Runner
from builder.foundation.store import Store
from builder.foundation.workbench import Workbench
from builder.steps.components import ComponentCache
from builder.steps.emulation import Emulation, find_emulation
from builder.steps.profiles import load_buildable
from builder.verbs.assembly import Assembly
from builder.verbs.build import build, build_all
from builder.verbs.lock import _resolution
from builder.verbs.plan import plan_image
from builder.verbs.together import shared_out
from tests.build.bench import Notes
from tests.build.test_plan import LOCK, fill
from tests.profiles.sample import Sample

BOTH = [("small", None), ("second", None)]
SECOND = "extends: [base]\nimage: {hostname: second}\noverlays: [web]\npackages: [vim]\n"


@dataclass
class Hands:
    """What mkosi would have made, as ``PROFILE PART``, and what happens when an image is begun."""

    begun: list[str] = field(default_factory=list)
    most: int = 0  # at once
    images: dict[str, Callable[[Assembly], object]] = field(default_factory=dict)
    _running: int = 0
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def part(self, work: Assembly, name: str, folder: Path) -> None:
        self._begin(f"{work.lock.profile} {name}")
        (folder / name).write_text("made")
        self._end()

    def image(self, work: Assembly) -> None:
        self._begin(f"{work.lock.profile} image")
        try:
            work.log.write_text("under way")
            if meanwhile := self.images.get(work.lock.profile):
                meanwhile(work)
            with made_anew(work.folder) as folder:
                fill(folder, work.lock, work.plan.component("image").key)
        finally:
            self._end()

    def _begin(self, what: str) -> None:
        with self._guard:
            self.begun.append(what)
            self._running += 1
            self.most = max(self.most, self._running)

    def _end(self) -> None:
        with self._guard:
            self._running -= 1


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    """A project with two profiles whose images differ and whose parts do not, locked; the store has all files."""
    made = Sample(tmp_path / "project")
    made.write("profiles/second.yaml", f"description: a second image\n{SECOND}")
    for name in ("small", "second"):
        locked(made, name)
    store = Store(made.workbench().cache.store)
    for file in LOCK.files:
        path = store.path(file.sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return made


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    made = Hands()

    def part(work: Assembly, name: str, folder: Path) -> None:
        made.part(work, name, folder)

    def image(work: Assembly) -> None:
        made.image(work)

    monkeypatch.setattr(Assembly, "_part", part)
    monkeypatch.setattr(Assembly, "_image", image)
    monkeypatch.setattr("builder.verbs.assembly.refresh_report", lambda workbench, folder: None)
    monkeypatch.setattr("builder.verbs.together.spare_memory", lambda: 64 << 30)
    processors(monkeypatch, 8)
    return made


def processors(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr("builder.verbs.together.os.sched_getaffinity", lambda _: set(range(number)))


def locked(sample: Sample, name: str) -> Lock:
    recipe = load_buildable(sample.project, name)
    told = {"profile": name, "recipe": recipe.digest(), "resolution": _resolution(recipe, "amd64")}
    lock = LOCK.model_copy(update=told)
    sample.write(f"profiles/locks/{name}.amd64.json", lock.text())
    return lock


def folder_of(sample: Sample, name: str) -> Path:
    return sample.project.image(name, "amd64", locked(sample, name).digest)


def left(sample: Sample) -> set[str]:
    """Names in the folder of images, without the digests of their locks."""
    return {path.name.partition("_")[0] + path.suffix for path in sample.project.images.iterdir()}


def works(sample: Sample) -> list[Assembly]:
    bench = sample.workbench()
    made = []
    for name, _ in BOTH:
        recipe, lock = load_buildable(sample.project, name), locked(sample, name)
        made.append(Assembly(bench, recipe, lock, plan_image(bench, recipe, lock), sample.root, sample.root / "log"))
    return made


def test_what_several_need_is_one_job(sample: Sample) -> None:
    one, other = works(sample)
    jobs = shared_out([one, other], "image")
    parts = ["mkosi", "tools", "base", "initrd", "python"]
    assert [(job.work is one, job.part) for job in jobs.values()] == [
        *((True, part) for part in [*parts, "image"]),
        (False, "image"),
    ]
    assert [*jobs][-2:] == ["small.amd64: image", "second.amd64: image"]
    assert all(job.others == [other] for job in jobs.values() if job.part != "image")
    shared = {job.part: title for title, job in jobs.items() if job.part != "image"}
    assert shared == {part: one.plan.component(part).key for part in parts}
    for title in ("small.amd64: image", "second.amd64: image"):
        assert jobs[title].needs == tuple(shared[part] for part in parts)
        assert jobs[title].others == []


def test_what_is_kept_is_no_job(sample: Sample) -> None:
    one, other = works(sample)
    for part in ("mkosi", "tools", "base", "python"):
        one.kept.provide(one.plan.component(part), one.target, lambda folder: None)
    jobs = shared_out([one, other], "image")
    assert [job.part for job in jobs.values()] == ["initrd", "image", "image"]
    assert jobs[one.plan.component("initrd").key].needs == ()
    assert shared_out([one, other], "tools") == {}


def test_parts_are_made_once_and_each_image(sample: Sample, hands: Hands) -> None:
    told = Notes()
    results = build_all(replace(sample.workbench(), progress=told), BOTH)
    assert [image.folder for image in results] == [folder_of(sample, name) for name, _ in BOTH]
    assert all(image.rebuilt for image in results)
    assert [image.manifest.profile for image in results] == ["small", "second"]
    # Folders are locked in the order of their names, and the first one makes what both have.
    shared = [f"second {part}" for part in ("mkosi", "tools", "base", "initrd", "python")]
    assert sorted(hands.begun) == sorted([*shared, "small image", "second image"])
    assert hands.begun[:2] == shared[:2]
    assert "second: base" in told.steps
    assert left(sample) == {"small", "second"}
    assert [set(image.seconds) for image in results] == [set(), {"mkosi", "tools", "base", "initrd", "python"}]
    # Both have had it: the next plan of either tells what moved since.
    history = ComponentCache(sample.workbench().cache.components).history("base")
    assert {past.target for past in history} == {Target(profile=name, architecture="amd64") for name, _ in BOTH}


def test_what_was_built_before_is_found(sample: Sample, hands: Hands) -> None:
    assert build(sample.workbench(), "small").rebuilt
    hands.begun.clear()
    results = build_all(sample.workbench())
    assert hands.begun == ["second image"]
    assert [(image.manifest.profile, image.rebuilt) for image in results] == [("second", True), ("small", False)]


def test_one_that_is_named_twice_is_built_once(sample: Sample, hands: Hands) -> None:
    first, second = build_all(sample.workbench(), [("small", None), ("small", "amd64")])
    assert first == second
    assert hands.begun.count("small image") == 1


def test_processors_are_shared_by_all(sample: Sample, hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    processors(monkeypatch, 1)
    build_all(sample.workbench())
    assert hands.most == 1


def test_images_go_side_by_side(sample: Sample, hands: Hands) -> None:
    """Each waits for the other: one after another they would never end."""
    both = threading.Barrier(2, timeout=60)
    hands.images = {name: lambda _: both.wait() for name, _ in BOTH}
    assert len(build_all(sample.workbench())) == 2


def test_one_fails_and_the_other_is_complete(sample: Sample, hands: Hands) -> None:
    finished = folder_of(sample, "second") / "SHA256SUMS"

    def fail(work: Assembly) -> None:
        while not finished.exists():
            assert not work.stopped.wait(0.01)
        raise LichenError(Problem("the screw is loose", "here", "it shook", "turn it"))

    hands.images = {"small": fail}
    with pytest.raises(LichenError) as caught:
        build_all(sample.workbench(), BOTH)
    assert caught.value.problems == (Problem("small: the screw is loose", "here", "it shook", "turn it"),)
    assert caught.value.exit_code == EXIT_FAILED
    assert left(sample) == {"second", "small.log"}
    hands.images.clear()
    hands.begun.clear()
    assert [image.rebuilt for image in build_all(sample.workbench(), BOTH)] == [True, False]
    assert hands.begun == ["small image"]
    assert left(sample) == {"second", "small"}


def test_one_fails_and_the_other_is_stopped(sample: Sample, hands: Hands) -> None:
    """It leaves no log: nothing is wrong with it."""
    begun = threading.Event()
    told: list[bool] = []

    def work_on(work: Assembly) -> None:
        begun.set()
        told.append(work.stopped.wait(60))
        work._proceed()

    def fail(work: Assembly) -> None:
        assert begun.wait(60)
        raise InputError(Problem("the key does not fit"))

    hands.images = {"small": fail, "second": work_on}
    with pytest.raises(InputError, match="small: the key does not fit"):
        build_all(sample.workbench(), BOTH)
    assert told == [True]
    assert left(sample) == {"small.log"}


def test_a_full_disk_is_told_of_the_image_that_it_met(sample: Sample, hands: Hands) -> None:
    def fail(work: Assembly) -> None:
        raise OSError(28, "No space left on device")

    hands.images = {"small": fail}
    with pytest.raises(LichenError) as caught:
        build_all(sample.workbench(), BOTH)
    (problem,) = caught.value.problems
    assert (problem.what, problem.where) == ("small: the disk is full", str(folder_of(sample, "small")))


def test_one_profile_is_not_named(sample: Sample, hands: Hands) -> None:
    def fail(work: Assembly) -> None:
        raise LichenError(Problem("the screw is loose"))

    hands.images = {"small": fail}
    told = Notes()
    with pytest.raises(LichenError, match=r"^the screw is loose"):
        build_all(replace(sample.workbench(), progress=told), [("small", None)])
    assert told.steps[:2] == ["mkosi", "tools"]


def test_folders_are_locked_in_one_order(sample: Sample, hands: Hands) -> None:
    """Whoever waits for the first one holds no other, so two runs cannot wait for one another."""
    told = Notes()
    bench = replace(sample.workbench(), progress=told)
    first, last = folder_of(sample, "second"), folder_of(sample, "small")
    thread = threading.Thread(target=build_all, args=(bench, BOTH))
    with alone(first):
        thread.start()
        while not told.notes and thread.is_alive():
            thread.join(0.01)
        assert told.notes == [f"waiting for another process that builds {first.name}"]
        assert not last.with_name(f".{last.name}.lock").exists()
    thread.join(60)
    assert left(sample) == {"small", "second"}


def architecture_added(sample: Sample) -> None:
    """Both profiles are for arm64 too, and locked for it."""
    sample.swap("profiles/base.yaml", "architectures: [amd64]", "architectures: [amd64, arm64]")
    for name, _ in BOTH:
        lock = locked(sample, name)
        other = {"architecture": "arm64", "resolution": _resolution(load_buildable(sample.project, name), "arm64")}
        sample.write(f"profiles/locks/{name}.arm64.json", lock.model_copy(update=other).text())


def test_profile_with_two_architectures(sample: Sample, hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing of it is run.
    emulation = Emulation("arm64", "native", "stood in for")
    monkeypatch.setattr("builder.verbs.build.require_emulation", lambda runner, architecture: emulation)
    architecture_added(sample)
    told = Notes()
    results = build_all(replace(sample.workbench(), progress=told))
    assert [(image.manifest.profile, image.manifest.architecture) for image in results] == [
        *(("second", name) for name in ("amd64", "arm64")),
        *(("small", name) for name in ("amd64", "arm64")),
    ]
    assert "second arm64: base" in told.steps


def test_all_problems_are_told_before_anything_is_built(sample: Sample, hands: Hands) -> None:
    sample.write(
        "profiles/locks/small.amd64.json", locked(sample, "small").text().replace('"recipe": "', '"recipe": "0')
    )
    sample.swap("profiles/second.yaml", "packages: [vim]", "packages: [vim, emacs]")
    sample.write("profiles/odd.yaml", "x: 1\n")
    sample.write("profiles/third.yaml", f"description: a third image\n{SECOND}")
    with pytest.raises(InputError) as caught:
        build_all(sample.workbench())
    assert caught.value.exit_code == EXIT_BAD_INPUT
    found = {(problem.what, Path(problem.where.partition(":")[0]).name) for problem in caught.value.problems}
    assert found >= {
        ("there is no lock for this profile", "third.amd64.json"),
        ("the lock is stale", "second.amd64.json"),
        ("the lock is damaged", "small.amd64.json"),
    }
    assert "odd.yaml" in {where for _, where in found}
    assert hands.begun == []
    assert not sample.project.images.exists()


def test_what_profiles_share_is_told_once(sample: Sample) -> None:
    sample.swap("profiles/base.yaml", "level: 3", "level: 30")
    with pytest.raises(InputError) as caught:
        build_all(sample.workbench(), [*BOTH, ("nobody", None)])
    assert [problem.what for problem in caught.value.problems] == [
        "the option's value does not fit",
        "there is no profile called 'nobody'",
    ]


def test_clock_behind_several_locks(sample: Sample, hands: Hands) -> None:
    late = replace(sample.workbench(), clock=lambda: datetime(2000, 1, 1, tzinfo=UTC))
    with pytest.raises(LichenError) as caught:
        build_all(late, BOTH)
    assert {problem.what for problem in caught.value.problems} == {"this machine's clock is behind the lock"}
    assert {Path(problem.where).name for problem in caught.value.problems} == {"small.amd64.json", "second.amd64.json"}
    assert hands.begun == []


def test_everything_that_the_machine_lacks_is_told(sample: Sample, hands: Hands, refusing: Runner) -> None:
    """The clock, and a kernel that cannot run programs of another architecture; once for both images of it."""
    architecture_added(sample)
    late = replace(sample.workbench(), runner=refusing, clock=lambda: datetime(2000, 1, 1, tzinfo=UTC))
    if find_emulation(refusing, "arm64").way == "host":
        pytest.skip("this host has a handler of its own for arm64")
    with pytest.raises(LichenError) as caught:
        build_all(late)
    found = Counter(problem.what for problem in caught.value.problems)
    assert found == {
        "this machine's clock is behind the lock": 4,
        "programs for arm64 do not run on this machine": 1,
    }
    assert hands.begun == []


def test_project_without_profiles(tmp_path: Path, sample: Sample) -> None:
    for path in sample.project.profiles.glob("s*.yaml"):
        path.unlink()
    assert build_all(Workbench(sample.project, sample.workbench().cache)) == []
