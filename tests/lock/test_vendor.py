"""Repositories of vendors: verified with their own key only, beside Debian and never in its place."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from builder.data.lock import Deb, Lock, LockedRepository, read_lock
from builder.foundation.digest import digest_bytes
from builder.foundation.errors import InputError, LichenError, Problem
from builder.foundation.store import Store
from builder.foundation.transport import Limits
from builder.steps.fetch import fetch
from builder.steps.profiles import load_recipe
from builder.verbs.lock import Change, check_lock
from builder.verbs.sources import find_sources
from tests.lock.archive import Key, Package, Suite
from tests.lock.wheelindex import Index
from tests.lock.world import World
from tests.store import mirror as faulty
from tests.store.conftest import Recorder

UNUSABLE = "the repository's key cannot be used"


@dataclass
class Vendor:
    """A vendor's repository on the world's mirror, and the project that names it."""

    world: World
    key: Key
    suite: Suite = field(default_factory=lambda: Suite("vendor", "stable", [Package("gadget", "2.0-1")]))
    said: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.suite.origin = "Vendor"
        self.world.without_wheels()
        self.world.sample.write("keys/vendor.asc", self.key.armoured)
        self.said = {
            "url": f"{self.world.mirror.url}/vendor",
            "key": "keys/vendor.asc",
            "fingerprint": self.key.fingerprint,
            "suites": [self.suite.name],
            "components": [] if self.suite.flat else ["main"],
        }
        self.world.sample.swap("profiles/small.yaml", "packages: [less, nano]", "packages: [less, nano, gadget]")
        self.world.sample.add("profiles/small.yaml", "repositories:\n")
        self.say()
        self.publish()

    def say(self, **changed: object) -> None:
        """Let the profile say this of the repository."""
        self.said |= changed
        path = self.world.sample.root / "profiles/small.yaml"
        text = path.read_text().partition("repositories:\n")[0]
        lines = "".join(f"    {key}: {json.dumps(value)}\n" for key, value in self.said.items() if value is not None)
        path.write_text(f"{text}repositories:\n  vendor:\n{lines}")

    def publish(self) -> None:
        self.suite.publish(self.world.mirror, self.key)

    def place(self, key: str) -> str:
        return f"{self.world.sample.at('profiles/small.yaml', f'    {key}:')}: repositories.vendor.{key}"

    @property
    def where(self) -> str:
        return f"vendor:{self.suite.name} (amd64) at {self.world.mirror.url}/vendor"


@pytest.fixture
def vendor(world: World, stranger: Key) -> Vendor:
    return Vendor(world, stranger)


@pytest.fixture(scope="module")
def past() -> Iterator[Key]:
    """A key that expired long ago."""
    with tempfile.TemporaryDirectory(prefix="key-") as home:
        key = Key(Path(home), year=2021)
        yield key
        key.close()


def deb(lock: Lock, name: str) -> Deb:
    (found,) = (item for item in lock.debs if item.name == name)
    return found


def one(problems: tuple[Problem, ...]) -> Problem:
    [problem] = problems
    return problem


class TestGood:
    def test_package_is_locked_with_its_archive(self, vendor: Vendor) -> None:
        lock = vendor.world.lock().lock
        gadget = deb(lock, "gadget")
        assert (gadget.archive, gadget.path, gadget.uses) == ("vendor", vendor.suite.packages[0].path, ("image",))
        assert gadget.sha256 == digest_bytes(vendor.world.mirror.files[f"/vendor/{gadget.path}"])
        assert lock.repositories == (
            LockedRepository(
                name="vendor", fingerprint=vendor.key.fingerprint, key_sha256=digest_bytes(vendor.key.armoured)
            ),
        )
        assert [(index.archive, index.suite) for index in lock.suites] == [
            ("debian", "trixie"),
            ("debian", "trixie-updates"),
            ("debian-security", "trixie-security"),
            ("vendor", "stable"),
            ("debian", "forky"),
        ]
        assert "127.0.0.1" not in vendor.world.path.read_text()
        assert read_lock(vendor.world.path) == lock
        assert not vendor.world.lock().changed

    def test_all_else_is_as_without_it(self, vendor: Vendor) -> None:
        """The essential packages and what they need come from Debian; initrd and tools see no vendor."""
        lock = vendor.world.lock().lock
        vendor.world.sample.swap("profiles/small.yaml", ", gadget]", "]")
        path = vendor.world.sample.root / "profiles/small.yaml"
        path.write_text(path.read_text().partition("repositories:")[0])
        without = vendor.world.lock().lock
        assert [item for item in lock.debs if item.archive != "vendor"] == list(without.debs)

    def test_binary_key_and_words_beside_an_armoured_one(self, vendor: Vendor) -> None:
        first = vendor.world.lock().lock
        for content in (vendor.key.keyring.read_bytes(), b"The key of Vendor.\n\n" + vendor.key.armoured):
            vendor.world.sample.write("keys/vendor.asc", content)
            lock = vendor.world.lock(upgrade=True).lock
            assert lock.debs == first.debs
            assert lock.repositories[0].key_sha256 == digest_bytes(content)

    @pytest.mark.parametrize("name", ["/", "./", "debian13/x86_64/"])
    def test_flat_repository(self, world: World, stranger: Key, name: str) -> None:
        flat = Vendor(world, stranger, Suite("vendor", name, [Package("gadget", "2.0-1")], architectures=("amd64",)))
        lock = world.lock().lock
        assert (deb(lock, "gadget").archive, deb(lock, "gadget").path) == ("vendor", "gadget_2.0-1_all.deb")
        assert lock.suites[3].suite == name
        store = Store(world.cache.store)
        files = [deb(lock, "gadget")]
        sources = find_sources(world.bench(), load_recipe(world.sample.project, "small"), files)
        fetch(store, files, sources, Recorder())
        assert store.has(files[0].sha256, files[0].size)
        flat.suite.packages.clear()
        flat.publish()
        assert "there is no Debian package 'gadget'" in one(world.fails(InputError)).what

    def test_suite_that_is_called_like_one_of_debian(self, world: World, stranger: Key) -> None:
        vendor = Vendor(world, stranger, Suite("vendor", "trixie", [Package("gadget", "2.0-1")]))
        lock = world.lock().lock
        ours, theirs = (next(index for index in lock.suites if index.archive == name) for name in ("debian", "vendor"))
        assert ours.inrelease_sha256 != theirs.inrelease_sha256
        vendor.suite.valid_until = datetime.now(UTC) - timedelta(days=1)
        vendor.publish()
        # Accepting Debian's suite says nothing of the vendor's.
        problem = one(world.fails(LichenError, accept_expired=frozenset({"trixie"})))
        assert problem.where == vendor.where

    def test_location_is_no_part_of_the_lock(self, vendor: Vendor, second: faulty.Mirror) -> None:
        first = vendor.world.lock().lock
        vendor.say(url="http://127.0.0.1:9/elsewhere")
        assert check_lock(vendor.world.bench(), "small") == first
        second.files = dict(vendor.world.mirror.files)
        for path in [path for path in vendor.world.mirror.files if path.startswith("/vendor/")]:
            del vendor.world.mirror.files[path]
        mirrors = (*vendor.world.at(vendor.world.mirror), f"vendor={second.url}/vendor")
        assert vendor.world.lock(mirrors=mirrors, upgrade=True).lock == first
        vendor.say(url=None)
        assert vendor.world.lock(mirrors=mirrors, upgrade=True).lock == first

    def test_not_located(self, vendor: Vendor) -> None:
        vendor.say(url=None)
        problem = one(vendor.world.fails(InputError))
        assert problem.what == "nothing says where the repository 'vendor' is"
        assert problem.remedy == "add `--mirror vendor=URL`"

    def test_other_suites_choose_anew_and_a_renewed_key_file_does_not(self, vendor: Vendor) -> None:
        first = vendor.world.lock().lock
        vendor.suite.upgrade("gadget", "3.0-1")
        vendor.publish()
        vendor.world.sample.write("keys/vendor.asc", vendor.key.keyring.read_bytes())
        asked = len(vendor.world.mirror.requests)
        with pytest.raises(InputError, match="no version moves"):
            check_lock(vendor.world.bench(), "small")
        stamped = vendor.world.lock()
        assert len(vendor.world.mirror.requests) == asked
        assert (stamped.lock.debs, stamped.changelog) == (first.debs, ())
        assert stamped.lock.repositories[0].key_sha256 == digest_bytes(vendor.key.keyring.read_bytes())
        vendor.suite.name = "next"
        vendor.publish()
        vendor.say(suites=["next"])
        assert vendor.world.lock().changelog == (Change("moved", "deb", "gadget", "2.0-1", "3.0-1"),)


class TestDebianComesFirst:
    def test_name_that_debian_has(self, vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
        told = Recorder()
        vendor.suite.add(Package("nano", "99-1"), Package("libtinfo6", "99-1"), Package("unused-here", "1-1"))
        vendor.world.trixie.add(Package("unused-here", "1-1"))
        vendor.publish()
        vendor.world.publish()
        bench = vendor.world.bench
        monkeypatch.setattr(vendor.world, "bench", lambda *given: replace(bench(*given), progress=told))
        lock = vendor.world.lock().lock
        assert [(deb(lock, name).archive, deb(lock, name).version) for name in ("nano", "libtinfo6")] == [
            ("debian", "8.4-1+deb13u1"),
            ("debian", "6.5+20250216-2"),
        ]
        assert sorted(told.notes) == [
            f"{name}: Debian's {version} is used, not 99-1 of the repository vendor, which may add packages and not "
            "replace Debian's"
            for name, version in (("libtinfo6", "6.5+20250216-2"), ("nano", "8.4-1+deb13u1"))
        ]

    def test_dependency_that_only_the_vendor_could_meet(self, vendor: Vendor) -> None:
        vendor.suite.packages = [Package("gadget", "2.0-1", depends="libtinfo6 (>= 7)"), Package("libtinfo6", "7.0-1")]
        vendor.publish()
        problem = one(vendor.world.fails(InputError))
        assert problem.where == f"gadget: {vendor.world.sample.at('profiles/small.yaml', 'gadget')}"
        assert "libtinfo6 (>= 7)" in problem.why
        assert problem.remedy.endswith("of names that Debian has too, no package of vendor is used")

    def test_vendor_that_poses_as_debian(self, vendor: Vendor) -> None:
        vendor.suite.origin = "Debian"
        vendor.suite.add(Package("nano", "99-1"))
        vendor.publish()
        problem = one(vendor.world.fails(InputError))
        assert problem.what == "the repository 'vendor' would replace Debian's package 'nano'"
        assert problem.where == vendor.world.sample.at("profiles/small.yaml", "vendor:")
        assert problem.why == "it has version 99-1, and its index calls itself Debian"

    def test_vendor_package_that_calls_itself_essential(self, vendor: Vendor) -> None:
        vendor.suite.add(Package("intruder", "1-1", essential=True))
        vendor.publish()
        assert not [item for item in vendor.world.lock().lock.debs if item.name == "intruder"]

    def test_initrd_and_tools_take_nothing_of_it(self, vendor: Vendor) -> None:
        vendor.world.trixie.packages = [item for item in vendor.world.trixie.packages if item.name != "erofs-utils"]
        vendor.world.publish()
        vendor.suite.add(Package("erofs-utils"))
        vendor.publish()
        assert one(vendor.world.fails(InputError)).what == "there is no Debian package 'erofs-utils'"

    def test_repository_around_the_archive_of_debian(self, world: World, stranger: Key) -> None:
        """Its index could name a file that passes for one of Debian's."""
        vendor = Vendor(world, stranger, Suite("vendor", "deep/", [Package("gadget", "2.0-1")]))
        vendor.say(url=world.mirror.url, suites=["vendor/deep/"])
        problem = one(world.fails(LichenError))
        assert problem.what == "a package is in two archives"
        assert problem.where.startswith(f"{world.mirror.url}/debian/pool/")
        assert "the place of the repository vendor has Debian's archive in it" in problem.why

    def test_name_of_an_archive_of_debian(self, vendor: Vendor) -> None:
        vendor.world.sample.swap("profiles/small.yaml", "  vendor:\n", "  debian:\n")
        problem = one(vendor.world.fails_to_load())
        assert problem.what == "a repository has the name of an archive of Debian"


