"""Models: learned in a process apart, tried, kept, taken back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lichen_sched.comparison import compare
from lichen_sched.ensemble import Ensemble
from lichen_sched.learning import Learning
from lichen_sched.model import Model, ModelError, model_of
from lichen_sched.samples import logarithms
from lichen_sched.teacher import CHECK_SAMPLES, CHECK_SECONDS, FIRST_SECONDS, SECOND, LearningRules, Teacher
from lichen_sched.versions import KEPT, Versions

from tests.conftest import REPOSITORY
from tests.sched.making import made_samples, records

pytest.importorskip("sklearn", reason="not installed here (apt install python3-sklearn)")
from lichen_sched.learner import LEAST, learn

PYTHON = [str(REPOSITORY.overlays / name / "tree/usr/lib/lichen/python") for name in ("agents", "scheduler-agent")]
RULES = LearningRules("auto", True, 3600.0, 0.02)


@pytest.fixture(scope="module")
def model() -> Model:
    return learn(made_samples(4000), None, 1e9, 0)


def test_model_learns_what_no_baseline_sees(model: Model) -> None:
    tried = model.tried
    assert tried.errors["trees"] < 1 < tried.errors[tried.best]
    assert 0.02 < tried.low <= tried.gain <= tried.high < 1
    assert tried.bursts == 1000
    assert model.refused(0.02) == ""


def test_model_is_tried_on_what_it_did_not_learn_from() -> None:
    """Another rule holds in the newer part: the model must look bad, and is refused."""
    samples = np.concatenate([made_samples(3000), made_samples(1000, "last", start=10**12)])
    found = learn(samples, None, 1e9, 0)
    assert found.tried.best == "last"
    assert found.tried.gain < 0
    assert "gain over last is -" in found.refused(0.02)


def test_noise_is_refused() -> None:
    assert "is wanted" in learn(made_samples(2000, "noise"), None, 1e9, 0).refused(0.02)


def test_gain_by_chance_alone_is_refused(model: Model) -> None:
    lucky = replace(model, tried=replace(model.tried, gain=0.2, low=-0.1, high=0.5))
    assert "-10.0% to +50.0%" in lucky.refused(0.02)


def test_worse_than_the_one_in_force_is_refused(model: Model) -> None:
    assert "model in force errs by 0.001" in replace(model, before=0.001).refused(0.02)
    assert replace(model, before=9.0).refused(0.02) == ""


def test_too_few_samples() -> None:
    with pytest.raises(ModelError, match=f"{LEAST} are the least"):
        learn(made_samples(LEAST - 1), None, 0.0, 0)


def test_interval_knows_that_neighbours_are_alike() -> None:
    """The same errors in long stretches are less evidence than one by one."""
    actual = np.full(2000, 1 << 20, np.uint64)
    truth = logarithms(actual)
    chance = np.random.default_rng(0)
    single = chance.normal(0, 256, 2000)
    stretches = np.repeat(chance.normal(0, 256, 20), 100)
    widths = []
    for noise in (single, stretches):
        found = compare(truth + noise * 0.9, {"constant": truth + noise[::-1]}, actual)
        widths.append(found.high - found.low)
    assert widths[1] > 2 * widths[0]


def test_saved_and_read_is_the_same(model: Model) -> None:
    read = model_of(model.arrays())
    assert (read.ensemble.nodes == model.ensemble.nodes).all()
    assert (read.tried, read.constant, read.samples) == (model.tried, model.constant, model.samples)
    assert np.isnan(read.before)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("names", np.array(["x"])),
        ("whole", np.array([1 << 40, 1, 0])),
        ("whole", np.array([5000, 0, 0])),
        ("whole", np.array([5000, 1, 9])),
        ("numbers", np.full(7, np.nan)),
        ("errors", np.zeros(2)),
        ("nodes", np.zeros((1, 64))),
    ],
)
def test_damaged_model_is_refused(model: Model, name: str, value: np.ndarray) -> None:
    with pytest.raises(ModelError):
        model_of({**model.arrays(), name: value})
    with pytest.raises(ModelError):
        model_of({})


def waited_for(learning: Learning) -> Model:
    deadline = time.monotonic() + 600
    try:
        while not (found := learning.result()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        learning.stop()
    return found


def test_learner_is_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(PYTHON))
    assert waited_for(Learning(made_samples(1000), None, 0)).samples == 750


def test_learner_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(PYTHON))
    learning = Learning(made_samples(10), None, 0)
    with pytest.raises(ModelError, match="10 samples are too few"):
        waited_for(learning)


def test_learner_that_cannot_be_started() -> None:
    with pytest.raises(ModelError, match="cannot be started"):
        Learning(made_samples(10), None, 0, ["/nonexistent"])


# Versions


def test_versions_keep_the_last(tmp_path: Path, model: Model) -> None:
    versions = Versions(tmp_path / "models")
    assert versions.newest()[:2] == (0, None)
    assert [versions.add(model) for _ in range(KEPT + 2)] == list(range(1, KEPT + 3))
    assert versions.numbers() == list(range(3, KEPT + 3))
    assert versions.newest()[0] == KEPT + 2
    assert versions.newest(below=4)[0] == 3


def test_damaged_version_is_passed_over(tmp_path: Path, model: Model) -> None:
    versions = Versions(tmp_path)
    versions.add(model)
    versions.add(model)
    (tmp_path / "000002.npz").write_bytes(b"lichen-sched-model-1 \xff")
    (tmp_path / "README").write_text("not a model")
    number, found, faults = versions.newest()
    assert number == 1
    assert found
    assert "model 2 is passed over" in faults


# The teacher


class MadeUpLearning:
    """Gives what it is told; the second look has it."""

    def __init__(self, result: Model | ModelError) -> None:
        self.answers: list[Model | ModelError | None] = [None, result]
        self.stopped = False

    def __call__(self, samples: np.ndarray, before: Ensemble | None, seed: int) -> MadeUpLearning:
        self.samples, self.before = samples, before
        return self

    def result(self) -> Model | None:
        answer = self.answers.pop(0)
        if isinstance(answer, ModelError):
            raise answer
        return answer

    def stop(self) -> None:
        self.stopped = True


def taught(folder: Path, *results: Model | ModelError, rules: LearningRules = RULES) -> Teacher:
    """A teacher that has taken in samples and had these results in turn."""
    learners = iter([MadeUpLearning(result) for result in results])

    def learner(*order: Any) -> Any:
        return next(learners)(*order)

    teacher = Teacher(rules, folder / "models", 0, learner)
    teacher.take(records(made_samples(4000)))
    now = FIRST_SECONDS * SECOND
    for _ in results:
        for _ in range(3):
            teacher.turn(now)
        now += int(rules.again * SECOND)
    return teacher


def test_before_any_model_a_baseline_predicts(tmp_path: Path) -> None:
    assert taught(tmp_path).choice().predictor == "ewma"


def test_good_model_is_installed_and_kept(tmp_path: Path, model: Model) -> None:
    teacher = taught(tmp_path, model)
    choice = teacher.choice()
    assert (choice.predictor, teacher.version, teacher.outcomes["installed"]) == ("trees", 1, 1)
    assert "model 1 is installed" in teacher.notes[-1]
    again = Teacher(RULES, tmp_path / "models", 0)
    assert again.choice().predictor == "trees"
    assert (again.model.ensemble.nodes == model.ensemble.nodes).all()


def test_refused_model_names_the_best_baseline(tmp_path: Path, model: Model) -> None:
    bad = replace(model, tried=replace(model.tried, best="last", gain=-0.1, low=-0.2, high=0.0))
    teacher = taught(tmp_path, bad)
    assert (teacher.choice().predictor, teacher.version) == ("last", 0)
    assert teacher.state()["last"]["outcome"] == "refused"
    assert not list((tmp_path / "models").iterdir())


def test_failure_is_told_and_tried_again_later(tmp_path: Path, model: Model) -> None:
    teacher = taught(tmp_path, ModelError("the learner ended with -9: it said nothing"), model)
    assert teacher.outcomes == {"installed": 1, "refused": 0, "taken back": 0, "failed": 1}
    assert "ended with -9" in teacher.notes[0]


def test_settings_decide_what_predicts(tmp_path: Path, model: Model) -> None:
    for wanted in ("constant", "last", "ewma"):
        teacher = taught(tmp_path, model, rules=replace(RULES, predictor=wanted))
        assert teacher.choice().predictor == wanted


def test_nothing_is_learned_when_it_is_switched_off(tmp_path: Path, model: Model) -> None:
    teacher = taught(tmp_path, model, rules=replace(RULES, learns=False))
    assert teacher.version == 0


def live(teacher: Teacher, samples: Sequence[bytes], at: int) -> None:
    teacher.take(samples)
    teacher.turn(at)


def test_model_is_taken_back_when_the_work_changes(tmp_path: Path, model: Model) -> None:
    teacher = taught(tmp_path, model, replace(model))
    assert teacher.version == 2
    later = (FIRST_SECONDS + 3 * 3600 + 2 * CHECK_SECONDS) * SECOND
    rules, teacher.rules = teacher.rules, replace(teacher.rules, learns=False)
    live(teacher, records(made_samples(2 * CHECK_SAMPLES, seed=5)), later)
    assert teacher.version == 2, "as good as ever"
    live(teacher, records(made_samples(CHECK_SAMPLES, "last", seed=6)), later + CHECK_SECONDS * SECOND)
    assert (teacher.version, teacher.choice().predictor, teacher.outcomes["taken back"]) == (0, "last", 2)
    assert "model 2 is taken back" in "".join(teacher.notes)
    assert Versions(tmp_path / "models").numbers() == []
    assert rules.predictor == "auto"


def test_too_few_bursts_take_nothing_back(tmp_path: Path, model: Model) -> None:
    teacher = taught(tmp_path, model)
    teacher.rules = replace(teacher.rules, learns=False)
    live(teacher, records(made_samples(CHECK_SAMPLES // 2, "last")), 10**6 * SECOND)
    assert teacher.version == 1


def test_model_that_cannot_be_kept_is_not_installed(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Versions, "add", full)
    teacher = taught(tmp_path, model)
    assert teacher.choice().predictor != "trees"
    assert "No space left" in teacher.notes[-1]


def test_order_to_learn_now(tmp_path: Path, model: Model) -> None:
    teacher = Teacher(RULES, tmp_path / "models", 0, MadeUpLearning(model))
    assert "too few" in teacher.start(0)
    teacher.take(records(made_samples(LEAST)))
    assert teacher.start(0) == ""
    assert "already" in teacher.start(0)
    teacher.stop()
