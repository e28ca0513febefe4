"""Mirrors that are down, behind, hanging, or not signed by those whom we trust."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from builder.foundation.digest import digest_bytes
from builder.foundation.errors import InputError, LichenError, Problem
from builder.foundation.process import Runner
from builder.steps.mirrors import debian_mirrors
from tests.lock.archive import Key, Package, Suite
from tests.lock.world import World
from tests.store import mirror as faulty
from tests.store.mirror import Mirror

WHAT = "the archive's indices cannot be used"


@pytest.fixture(autouse=True)
def _no_wheels(world: World) -> None:
    world.without_wheels()


def where(world: World, *suites: Suite, mirror: Mirror | None = None) -> str:
    url = (mirror or world.mirror).url
    return ", ".join(f"{suite.name} (amd64) at {url}/{suite.archive}" for suite in suites)


def persistent(world: World, fault: faulty.Fault, paths: list[str]) -> None:
    for path in paths:
        world.mirror.faults[path] = [fault] * 20


def one(problems: tuple[Problem, ...]) -> Problem:
    [problem] = problems
    assert problem.what == WHAT
    return problem


def test_mirror_down(world: World) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: nobody else answers there
        base = f"http://127.0.0.1:{unused.getsockname()[1]}"
        problem = one(world.fails(LichenError, mirrors=(f"debian={base}/debian", f"debian-security={base}/security")))
    assert problem.where == (
        f"trixie (amd64) at {base}/debian, trixie-updates (amd64) at {base}/debian, "
        f"trixie-security (amd64) at {base}/security"
    )
    assert "onnect to 127.0.0.1" in problem.why
    assert problem.remedy == (
        "check the network, or name another mirror with `--mirror debian=URL` `--mirror debian-security=URL`"
    )
    world.mended()


def test_mirror_does_not_have_the_archive(world: World) -> None:
    world.mirror.always = faulty.status(404)
    problem = one(world.fails(LichenError))
    assert problem.where == where(world, world.trixie, world.updates, world.security)
    assert "does not have a Release file" in problem.why
    assert problem.remedy.startswith("the mirror does not have the suite: name another mirror with `--mirror debian=")
    assert "--without" not in problem.remedy
    world.mended()


def test_mirror_does_not_have_one_suite(world: World) -> None:
    del world.mirror.files["/debian/dists/trixie-updates/InRelease"]
    problem = one(world.fails(LichenError))
    assert problem.where == where(world, world.updates)
    assert problem.remedy == (
        "the mirror does not have the suite: name another mirror with `--mirror debian=URL`, "
        "or lock without it: `--without trixie-updates` (the lock records it)"
    )
    world.mended()


def test_mirror_does_not_have_the_suite_of_mkosi(world: World) -> None:
    world.mirror.files = {path: body for path, body in world.mirror.files.items() if "/forky/" not in path}
    problem = one(world.fails(LichenError))
    assert problem.where == where(world, world.forky)
    assert "--without" not in problem.remedy
    world.mended()


def test_mirror_fails_inside(world: World) -> None:
    world.mirror.always = faulty.status(503)
    problem = one(world.fails(LichenError))
    assert "503" in problem.why
    assert problem.remedy.startswith("check the network, or name another mirror")
    world.mended()


@pytest.mark.parametrize("fault", [faulty.truncated, faulty.reset])
@pytest.mark.parametrize("inrelease", [True, False])
def test_index_cut_off(world: World, fault: faulty.Fault, inrelease: bool) -> None:
    suite = world.trixie
    persistent(world, fault, [f"{suite.folder}/InRelease"] if inrelease else suite.paths())
    problem = one(world.fails(LichenError))
    assert problem.where == where(world, suite)
    assert "E: Failed to fetch" in problem.why
    assert problem.remedy == "check the network, or name another mirror with `--mirror debian=URL`"
    world.mended()


def test_index_cut_off_once_is_asked_for_again(world: World) -> None:
    world.mirror.faults["/debian/dists/trixie/InRelease"] = [faulty.truncated]
    assert world.lock().changed


@pytest.mark.parametrize(
    ("fault", "why"), [(faulty.wrong_bytes, "Hash Sum mismatch"), (faulty.shorter, "File has unexpected size")]
)
def test_index_with_other_bytes_than_signed(world: World, fault: faulty.Fault, why: str) -> None:
    persistent(world, fault, world.trixie.paths())
    problem = one(world.fails(LichenError))
    assert problem.where == where(world, world.trixie)
    assert why in problem.why
    assert problem.remedy == (
        "the mirror's indices do not fit its InRelease: wait and try again, name another mirror with "
        "`--mirror debian=URL`"
    )
    world.mended()


@pytest.mark.parametrize("by_hash", [True, False])
def test_index_older_than_its_inrelease(world: World, by_hash: bool) -> None:
    """Seen on a real mirror: not there by hash, of another size by name."""
    old = world.security
    old.by_hash = by_hash
    old.publish(world.mirror, world.key)
    new = Suite("debian-security", "trixie-security", [Package("nano", "9.9-1")], by_hash=by_hash)
    world.mirror.files[f"{new.folder}/InRelease"] = world.key.sign(new.release())
    problem = one(world.fails(LichenError))
    assert problem.where == where(world, new)
    assert "File has unexpected size" in problem.why
    assert problem.remedy == (
        "the mirror's indices do not fit its InRelease: wait and try again, name another mirror with "
        "`--mirror debian-security=URL`, or lock without it: `--without trixie-security` (the lock records it)"
    )
    outcome = world.lock(without=frozenset({"trixie-security"}))
    assert outcome.lock.without == ("trixie-security",)
    assert [index.suite for index in outcome.lock.suites] == ["trixie", "trixie-updates", "forky"]
    # Without the option the lock stays as it is, until somebody upgrades.
    assert not world.lock().changed
    world.security = new
    world.publish()
    upgraded = world.lock(upgrade=True)
    assert upgraded.lock.without == ()
    assert [(change.kind, change.name, change.new) for change in upgraded.changelog] == [("moved", "nano", "9.9-1")]


def test_without_makes_a_current_lock_anew(world: World) -> None:
    assert {item.version for item in world.lock().lock.debs if item.name == "nano"} == {"8.4-1+deb13u1"}
    outcome = world.lock(without=frozenset({"trixie-updates"}))
    assert [(change.name, change.new) for change in outcome.changelog] == [("nano", "8.4-1")]
    assert not world.lock(without=frozenset({"trixie-updates"})).changed


def test_archive_of_a_suite_left_out_needs_no_mirror(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.steps.mirrors.debian_mirrors", _only_given)
    mirrors = world.at(world.mirror)[:1]
    [problem] = world.fails(InputError, mirrors=mirrors)
    assert problem.what == "no mirror is known of the archive debian-security"
    assert "--mirror debian-security=URL" in problem.remedy
    lock = world.lock(mirrors=mirrors, without=frozenset({"trixie-security"})).lock
    assert [index.archive for index in lock.suites] == ["debian", "debian", "debian"]


def _only_given(runner: Runner, override: tuple[str, ...], archives: list[str]) -> dict[str, list[str]]:
    """As on a machine whose apt knows no mirror."""
    nothing = Path("/nonexistent")
    monkey = type("Deaf", (Runner,), {"run": lambda _self, argv, **_: _nothing_said(argv)})
    return debian_mirrors(monkey(), override, archives, root=nothing)


def _nothing_said(argv: list[str]) -> object:
    from builder.foundation.process import Completed

    return Completed(tuple(argv), 0, "", "")


@pytest.mark.parametrize(
    ("option", "suites", "choice"),
    [
        ("without", {"trixie", "trixie-update"}, "trixie-updates, trixie-security"),
        ("accept_expired", {"bookworm"}, "trixie, trixie-updates, trixie-security, forky"),
    ],
)
def test_option_with_a_wrong_suite(world: World, option: str, suites: set[str], choice: str) -> None:
    asked = len(world.mirror.requests)
    given, none = frozenset(suites), frozenset[str]()
    accept, without = (none, given) if option == "without" else (given, none)
    problems = world.fails(InputError, accept_expired=accept, without=without)
    assert len(world.mirror.requests) == asked
    flag = f"--{option.replace('_', '-')}"
    assert [(problem.what, problem.where, problem.remedy) for problem in problems] == [
        (f"{flag} does not apply to the suite {name!r}", "small", f"choose from {choice}") for name in sorted(suites)
    ]


def test_hanging_mirror(world: World) -> None:
    persistent(world, faulty.silent, ["/debian/dists/trixie-updates/InRelease"])
    problem = one(world.fails(LichenError))
    assert problem.where == where(world, world.updates)
    assert "Connection failed" in problem.why or "timed out" in problem.why
    assert problem.remedy == "check the network, or name another mirror with `--mirror debian=URL`"
    world.mended()


def test_update_that_never_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.steps.apt.TIMEOUT_SECONDS", 5)
    monkeypatch.setattr("builder.steps.apt.UPDATE_SECONDS", 1.0)
    world.mirror.always = faulty.silent
    problem = one(world.fails(LichenError))
    assert problem.why == "apt-get did not end within 1 s"
    assert problem.where == where(world, world.trixie, world.updates, world.security)


class TestSeveralMirrors:
    @pytest.mark.parametrize("fault", [faulty.status(404), faulty.status(503), faulty.truncated, faulty.wrong_bytes])
    def test_second_one_serves(self, world: World, second: Mirror, fault: faulty.Fault) -> None:
        expected = world.lock().lock
        second.always = fault
        assert world.lock(mirrors=world.at(second, world.mirror), upgrade=True).lock == expected
        assert second.requests

    def test_each_archive_from_another_one(self, world: World, second: Mirror) -> None:
        expected = world.lock().lock
        for path, body in world.mirror.files.items():
            if path.startswith("/debian-security/"):
                second.files[path] = body
        world.mirror.files = {path: body for path, body in world.mirror.files.items() if path not in second.files}
        # Debian's first mirror is good and its second is not; with security it is the other way round.
        assert world.lock(mirrors=world.at(world.mirror, second), upgrade=True).lock == expected

    def test_nothing_of_the_first_one_is_used(self, world: World, second: Mirror) -> None:
        world.trixie.add(Package("nano", "50-1"))
        world.publish(second)
        del second.files["/debian-security/dists/trixie-security/InRelease"]
        world.trixie.packages.pop()
        mirrors = (world.at(second, world.mirror)[1], world.at(world.mirror)[1], *world.at(world.mirror)[:1])
        lock = world.lock(mirrors=mirrors).lock
        assert {item.version for item in lock.debs if item.name == "nano"} == {"8.4-1+deb13u1"}

    def test_none_serves(self, world: World, second: Mirror) -> None:
        second.always = faulty.status(503)
        del world.mirror.files["/debian/dists/trixie/InRelease"]
        problems = world.fails(LichenError, mirrors=world.at(second, world.mirror))
        assert [problem.where for problem in problems] == [
            where(world, world.trixie, world.updates, world.security, mirror=second),
            where(world, world.trixie),
        ]
        assert "503" in problems[0].why
        assert "does not have a Release file" in problems[1].why
        world.mended()


class TestSignatures:
    def unsigned(self, world: World) -> None:
        world.mirror.files["/debian/dists/trixie/Release"] = world.trixie.release().encode()
        del world.mirror.files["/debian/dists/trixie/InRelease"]

    def not_clear_signed(self, world: World) -> None:
        world.mirror.files["/debian/dists/trixie/InRelease"] = world.trixie.release().encode()

    def login_page(self, world: World) -> None:
        world.mirror.files["/debian/dists/trixie/InRelease"] = b"<html>Please log in</html>"

    def changed(self, world: World) -> None:
        signed = world.mirror.files["/debian/dists/trixie/InRelease"]
        world.mirror.files["/debian/dists/trixie/InRelease"] = signed.replace(b"Origin: Debian", b"Origin: Somebody")

    @pytest.mark.parametrize(
        ("fault", "why", "remedy"),
        [
            (unsigned, "is not signed", "this is not signed by Debian's keys: name another mirror"),
            (not_clear_signed, "NOSPLIT", "what came is no signed index"),
            (login_page, "NOSPLIT", "what came is no signed index; perhaps this network wants a login"),
            (changed, "is not signed", "this is not signed by Debian's keys: name another mirror"),
        ],
    )
    def test_bad(self, world: World, fault: Callable[..., None], why: str, remedy: str) -> None:
        fault(self, world)
        problem = one(world.fails(LichenError))
        assert problem.where == where(world, world.trixie)
        assert why in problem.why
        assert problem.remedy.startswith(remedy)
        assert "`--mirror debian=URL`" in problem.remedy
        world.mended()

    def test_signed_by_a_stranger(self, world: World, stranger: Key) -> None:
        world.security.publish(world.mirror, stranger)
        problem = one(world.fails(LichenError))
        assert problem.where == where(world, world.security)
        assert "NO_PUBKEY" in problem.why or "Missing key" in problem.why
        assert problem.remedy == (
            "this is not signed by Debian's keys: name another mirror with `--mirror debian-security=URL`; "
            "if they are outdated, upgrade debian-archive-keyring"
        )
        world.mended()

    def test_second_mirror_must_be_signed_too(self, world: World, second: Mirror, stranger: Key) -> None:
        for suite in world.suites:
            suite.publish(second, stranger)
        world.mirror.always = faulty.status(503)
        problems = world.fails(LichenError, mirrors=world.at(world.mirror, second))
        assert len(problems) == 2
        assert "not signed" in problems[1].why

    def test_no_keyring(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        missing = world.scratch / "missing.gpg"
        with monkeypatch.context() as patch:
            patch.setattr("builder.steps.apt.KEYRINGS", (missing,))
            asked = len(world.mirror.requests)
            [problem] = world.fails(LichenError)
            assert len(world.mirror.requests) == asked
        assert problem.what == "the Debian archive's keys are missing"
        assert problem.where == str(missing)
        assert problem.why
        assert "apt-get install debian-archive-keyring" in problem.remedy
        world.mended()


class TestDates:
    def test_expired(self, world: World) -> None:
        world.updates.valid_until = datetime.now(UTC) - timedelta(days=3)
        world.publish()
        problem = one(world.fails(LichenError))
        assert problem.where == where(world, world.updates)
        assert "is expired" in problem.why
        assert problem.remedy == (
            "the mirror has not been refreshed: name another mirror with `--mirror debian=URL`, "
            "or accept it with `--accept-expired trixie-updates` (the lock records it)"
        )
        lock = world.lock(accept_expired=frozenset({"trixie-updates"})).lock
        assert [(index.suite, index.expired) for index in lock.suites] == [
            ("trixie", False),
            ("trixie-updates", True),
            ("trixie-security", False),
            ("forky", False),
        ]

    def test_accepting_one_suite_does_not_accept_another(self, world: World) -> None:
        for suite in (world.updates, world.security):
            suite.valid_until = datetime.now(UTC) - timedelta(days=3)
        world.publish()
        problem = one(world.fails(LichenError, accept_expired=frozenset({"trixie-updates"})))
        assert problem.where == where(world, world.security)

    def test_accepted_and_still_valid_is_not_recorded(self, world: World) -> None:
        world.updates.valid_until = datetime.now(UTC) + timedelta(days=3)
        world.publish()
        lock = world.lock(accept_expired=frozenset({"trixie-updates"})).lock
        assert not any(index.expired for index in lock.suites)

    def test_expired_suite_of_mkosi(self, world: World) -> None:
        world.forky.valid_until = datetime.now(UTC) - timedelta(days=3)
        world.publish()
        problem = one(world.fails(LichenError))
        assert "`--accept-expired forky`" in problem.remedy
        assert world.lock(accept_expired=frozenset({"forky"})).lock.suites[-1].expired

    def test_from_the_future(self, world: World) -> None:
        world.trixie.date = datetime.now(UTC) + timedelta(days=3)
        world.publish()
        problem = one(world.fails(LichenError))
        assert "is not valid yet" in problem.why
        assert problem.remedy.startswith("set this machine's clock, or name another mirror")
        world.trixie.date = datetime.now(UTC) - timedelta(hours=1)
        world.mended()


def test_line_end_behind_the_signature_is_no_input(world: World) -> None:
    """A mirror can lose it, and apt does not mind: the signature still holds."""
    before = world.lock().lock
    path = f"{world.trixie.folder}/InRelease"
    assert before.suites[0].inrelease_sha256 == digest_bytes(world.mirror.files[path])
    world.mirror.files[path] = world.mirror.files[path].rstrip()
    assert not world.lock(upgrade=True).changed