class TestSignature:
    @pytest.mark.parametrize("signer", ["debian", "nobody"])
    def test_wrong_key(self, vendor: Vendor, past: Key, signer: str) -> None:
        """Debian's own key does not count either."""
        vendor.suite.publish(vendor.world.mirror, vendor.world.key if signer == "debian" else past)
        problem = one(vendor.world.fails(LichenError))
        assert problem.what == "the archive's indices cannot be used"
        assert problem.where == vendor.where
        assert re.search("NO_PUBKEY|Missing key", problem.why)
        assert problem.remedy == (
            f"this is not signed by the key {vendor.key.fingerprint}: if the vendor changed its key, ask it, then "
            "correct `repositories.vendor` of the profile; else name another place with `--mirror vendor=URL`"
        )
        vendor.publish()
        vendor.world.mended()

    def test_key_of_the_vendor_does_not_sign_for_debian(self, vendor: Vendor) -> None:
        vendor.world.security.publish(vendor.world.mirror, vendor.key)
        problem = one(vendor.world.fails(LichenError))
        assert problem.where == f"trixie-security (amd64) at {vendor.world.mirror.url}/debian-security"
        assert "this is not signed by Debian's keys" in problem.remedy

    def test_expired_key(self, vendor: Vendor, past: Key) -> None:
        """gpgv refuses what it signed in its time, sqv does not: so Lichen looks itself, and only when it locks."""
        first = vendor.world.lock().lock
        vendor.world.sample.write("keys/vendor.asc", past.armoured)
        vendor.say(fingerprint=past.fingerprint)
        vendor.suite.date = datetime(2021, 1, 2, tzinfo=UTC)
        vendor.suite.publish(vendor.world.mirror, past)
        asked = len(vendor.world.mirror.requests)
        problem = one(vendor.world.fails(InputError))
        assert len(vendor.world.mirror.requests) == asked
        assert problem.what == "the repository's key has expired"
        assert problem.where == vendor.place("key")
        assert problem.why == f"the key {past.fingerprint} expired on 2021-01-09"
        assert problem.remedy.startswith("put the one that the vendor renewed into the file")
        vendor.world.sample.write("keys/vendor.asc", vendor.key.armoured)
        vendor.say(fingerprint=vendor.key.fingerprint)
        vendor.suite.date = datetime.now(UTC) - timedelta(hours=1)
        vendor.publish()
        assert vendor.world.mended().debs == first.debs

    def test_key_is_judged_at_the_time_of_locking(self, vendor: Vendor, past: Key) -> None:
        vendor.world.sample.write("keys/vendor.asc", past.armoured)
        vendor.say(fingerprint=past.fingerprint)
        key = load_recipe(vendor.world.sample.project, "small").keys["vendor"]
        key.require_alive(datetime(2021, 1, 8, tzinfo=UTC))
        with pytest.raises(InputError):
            key.require_alive(datetime(2021, 1, 9, 12, tzinfo=UTC))

    def test_expired_index(self, vendor: Vendor) -> None:
        vendor.suite.valid_until = datetime.now(UTC) - timedelta(days=3)
        vendor.publish()
        problem = one(vendor.world.fails(LichenError))
        assert problem.where == vendor.where
        assert "is expired" in problem.why
        assert problem.remedy == (
            "the vendor has not renewed its index: name another place with `--mirror vendor=URL`, or accept it with "
            "`--accept-expired vendor:stable` (the lock records it)"
        )
        lock = vendor.world.lock(accept_expired=frozenset({"vendor:stable"})).lock
        assert [index.suite for index in lock.suites if index.expired] == ["stable"]

    def test_index_without_a_date(self, vendor: Vendor) -> None:
        release = "".join(line for line in vendor.suite.release().splitlines(True) if not line.startswith("Date:"))
        vendor.world.mirror.files["/vendor/dists/stable/InRelease"] = vendor.key.sign(release)
        problem = one(vendor.world.fails(LichenError))
        assert problem.where == vendor.where
        assert "Date" in problem.why or "date" in problem.why

    @pytest.mark.parametrize("sums", ["SHA512", "SHA1"])
    def test_index_without_sums_that_a_lock_could_hold(self, vendor: Vendor, sums: str) -> None:
        vendor.suite.sums = sums
        vendor.publish()
        problem = one(vendor.world.fails(LichenError))
        assert problem.what == "the index tells no SHA-256 of a package"
        assert "gadget_2.0-1_all.deb" in problem.where

    def test_no_repository_there(self, vendor: Vendor) -> None:
        vendor.say(suites=["unstable"])
        problem = one(vendor.world.fails(LichenError))
        assert problem.where == f"vendor:unstable (amd64) at {vendor.world.mirror.url}/vendor"
        assert problem.remedy == (
            "correct url and suites in `repositories.vendor` of the profile, or name another place with "
            "`--mirror vendor=URL`"
        )

    def test_faults_of_debian_and_vendor_are_told_apart(self, vendor: Vendor, past: Key) -> None:
        vendor.suite.publish(vendor.world.mirror, past)
        vendor.world.mirror.files["/debian/dists/trixie-updates/InRelease"] = b"<html>Please log in</html>"
        debian = one(vendor.world.fails(LichenError))
        assert debian.where == f"trixie-updates (amd64) at {vendor.world.mirror.url}/debian"


