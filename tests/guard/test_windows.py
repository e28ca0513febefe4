"""Windows, profiles and the numbers made of them."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from lichen_guard.features import FEATURES, NAMES, features, new_things
from lichen_guard.profiles import MOST_KNOWN, MOST_UNITS, Profile, Profiles
from lichen_guard.windows import MOST_DISTINCT, MOST_NAME, Window, Windows, name_entropy, unit_family

from tests.guard.making import LENGTH, attack, gathered, made, ordinary


def numbers(window: Window, profile: Profile | None = None) -> dict[str, float]:
    return dict(zip(NAMES, features(window, profile or Profile()), strict=True))


def test_window_ends_with_its_time() -> None:
    windows = Windows(LENGTH)
    assert windows.add(made(time=5)) == []
    assert windows.add(made(time=LENGTH)) == []
    (first,) = windows.add(made(time=LENGTH + 5))
    assert (first.began, first.ended, first.events, first.full) == (5, LENGTH + 5, 2, False)
    assert windows.expire(2 * LENGTH) == []
    (second,) = windows.expire(2 * LENGTH + 5)
    assert (second.began, second.events) == (LENGTH + 5, 1)
    assert len(windows) == 0


def test_full_window_ends_early() -> None:
    windows = Windows(LENGTH, most_events=3)
    closed = [window for time in range(7) for window in windows.add(made(time=time))]
    assert [(window.events, window.full) for window in closed] == [(3, True), (3, True)]


def test_each_unit_has_its_own_and_the_idlest_of_too_many_goes() -> None:
    windows = Windows(LENGTH, most_units=2)
    windows.add(made(time=1, unit="a.service"))
    windows.add(made(time=2, unit="b.service"))
    windows.add(made(time=3, unit="a.service"))
    (closed,) = windows.add(made(time=4, unit="c.service"))
    assert (closed.unit, closed.ended) == ("b.service", 4)


@pytest.mark.parametrize(
    ("fields", "family"),
    [
        ({"unit": "ssh.service"}, "ssh.service"),
        ({"unit": "user@1000.service"}, "user@*.service"),
        ({"unit": "sshd@7-10.0.0.1:22-10.0.0.2:5.service"}, "sshd@*.service"),
        ({"unit": "session-31.scope"}, "session-*.scope"),
        ({"unit": "run-u77.service"}, "run-u*.service"),
        ({"unit": "docker-0123456789abcdef.scope", "container": "a1", "container_of_root": True}, "container"),
        ({"unit": "user@1000.service", "container": "0123456789ab"}, "user@*.service"),
        ({"unit": "", "cgroup": "/init.scope"}, "/init.scope"),
        ({"unit": "", "cgroup": ""}, "(none)"),
    ],
)
def test_units_of_one_family_count_as_one(fields: dict[str, Any], family: str) -> None:
    assert unit_family(made(**fields)) == family


def test_numbers_say_what_their_names_promise() -> None:
    (window,) = [window for window in gathered(attack(0)) if window.unit == "web.service"]
    told = numbers(window)
    assert told["events"] == pytest.approx(math.log1p(44))
    assert told["execs"] == pytest.approx(math.log1p(4))
    assert told["connects"] == told["removals"] == pytest.approx(math.log1p(20))
    assert told["new_program_share"] == 1
    assert told["memory_share"] == told["temporary_share"] == 0.25
    assert told["burst"] == pytest.approx(math.log1p(20))
    assert told["destinations"] == told["new_destinations"] == told["ports"] == pytest.approx(math.log1p(20))
    assert told["denied"] == told["became_root"] == told["terminal_share"] == 0
    assert told["arguments"] == pytest.approx(math.log1p(304))


def test_rarer_things_are_counted_too() -> None:
    events = [
        made("setuid", old_uid=1000, new_uid=0),
        made("setuid", old_uid=0, new_uid=0),
        made("open", denied="r", path="/x"),
    ]
    (window,) = gathered(iter([*events, made("ptrace", tty=1)]))
    told = numbers(window)
    assert told["became_root"] == told["denied"] == told["kernel"] == pytest.approx(math.log1p(1))
    assert told["identities"] == pytest.approx(math.log1p(2))
    assert told["terminal_share"] == 0.25


def test_what_a_unit_is_known_for_is_not_new() -> None:
    profile = Profile()
    first, *_, last = [window for window in gathered(ordinary(50)) if window.unit == "backup.service"]
    assert set(new_things(first, profile, "programs")) == set(first.programs)
    for window in gathered(ordinary(40)):
        if window.unit == "backup.service":
            profile.learn(window)
    told = numbers(last, profile)
    assert told["new_program_share"] == told["new_pairs"] == told["new_kinds"] == told["new_uids"] == 0
    assert abs(told["execs"]) < 1.2  # one to six programs: near the mean whatever it is


def test_unit_that_is_hardly_known_is_compared_with_the_machine() -> None:
    profiles = Profiles()
    backup = [window for window in gathered(ordinary(10)) if window.unit == "backup.service"]
    profiles.learn(backup[0])
    assert profiles.reference("backup.service") is profiles.machine
    for window in backup[1:]:
        profiles.learn(window)
    assert profiles.reference("backup.service") is not profiles.machine
    assert profiles.reference("never-seen.service") is profiles.machine


def test_profiles_survive_being_written_down() -> None:
    profiles = Profiles()
    for window in gathered(ordinary(20)):
        profiles.learn(window)
    again = Profiles.from_json(json.loads(json.dumps(profiles.to_json())))
    assert again.to_json() == profiles.to_json()
    for window in gathered(attack(0)):
        assert np.array_equal(
            features(window, again.reference(window.unit)), features(window, profiles.reference(window.unit))
        )


def test_every_number_is_finite_and_explained() -> None:
    assert len(set(NAMES)) == len(FEATURES)
    assert all(feature.meaning for feature in FEATURES)
    for window in [Window("empty", 0), *gathered(ordinary(5)), *gathered(attack(0))]:
        assert np.isfinite(features(window, Profile())).all()


@pytest.mark.parametrize(("name", "bits"), [("", 0), ("aaaa", 0), ("ab", 1), ("0123456789abcdef", 4)])
def test_entropy(name: str, bits: float) -> None:
    assert name_entropy(name) == pytest.approx(bits)


def test_hostile_events_take_bounded_memory() -> None:
    """Paths of four kilobytes, bytes that are no UTF-8, a unit for each: what is kept has a bound."""
    windows, profiles = Windows(LENGTH, most_events=500, most_units=16), Profiles()
    tracemalloc.start()
    for number in range(1500):
        path = f"/tmp/{number}-\udcff\x1b" + "n" * 4000
        event = made("exec", number, f"u-{'abcdefgh'[number % 8] * 3}.service", path, cgroup=path, arguments=(path,))
        for window in windows.add(event):
            profiles.learn(window)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 8 << 20
    assert all(len(window.programs) <= MOST_DISTINCT for window in windows.expire(1 << 62))
    assert all(len(known) <= MOST_KNOWN for known in profiles.machine.known.values())


def test_different_things_in_a_window_have_a_bound() -> None:
    window = Window("u", 0)
    for number in range(2 * MOST_DISTINCT):
        window.add(made(exe=f"/tmp/{number}"))
    window.add(made(exe="/tmp/0"))
    assert len(window.programs) == len(window.pairs) == len(window.actions) == MOST_DISTINCT
    assert window.programs["/tmp/0"] == 2


def test_long_names_that_begin_alike_stay_different() -> None:
    window = Window("u", 0)
    for end in "ab":
        window.add(made(exe="/tmp/" + "x" * 4000 + end))
    assert len(window.programs) == 2
    assert max(map(len, window.programs)) == MOST_NAME


def test_units_forgotten_are_the_idlest() -> None:
    profiles = Profiles()
    for number in range(MOST_UNITS + 5):
        window = Window("kept" if number % 2 else f"unit-{number}", 0)
        profiles.learn(window)
        profiles.learn(Window(f"other-{number}", 0))
    assert len(profiles) == MOST_UNITS
    assert profiles.reference("kept") is not profiles.machine
