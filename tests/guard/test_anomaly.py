"""The model: learned, calibrated, kept, explained, replaced, and hard to teach what it should not learn."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lichen_agent.sealed import SealError, read_sealed, write_sealed
from lichen_guard.anomaly import Detector, LearningRules
from lichen_guard.evaluation import compare
from lichen_guard.features import NAMES
from lichen_guard.forest import Forest, ForestError, average_depth, exported, forest_of
from lichen_guard.frequency import Frequency
from lichen_guard.learning import Learning
from lichen_guard.model import SEAL, Model, ModelError, Trial, calibrate, is_better, learn, model_of, with_sentinels
from lichen_guard.ranking import auroc
from lichen_guard.windows import SECOND, Window

from tests.guard.making import LENGTH, attack, gathered, made, ordinary

RULES = LearningRules(windows=200, seconds=60, rate=0.01, again=3600)


@pytest.fixture(scope="session")
def sklearn() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed here (apt install python3-sklearn)")


def stump(split: float = 0.5) -> Forest:
    """One tree of one split on ``events``: up to the split a crowd, above it a single window."""
    arrays = {"left": [[1, 1, 2]], "right": [[2, 1, 2]], "feature": [[0, 0, 0]]}
    inner = {name: np.array(value) for name, value in arrays.items()}
    return Forest(**inner, threshold=np.array([[split, 0, 0]]), depth=np.array([[0, 9.0, 1.0]]), normal=4.0)


def small_model(split: float = 3.7) -> Model:
    return Model(stump(split), 0.5, np.zeros(len(NAMES), np.float32), 0.01, 200, 60, 0.0)


class AtOnce:
    """A learner that has learned already."""

    orders: list[np.ndarray]

    def __init__(self, model: Model | Exception) -> None:
        self.model, self.orders = model, []

    def __call__(self, rows: np.ndarray, rate: float, seed: int) -> AtOnce:
        self.orders.append(rows)
        return self

    def result(self) -> Model:
        if isinstance(self.model, Exception):
            raise self.model
        return self.model

    def stop(self) -> None:
        pass


def detector(folder: Path, learner: Callable[..., object] | None = None, rules: LearningRules = RULES) -> Detector:
    return Detector(rules, folder, LENGTH, 0, learner or AtOnce(small_model()))


def taught(folder: Path, minutes: int = 200) -> Detector:
    """A detector that has its first model."""
    found = detector(folder)
    for window in gathered(ordinary(minutes)):
        assert found.judge(window) is None
    for _ in range(2):
        found.turn(minutes * LENGTH)
    assert found.model
    return found


def loud(number: int, alerts: int = 0) -> Window:
    """A window of the web server with more events than any ordinary one has."""
    (window,) = gathered(iter([made("connect", number * LENGTH + step, address="10.0.0.1") for step in range(100)]))
    window.alerts = alerts
    return window


# The forest


@pytest.mark.usefixtures("sklearn")
@pytest.mark.parametrize(("rows", "seed"), [(2, 0), (50, 1), (256, 2), (900, 3)])
def test_scores_are_those_of_scikit_learn(rows: int, seed: int) -> None:
    from sklearn.ensemble import IsolationForest

    noise = np.random.default_rng(seed)
    values = np.float32(noise.normal(size=(rows, len(NAMES))).round(1))
    fitted = IsolationForest(n_estimators=64, max_samples=min(256, rows), random_state=seed).fit(values)
    others = np.float32(noise.normal(scale=3, size=(500, len(NAMES))))
    for tried in (values, others):
        assert np.abs(exported(fitted).scores(tried) + fitted.score_samples(tried)).max() < 1e-9


def test_average_depth_is_that_of_a_binary_search_tree() -> None:
    assert average_depth(np.array([0, 1, 2])).tolist() == [0, 0, 1]
    assert average_depth(np.array([256]))[0] == pytest.approx(10.244770920, abs=1e-8)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("left", [[0, 0, 2]], "backwards"),
        ("left", [[7, 1, 2]], "backwards or out"),
        ("feature", [[99, 0, 0]], "none of the"),
        ("feature", [[-1, 0, 0]], "none of the"),
        ("right", [[2, 1]], "shapes"),
        ("threshold", [[float("nan"), 0, 0]], "finite"),
        ("normal", 0.0, "finite"),
        ("depth", [["a", "b", "c"]], "another type"),
        ("depth", None, "missing"),
    ],
)
def test_forged_forest_is_refused(name: str, value: object, complaint: str) -> None:
    arrays = dict(stump().arrays())
    arrays = {key: item for key, item in arrays.items() if key != name} | (
        {} if value is None else {name: np.array(value)}
    )
    with pytest.raises(ForestError, match=complaint):
        forest_of(arrays, len(NAMES))


# Calibration


def test_threshold_keeps_its_promise_on_windows_never_seen() -> None:
    """The mean over many draws is what the promise is about."""
    noise = np.random.default_rng(5)
    alarms = []
    for _ in range(400):
        threshold, rate = calibrate(noise.normal(size=300), 0.02)
        assert rate == 0.02
        alarms.append((noise.normal(size=300) > threshold).mean())
    assert np.mean(alarms) <= 0.02 + 3 * np.std(alarms) / math.sqrt(len(alarms))
    assert np.mean(alarms) > 0.014


def test_few_windows_vouch_for_less_than_was_asked() -> None:
    assert calibrate(np.arange(99.0), 0.001) == (98.0, 0.01)


def test_too_few_windows_give_no_model() -> None:
    with pytest.raises(ModelError, match="too few"):
        learn(np.zeros((20, len(NAMES))), 0.01, 0.0)


def test_new_model_takes_over_only_when_it_is_better() -> None:
    kept, broken = Trial(0.01, 0.9), Trial(0.5, 0.9)
    assert is_better(Trial(0.01, 0.95), kept, 0.01, 400)
    assert not is_better(Trial(0.01, 0.85), kept, 0.01, 400)
    assert not is_better(Trial(0.3, 0.99), kept, 0.01, 400)
    assert is_better(Trial(0.02, 0.85), broken, 0.01, 400)


def test_sentinels_leave_the_real_windows_alone_and_lie_beyond_them() -> None:
    rows = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    both = with_sentinels(rows)
    assert np.array_equal(both[:300], rows)
    made_up = both[300:]
    assert len(made_up) == 32
    assert ((made_up > rows.max(axis=0)).sum(axis=1) == 1).all()
    assert both.dtype == np.float32


# The detector's life


def test_nothing_is_told_while_learning_and_both_bounds_must_be_met(tmp_path: Path) -> None:
    learner = AtOnce(small_model())
    found = detector(tmp_path, learner)
    assert all(found.judge(window) is None for window in gathered(ordinary(95)))
    found.turn(10**6 * SECOND)
    assert learner.orders == []  # enough time, not enough windows
    early = detector(tmp_path, learner)
    for window in gathered(ordinary(300)):
        early.judge(window)
    early.turn(59 * SECOND)
    assert learner.orders == []
    early.turn(60 * SECOND)
    early.turn(60 * SECOND)
    assert len(learner.orders) == 1
    assert early.state(0)["state"] == "judging"
    assert "200 windows" in early.notes[-1]


def test_unusual_window_is_told_with_what_raised_its_score(tmp_path: Path) -> None:
    found = taught(tmp_path)
    finding = found.judge(loud(1000))
    assert finding
    assert finding.score == pytest.approx(2 ** -(1 / 4))
    assert [reason.feature for reason in finding.reasons] == ["events"]
    assert finding.reasons[0].fall == pytest.approx(2 ** -(1 / 4) - 2 ** -(9 / 4))
    assert found.scores["web.service"] == finding.score


def test_windows_with_alerts_teach_nothing(tmp_path: Path) -> None:
    found = detector(tmp_path)
    before = 0
    for window in gathered(ordinary(30)):
        found.judge(window)
    before, known = found.state(0)["windows"], found.profiles.machine.windows
    for number in range(20):
        found.judge(loud(100 + number, alerts=1))
    assert (found.state(0)["windows"], found.profiles.machine.windows) == (before, known)


def test_what_is_told_is_learned_from_no_more_often_than_promised(tmp_path: Path) -> None:
    """An attacker who repeats himself for a hundred windows gets two of them in, not a hundred."""
    found = taught(tmp_path)
    before = found.state(0)["windows"]
    assert all(found.judge(loud(1000 + number)) for number in range(100))
    assert found.state(0)["windows"] - before <= 2


def test_unit_that_fills_its_windows_early_counts_once(tmp_path: Path) -> None:
    found = detector(tmp_path)
    for window in gathered(ordinary(30)):
        found.judge(window)
    before = found.state(0)["windows"]
    for step in range(50):
        (window,) = gathered(iter([made("connect", 100 * LENGTH + step, address="10.0.0.1")]))
        window.ended = 100 * LENGTH + step
        found.judge(window)
    assert found.state(0)["windows"] == before + 1


def test_worse_model_leaves_the_old_one(tmp_path: Path) -> None:
    found = taught(tmp_path)
    old = found.model
    found._learner = AtOnce(replace(small_model(-1.0), windows=7))
    for _ in range(2):
        found.turn(10_000 * SECOND + 200 * LENGTH)
    assert found.model is old
    assert "not better" in found.notes[-1]


def test_model_that_is_no_worse_takes_over_and_never_saw_what_it_is_tried_on(tmp_path: Path) -> None:
    found = taught(tmp_path)
    rows = found.state(0)["windows"]
    found._learner = learner = AtOnce(replace(small_model(), windows=7))
    found.turn(200 * LENGTH + 3599 * SECOND)
    assert learner.orders == []  # not yet time
    for _ in range(2):
        found.turn(200 * LENGTH + 3600 * SECOND)
    assert found.model is learner.model
    assert [len(order) for order in learner.orders] == [round(rows * 0.8)]
    assert "of " + str(rows - round(rows * 0.8)) + " normal windows" in found.notes[-1]


def test_learner_that_fails_is_told_and_tried_again(tmp_path: Path) -> None:
    learner = AtOnce(ModelError("no sklearn"))
    found = detector(tmp_path, learner)
    for window in gathered(ordinary(200)):
        found.judge(window)
    for now in (100, 101, 102, 103, 170):
        found.turn(now * SECOND)
    assert len(learner.orders) == 2  # at 100 and, a learning period later, at 170
    assert found.notes[-1] == "no model was learned: no sklearn"
    assert found.state(0)["state"] == "learning"


# On disk


def test_what_was_learned_survives_a_restart(tmp_path: Path) -> None:
    found = taught(tmp_path)
    found.save(200 * LENGTH)
    again = detector(tmp_path)
    assert not again.notes
    assert again.model
    assert again.state(0)["windows"] == found.state(0)["windows"]
    assert again.profiles.to_json() == found.profiles.to_json()
    told, told_again = found.judge(loud(1000)), again.judge(loud(1000))
    assert told
    assert told_again
    assert told.score == told_again.score


def test_half_a_learning_period_survives_too(tmp_path: Path) -> None:
    found = detector(tmp_path)
    for window in gathered(ordinary(50)):
        found.judge(window)
    found.save(45 * SECOND)
    again = detector(tmp_path)
    assert again.state(0)["windows"] == found.state(0)["windows"] > 0
    assert again.gathering(5 * SECOND) == 50


@pytest.mark.parametrize("name", ["model.npz", "memory.npz"])
@pytest.mark.parametrize("fault", ["flipped bit", "cut", "foreign", "other version", "pickle"])
def test_damaged_files_are_refused_with_a_reason(tmp_path: Path, name: str, fault: str) -> None:
    found = taught(tmp_path)
    found.save(0)
    path = tmp_path / name
    data = bytearray(path.read_bytes())
    if fault == "flipped bit":
        data[len(data) // 2] ^= 4
    elif fault == "cut":
        del data[-30:]
    elif fault == "foreign":
        data = bytearray(b"GIF89a")
    elif fault == "other version":
        data = data.replace(b"-1 ", b"-0 ", 1)
    else:
        seal = data.split(b" ")[0].decode()
        write_sealed(path, seal, {"x": np.array([object()])})
        data = bytearray(path.read_bytes())
    path.write_bytes(data)
    again = detector(tmp_path)
    assert again.model is None
    assert again.state(0)["windows"] == 0
    (note,) = again.notes
    assert "learning starts anew" in note
    assert name in note


def test_other_contents_under_an_old_digest_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_sealed(tmp_path / name, SEAL, {"x": np.array([name])})
    head, body = ((tmp_path / name).read_bytes().split(b"\n", 1)[part] for part, name in enumerate("ab"))
    (tmp_path / "a").write_bytes(head + b"\n" + body)
    with pytest.raises(SealError, match="damaged"):
        read_sealed(tmp_path / "a", SEAL)


def test_model_of_other_features_is_refused(tmp_path: Path) -> None:
    arrays = {**small_model().arrays(), "names": np.array(["a", "b"])}
    write_sealed(tmp_path / "model.npz", SEAL, arrays)
    with pytest.raises(ModelError, match="other features"):
        model_of(read_sealed(tmp_path / "model.npz", SEAL))


def test_full_disk_is_a_note(tmp_path: Path) -> None:
    found = detector(tmp_path)
    found.folder = tmp_path / "away"
    found.save(0)
    assert "No such file" in found.notes[-1]


def test_starting_anew_forgets_all(tmp_path: Path) -> None:
    found = taught(tmp_path)
    found.save(0)
    found.start_anew(0, windows=60)
    assert found.state(0) == found.state(0) | {"state": "learning", "windows": 0, "wanted_windows": 60, "units": 0}
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_removed_are_a_note(tmp_path: Path) -> None:
    found = taught(tmp_path)
    (tmp_path / "model.npz").unlink()
    (tmp_path / "model.npz").mkdir()
    found.save(0)
    found.start_anew(0)
    assert found.state(0)["state"] == "learning"
    assert f"{tmp_path}/model.npz cannot be removed: Is a directory" in found.notes[-2]
    assert [path.name for path in tmp_path.iterdir()] == ["model.npz"], "the others are removed all the same"


def test_seal_keeps_names_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(b"")
    with pytest.raises(SealError, match=r"x\.npz: none of ours"):
        read_sealed(tmp_path / "x.npz", SEAL)


# The real learner


@pytest.mark.usefixtures("sklearn")
def test_attack_scores_above_everything_ordinary() -> None:
    normal = gathered(ordinary(300))
    later = [(window, False) for window in gathered(ordinary(150, seed=9, start=400 * LENGTH))]
    attacks = [(window, True) for number in range(5) for window in gathered(attack((600 + number) * LENGTH))]
    told = compare(normal, later + attacks, rate=0.02)
    assert (told.forest.attacks, told.forest.normal) == (5, len(later))
    assert told.forest.value > 0.99
    assert told.caught == 1
    assert told.alarms < 0.06


@pytest.mark.usefixtures("sklearn")
def test_learner_is_a_process_of_its_own_and_its_model_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    rows = np.random.default_rng(1).normal(size=(120, len(NAMES))).astype(np.float32)
    learning = Learning(rows, 0.02, 3)
    learning._apart._process.wait(120)
    model = learning.result()
    assert model
    assert np.array_equal(model.scores(rows), learn(rows, 0.02, 0.0, 3).scores(rows))


def test_learner_that_dies_says_why() -> None:
    rows = np.zeros((50, len(NAMES)), np.float32)
    code = "import sys; sys.exit('first line\\nout of \\x1b[31mluck')"
    learning = Learning(rows, 0.02, 3, (sys.executable, "-c", code))
    learning._apart._process.wait(60)
    with pytest.raises(ModelError, match=r"ended with 1: out of \\x1b\[31mluck"):
        learning.result()


def test_learner_that_cannot_be_started_is_told() -> None:
    with pytest.raises(ModelError, match="cannot be started"):
        Learning(np.zeros((1, 1)), 0.02, 3, ("/nowhere/python",))


# Figures


def test_auroc_counts_pairs() -> None:
    noise = np.random.default_rng(2)
    scores, labels = noise.integers(0, 10, 80), noise.random(80) < 0.3
    pairs = [(a > b) + (a == b) / 2 for a in scores[labels] for b in scores[~labels]]
    told = auroc(scores, labels)
    assert told.value == pytest.approx(np.mean(pairs))
    assert (told.attacks, told.normal) == (labels.sum(), (~labels).sum())
    assert 0 < told.error < 0.1


def test_auroc_of_one_sort_is_no_figure() -> None:
    with pytest.raises(ValueError, match="0 attacks and 2 normal"):
        auroc([1, 2], [False, False])


def test_frequency_is_the_sum_of_surprises() -> None:
    baseline = Frequency()
    (window,) = gathered(iter([made("exec"), made("exec"), made("connect")]))
    baseline.learn(window)
    # Three events of two actions; Laplace counts one more of each, and one for what was never seen.
    assert baseline.score(window) == pytest.approx(-2 * math.log(3 / 6) - math.log(2 / 6))
    (strange,) = gathered(iter([made("module")]))
    assert baseline.score(strange) == pytest.approx(-math.log(1 / 6))