class TestKeyFile:
    """Told when the profile is read, by every command."""

    def problem(self, vendor: Vendor) -> Problem:
        asked = len(vendor.world.mirror.requests)
        problem = one(vendor.world.fails(InputError))
        assert len(vendor.world.mirror.requests) == asked
        assert problem.what == UNUSABLE
        assert problem.where == vendor.place("key")
        return problem

    def test_other_fingerprint(self, vendor: Vendor) -> None:
        vendor.say(fingerprint="0" * 40)
        problem = self.problem(vendor)
        assert problem.why.endswith(f"it holds the key {vendor.key.fingerprint}, the profile names {'0' * 40}")
        assert problem.remedy.startswith("ask the vendor which one is right")

    def test_other_key(self, vendor: Vendor, past: Key) -> None:
        vendor.world.sample.write("keys/vendor.asc", past.armoured)
        assert f"it holds the key {past.fingerprint}, the profile names {vendor.key.fingerprint}" in (
            self.problem(vendor).why
        )

    def test_missing(self, vendor: Vendor) -> None:
        (vendor.world.sample.root / "keys/vendor.asc").unlink()
        assert self.problem(vendor).why == f"{vendor.world.sample.root}/keys/vendor.asc: No such file or directory"

    @pytest.mark.parametrize("content", [b"", b"no key\n", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n", b"\x99\x01"])
    def test_not_a_key(self, vendor: Vendor, content: bytes) -> None:
        vendor.world.sample.write("keys/vendor.asc", content)
        problem = self.problem(vendor)
        assert "it holds no OpenPGP key" in problem.why
        assert "backtrace" not in problem.why
        assert problem.remedy == f"write it anew with `gpg --armor --export {vendor.key.fingerprint}`"

    def test_signature_in_place_of_a_key(self, vendor: Vendor) -> None:
        vendor.world.sample.write("keys/vendor.asc", vendor.key.detached(b"anything"))
        assert self.problem(vendor).why.endswith("it holds no OpenPGP key: no key is in it")

    def test_private_key(self, vendor: Vendor) -> None:
        vendor.world.sample.write("keys/vendor.asc", vendor.key.private)
        problem = self.problem(vendor)
        assert problem.why.endswith("it holds a private key, which must never be in a project")
        assert "replace it" in problem.remedy

    def test_two_keys(self, vendor: Vendor, past: Key) -> None:
        vendor.world.sample.write("keys/vendor.asc", vendor.key.keyring.read_bytes() + past.keyring.read_bytes())
        found = f"{vendor.key.fingerprint} and {past.fingerprint}"
        assert self.problem(vendor).why.endswith(f"it must hold exactly one key, and holds {found}")

    def test_second_armoured_key_does_not_count(self, vendor: Vendor) -> None:
        """What apt gets is what was checked, whatever else the file holds."""
        vendor.world.sample.write("keys/vendor.asc", vendor.key.armoured + vendor.world.key.armoured)
        vendor.suite.publish(vendor.world.mirror, vendor.world.key)
        assert one(vendor.world.fails(LichenError)).where == vendor.where

    @pytest.mark.parametrize("name", ["../vendor.asc", "/usr/share/keyrings/debian-archive-keyring.gpg"])
    def test_outside_the_project(self, vendor: Vendor, name: str) -> None:
        vendor.say(key=name)
        assert self.problem(vendor).why.endswith("it lies outside the project")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"suites": ["a b"]}, "suites[0]"),
        ({"suites": ["../x/"]}, "suites[0]"),
        ({"suites": []}, "suites"),
        ({"components": ["main] http://elsewhere x"]}, "components[0]"),
        ({"components": []}, None),
        ({"suites": ["./"]}, None),
        ({"fingerprint": "ABCD"}, "fingerprint"),
        ({"url": "ftp://x"}, "url"),
        ({"wheels": "ftp://x"}, "wheels"),
        ({"wheels": "yes"}, "wheels"),
        ({"wheels": 1}, "wheels"),
    ],
)
def test_malformed(vendor: Vendor, said: dict[str, object], told: str | None) -> None:
    vendor.say(**said)
    problem = one(vendor.world.fails_to_load())
    assert problem.where.endswith(f": repositories.vendor{'.' if told else ''}{told or ''}")


