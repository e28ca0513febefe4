"""Locks that are made, kept, stamped anew and upgraded."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from builder.data import toolchain
from builder.data.lock import Lock, read_lock
from builder.foundation.digest import canonical_json, digest_bytes
from builder.foundation.errors import InputError
from builder.verbs.lock import Change, check_lock
from tests.lock.archive import Package, deb
from tests.lock.world import UV, World
from tests.store import mirror as faulty


def versions(lock: Lock, use: str) -> dict[str, str]:
    return {item.name: item.version for item in lock.debs if use in item.uses}


def test_lock_says_what_will_be_used(world: World) -> None:
    outcome = world.lock()
    lock = outcome.lock
    assert outcome.changed
    assert outcome.changelog == ()
    assert outcome.path == world.path
    assert read_lock(world.path) == lock
    assert (lock.profile, lock.architecture, lock.without) == ("small", "amd64", ())

    image = versions(lock, "image")
    asked = {"less", "nano", "systemd", "editor", "python3-numbers", "linux-image-small", *toolchain.IMAGE_PACKAGES}
    assert set(image) == asked | {"base-files", "bash", "dpkg", "libtinfo6", "libstdc++6"}
    assert image["nano"] == "8.4-1+deb13u1"
    assert image["less"] == "1:668-1"
    assert set(versions(lock, "tools")) == {"base-files", "bash", "dpkg", *toolchain.tools_packages("amd64")}
    assert set(versions(lock, "initrd")) == {"base-files", "bash", "dpkg", *toolchain.initrd_packages("mutable")}
    assert versions(lock, "mkosi") == {"mkosi": "27-1"}
    assert [item.uses for item in lock.debs if item.name == "systemd"] == [("image", "initrd", "tools")]

    assert [(wheel.name, wheel.version, wheel.filename, wheel.uses) for wheel in lock.wheels] == [
        ("fast", "3.0", "fast-3.0-cp313-cp313-manylinux_2_28_x86_64.whl", ("image",)),
        ("pages", "1.2", "pages-1.2-py3-none-any.whl", ("image",)),
        ("uv", UV, f"uv-{UV}-py3-none-manylinux_2_17_x86_64.whl", ("tools",)),
    ]


def test_every_file_has_the_size_and_hash_of_the_one_on_the_mirror(world: World) -> None:
    lock = world.lock().lock
    for item in lock.debs:
        content = world.mirror.files[f"/{item.archive}/{item.path}"]
        assert (item.size, item.sha256) == (len(content), digest_bytes(content))
        assert f"{item.name}_" in item.path
    for wheel in lock.wheels:
        content = world.mirror.files[f"/simple/files/{wheel.filename}"]
        assert (wheel.size, wheel.sha256) == (len(content), digest_bytes(content))


def test_lock_names_the_signed_indices_and_the_date_of_the_youngest(world: World) -> None:
    lock = world.lock().lock
    assert [(index.archive, index.suite, index.expired) for index in lock.suites] == [
        ("debian", "trixie", False),
        ("debian", "trixie-updates", False),
        ("debian-security", "trixie-security", False),
        ("debian", "forky", False),
    ]
    for index, suite in zip(lock.suites, world.suites, strict=True):
        assert index.inrelease_sha256 == digest_bytes(world.mirror.files[f"{suite.folder}/InRelease"])
        assert index.date == suite.date.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert lock.source_date_epoch == max(int(suite.date.timestamp()) for suite in world.suites)


def test_lock_is_canonical_and_names_no_host(world: World) -> None:
    world.lock()
    text = world.path.read_text()
    assert text == canonical_json(json.loads(text))
    for word in ("127.0.0.1", world.mirror.url.rpartition(":")[2], "http", "://", str(world.sample.root)):
        assert word not in text


def test_locking_again_changes_nothing(world: World) -> None:
    first = world.lock()
    before = world.path.stat()
    again = world.lock()
    assert (again.changed, again.changelog) == (False, ())
    upgraded = world.lock(upgrade=True)
    assert (upgraded.changed, upgraded.changelog) == (False, ())
    assert upgraded.lock == first.lock
    after = world.path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_lock_made_elsewhere_from_other_mirrors_is_the_same(world: World, second: faulty.Mirror) -> None:
    first = world.lock().lock
    second.files = {f"/far/away{path}": content for path, content in world.mirror.files.items()}
    second.kinds = {f"/far/away{path}": kind for path, kind in world.mirror.kinds.items()}
    away = f"{second.url}/far/away"
    world.path.unlink()
    mirrors = (f"debian={away}/debian/", f"debian-security={away}/debian-security")
    assert world.lock(mirrors=mirrors, indices=(f"{away}/simple/",)).lock.text() == first.text()


def test_changed_overlay_file_is_stamped_without_network_and_moves_no_version(world: World) -> None:
    first = world.lock().lock
    world.updates.add(Package("less", "2:1-1"))
    world.publish()
    world.sample.write("overlays/core/tree/etc/motd", "Hello\n")
    world.mirror.always = faulty.status(500)
    asked = len(world.mirror.requests)
    again = world.lock()
    assert len(world.mirror.requests) == asked
    assert (again.changed, again.changelog) == (True, ())
    assert again.lock.recipe != first.recipe
    assert again.lock.model_copy(update={"recipe": first.recipe}) == first
    assert check_lock(world.bench(), "small") == again.lock


def test_newer_version_comes_only_with_upgrade_and_is_told(world: World) -> None:
    world.lock()
    world.security.upgrade("nano", "9.0-1") if world.security.packages else world.security.add(Package("nano", "9.0-1"))
    world.trixie.packages = [
        replace(package, depends="libnew1") if package.name == "editor" else package
        for package in world.trixie.packages
        if package.name != "libstdc++6"
    ]
    world.trixie.add(Package("libnew1", "0.1-1"), Package("zstd", "1:1.5-1"))
    world.forky.add(Package("mkosi", "28-1"))
    world.index.add("pages", "1.3")
    world.publish()
    assert not world.lock().changed
    outcome = world.lock(upgrade=True)
    assert outcome.changed
    assert outcome.changelog == (
        Change("changed", "deb", "editor", "1.0-1", "1.0-1"),
        Change("added", "deb", "libnew1", None, "0.1-1"),
        Change("removed", "deb", "libstdc++6", "14.2.0-19", None),
        Change("moved", "deb", "nano", "8.4-1+deb13u1", "9.0-1"),
        Change("moved", "tool", "mkosi", "27-1", "28-1"),
        Change("moved", "tool", "zstd", "1.0-1", "1:1.5-1"),
        Change("moved", "wheel", "pages", "1.2", "1.3"),
    )
    assert {item.archive for item in outcome.lock.debs if item.name == "nano"} == {"debian-security"}
    assert read_lock(world.path) == outcome.lock


def test_added_package_is_resolved_anew(world: World) -> None:
    world.lock()
    world.trixie.add(Package("hexdump", "2-1", depends="libhex"), Package("libhex", "2-1"), Package("nano", "99-1"))
    world.publish()
    world.sample.swap("profiles/small.yaml", "[less, nano]", "[less, nano, hexdump]")
    outcome = world.lock()
    assert [(change.kind, change.name) for change in outcome.changelog] == [
        ("added", "hexdump"),
        ("added", "libhex"),
        ("moved", "nano"),
    ]


def test_another_architecture_has_its_own_packages_and_native_tools(world: World) -> None:
    world.index.add("fast", "3.0", "cp313-cp313-manylinux_2_28_aarch64")
    native, foreign = world.lock("amd64").lock, world.lock("arm64").lock
    assert {path.name for path in world.sample.project.locks.iterdir()} == {"small.amd64.json", "small.arm64.json"}
    kernels = [item for item in foreign.debs if item.name == "linux-image-small"]
    assert [item.architecture for item in kernels] == ["arm64"]
    tools = {"base-files", "bash", "dpkg", *toolchain.tools_packages("arm64")}
    assert set(versions(foreign, "tools")) == tools
    assert tools - set(versions(native, "tools")) == {"qemu-system-arm", "qemu-efi-aarch64", "qemu-user"}
    assert [item.architecture for item in foreign.debs if item.uses == ("tools",)].count("arm64") == 0
    assert [wheel.filename for wheel in foreign.wheels] == [
        "fast-3.0-cp313-cp313-manylinux_2_28_aarch64.whl",
        "pages-1.2-py3-none-any.whl",
        f"uv-{UV}-py3-none-manylinux_2_17_x86_64.whl",
    ]


def test_profile_without_requirements_needs_no_index(world: World) -> None:
    world.without_wheels()
    assert world.lock(indices=("http://127.0.0.1:1/simple",)).lock.wheels == ()


def test_archives_may_be_folders(world: World) -> None:
    expected = world.lock().lock
    folder = world.sample.root / "mirror"
    for path, content in world.mirror.files.items():
        file = folder / path[1:]
        if not path.endswith("/"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    mirrors = tuple(f"{archive}=file://{folder}/{archive}" for archive in ("debian", "debian-security"))
    assert world.lock(mirrors=mirrors, upgrade=True).lock == expected


def test_apt_uses_the_proxy_of_the_environment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.without_wheels()
    for path, content in list(world.mirror.files.items()):
        world.mirror.files[f"http://archive.test{path}"] = content
    monkeypatch.setenv("HTTP_PROXY", world.mirror.url)
    mirrors = tuple(f"{archive}=http://archive.test/{archive}" for archive in ("debian", "debian-security"))
    assert "archive.test" not in world.lock(mirrors=mirrors).lock.text()
    assert all(request.path.startswith("http://archive.test/") for request in world.mirror.requests)


class TestCheck:
    @pytest.fixture(autouse=True)
    def _no_wheels(self, world: World) -> None:
        world.without_wheels()

    def problem(self, world: World, architecture: str | None = None) -> tuple[str, str, str, str]:
        asked = len(world.mirror.requests)
        with pytest.raises(InputError) as caught:
            check_lock(world.bench(), "small", architecture)
        assert len(world.mirror.requests) == asked
        [problem] = caught.value.problems
        return problem.what, problem.where, problem.why, problem.remedy

    def test_current(self, world: World) -> None:
        made = world.lock().lock
        assert check_lock(world.bench(), "small") == made

    @pytest.mark.parametrize(
        ("architecture", "command"),
        [("amd64", "lichen lock small"), ("arm64", "lichen lock small --architecture arm64")],
    )
    def test_missing(self, world: World, architecture: str, command: str) -> None:
        what, where, why, remedy = self.problem(world, architecture)
        assert what == "there is no lock for this profile"
        assert where == str(world.sample.project.lock("small", architecture))
        assert why == "it was never made"
        assert remedy == f"run `{command}`"

    def test_packages_changed(self, world: World) -> None:
        world.lock()
        world.sample.swap("profiles/small.yaml", "[less, nano]", "[less]")
        what, where, why, remedy = self.problem(world)
        assert (what, where) == ("the lock is stale", str(world.path))
        assert "packages" in why
        assert remedy == "run `lichen lock small` and review the diff"
        world.lock()
        check_lock(world.bench(), "small")

    def test_overlay_file_changed(self, world: World) -> None:
        world.lock()
        world.sample.write("overlays/core/tree/etc/motd", "Hello\n")
        what, where, why, remedy = self.problem(world)
        assert (what, where) == ("the lock is stale", str(world.path))
        assert "no version moves" in why
        assert remedy == "run `lichen lock small` (no network needed)"

    @pytest.mark.parametrize(
        ("damage", "what"),
        [
            ('{"format": 1, ', "the lock cannot be read"),
            ("{}", "the lock is damaged"),
            ("\udcff", "the lock cannot be read"),
        ],
    )
    def test_damaged(self, world: World, damage: str, what: str) -> None:
        first = world.lock().lock
        world.path.write_bytes(damage.encode(errors="surrogateescape"))
        told, where, why, remedy = self.problem(world)
        assert told == what
        assert where.startswith(str(world.path))
        assert why
        assert remedy == "run `lichen lock small`"
        outcome = world.lock()
        assert (outcome.changed, outcome.lock) == (True, first)

    def test_hash_changed_by_hand(self, world: World) -> None:
        made = world.lock().lock
        world.path.write_text(world.path.read_text().replace(made.debs[0].sha256, "0" * 63, 1))
        told, where, why, _ = self.problem(world)
        assert told == "the lock is damaged"
        assert where == f"{world.path}: debs.0.sha256"
        assert "pattern" in why


def test_packages_of_the_test_are_the_same_each_time() -> None:
    package = Package("tool", "1:2.0-1", depends="other")
    first = deb(package)
    deb.cache_clear()
    assert deb(package) == first