class TestChangedUnderTheSameVersion:
    """The fault that people report of vendors' repositories: a file replaced without a new version."""

    def replace(self, vendor: Vendor) -> None:
        vendor.suite.packages = [Package("gadget", "2.0-1", provides="other-bytes")]
        vendor.publish()

    def test_lock_stays_and_upgrade_tells(self, vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
        told = Recorder()
        bench = vendor.world.bench
        monkeypatch.setattr(vendor.world, "bench", lambda *given: replace(bench(*given), progress=told))
        first = vendor.world.lock().lock
        self.replace(vendor)
        asked = len(vendor.world.mirror.requests)
        assert not vendor.world.lock().changed
        assert (len(vendor.world.mirror.requests), told.notes) == (asked, [])
        outcome = vendor.world.lock(upgrade=True)
        assert outcome.changelog == (Change("changed", "deb", "gadget", "2.0-1", "2.0-1"),)
        assert deb(outcome.lock, "gadget").sha256 != deb(first, "gadget").sha256
        assert told.notes == [
            "the deb gadget 2.0-1 has other bytes than when it was locked before: somebody replaced a published file "
            "without a new version; ask its vendor why before you use it"
        ]

    def test_told_also_when_something_else_made_the_lock_stale(self, vendor: Vendor) -> None:
        vendor.world.lock()
        self.replace(vendor)
        vendor.world.sample.swap("profiles/small.yaml", "[less, nano, gadget]", "[nano, gadget]")
        assert [(change.kind, change.name) for change in vendor.world.lock().changelog] == [
            ("changed", "gadget"),
            ("removed", "less"),
            ("removed", "libtinfo6"),
        ]

    def test_file_is_not_taken(self, vendor: Vendor) -> None:
        lock = vendor.world.lock().lock
        self.replace(vendor)
        files = [deb(lock, "gadget")]
        store = Store(vendor.world.cache.store)
        sources = find_sources(vendor.world.bench(), load_recipe(vendor.world.sample.project, "small"), files)
        with pytest.raises(LichenError) as caught:
            fetch(store, files, sources, Recorder(), Limits(pause=0.01))
        assert "gadget 2.0-1 all" in caught.value.problems[0].where
        assert not store.has(files[0].sha256, files[0].size)


def test_dropped_version(vendor: Vendor) -> None:
    first = vendor.world.lock().lock
    vendor.suite.packages = [Package("gadget", "3.0-1")]
    for path in [path for path in vendor.world.mirror.files if path.startswith("/vendor/pool/")]:
        del vendor.world.mirror.files[path]
    vendor.publish()
    asked = len(vendor.world.mirror.requests)
    assert vendor.world.lock().lock == first
    assert len(vendor.world.mirror.requests) == asked
    files = [deb(first, "gadget")]
    sources = find_sources(vendor.world.bench(), load_recipe(vendor.world.sample.project, "small"), files)
    with pytest.raises(LichenError) as caught:
        fetch(Store(vendor.world.cache.store), files, sources, Recorder(), Limits(pause=0.01))
    assert "gadget 2.0-1 all" in caught.value.problems[0].where
    assert vendor.world.lock(upgrade=True).changelog == (Change("moved", "deb", "gadget", "2.0-1", "3.0-1"),)


class TestWheels:
    @pytest.fixture
    def index(self, vendor: Vendor) -> Index:
        """The vendor's index; the machine's own has the same distributions."""
        index = Index(vendor.world.mirror, folder="vendor-wheels")
        index.add("fast", "2.0+vendor")
        vendor.world.index.add("uv", "99.0", "py3-none-manylinux_2_17_x86_64")
        web = 'description: a web page\npython:\n  requirements: ["pages>=1", "fast"]\n'
        vendor.world.sample.write("overlays/web/overlay.yaml", web + "  provided: {numbers: python3-numbers}\n")
        vendor.say(wheels=f"{index.url}/")
        return index

    def test_vendor_goes_first(self, vendor: Vendor, index: Index) -> None:
        index.add("uv", "99.0", "py3-none-manylinux_2_17_x86_64")
        lock = vendor.world.lock().lock
        assert [(wheel.name, wheel.version, wheel.repository) for wheel in lock.wheels][:2] == [
            ("fast", "2.0+vendor", "vendor"),
            ("pages", "1.2", None),
        ]
        # What lays the wheels down is no matter of a vendor.
        assert lock.wheels[2].repository is None
        assert "127.0.0.1" not in lock.text()

    def test_where_it_is_does_not_matter_and_whether_it_is_does(self, vendor: Vendor, index: Index) -> None:
        first = vendor.world.lock().lock
        vendor.say(wheels="http://127.0.0.1:9/elsewhere")
        assert check_lock(vendor.world.bench(), "small") == first
        vendor.say(wheels=True)
        assert check_lock(vendor.world.bench(), "small") == first
        vendor.say(wheels=False)
        assert vendor.world.lock().changelog == (Change("moved", "wheel", "fast", "2.0+vendor", "3.0"),)

    def test_changed_under_the_same_version(self, vendor: Vendor, index: Index) -> None:
        vendor.world.lock()
        index.add("fast", "2.0+vendor", requires=("pages",))
        assert vendor.world.lock(upgrade=True).changelog == (
            Change("changed", "wheel", "fast", "2.0+vendor", "2.0+vendor"),
        )

    def test_folder_as_index(self, vendor: Vendor, index: Index, tmp_path: Path) -> None:
        (content,) = index.files["fast"].values()
        name = "fast-2.0+vendor-py3-none-any.whl"
        (tmp_path / "wheels/fast").mkdir(parents=True)
        (tmp_path / "wheels/fast" / name).write_bytes(content)
        page = f'<a href="fast-2.0%2Bvendor-py3-none-any.whl#sha256={digest_bytes(content)}">{name}</a>'
        (tmp_path / "wheels/fast/index.html").write_text(page)
        vendor.say(wheels=f"file://{tmp_path}/wheels")
        wheel = vendor.world.lock().lock.wheels[0]
        assert (wheel.filename, wheel.size, wheel.repository) == (name, len(content), "vendor")

    def test_index_is_down(self, vendor: Vendor, index: Index) -> None:
        vendor.world.mirror.faults["/vendor-wheels/fast/"] = [faulty.status(503)] * 20
        problem = one(vendor.world.fails(LichenError))
        assert problem.what == "the index of wheels cannot be used"
        assert problem.where.startswith(f"{index.url}, ")
        assert problem.remedy == "check the network, or name another place with `--index vendor=URL`"
