"""Two locks: what moved, and what the changelogs and kernels of the store's packages tell about it."""

from __future__ import annotations

from typing import Any

import pytest

from builder.data.comparison import Changed, Moved
from builder.data.lock import Lock
from builder.foundation.digest import digest_bytes
from tests.diff.desk import Desk, changelog, config, entry

EPOCH = {"archive": "debian", "suite": "trixie", "inrelease_sha256": "5" * 64}


def moved(desk: Desk, old: Lock, new: Lock) -> list[tuple[str, str, str]]:
    return [(item.kind, item.what, item.name) for item in desk.compare(old, new).moved]


def test_packages_wheels_and_tools_are_told_apart(desk: Desk) -> None:
    old = desk.lock(
        [desk.deb("nano"), desk.deb("gone"), desk.deb("mkosi", "27-1", uses=("mkosi",))],
        [desk.wheel("pages", "1.2"), desk.wheel("uv", "0.9", "tools")],
    )
    new = desk.lock(
        [desk.deb("nano", "2.0-1"), desk.deb("init", uses=("initrd",)), desk.deb("mkosi", "28-1", uses=("mkosi",))],
        [desk.wheel("pages", "1.3"), desk.wheel("uv", "0.10", "tools")],
    )
    comparison = desk.compare(old, new)
    assert set(comparison.moved) == {
        Moved(kind="removed", what="deb", name="gone", old="1.0-1", new=None),
        Moved(kind="added", what="deb", name="init", old=None, new="1.0-1"),
        Moved(kind="moved", what="deb", name="nano", old="1.0-1", new="2.0-1"),
        Moved(kind="moved", what="tool", name="mkosi", old="27-1", new="28-1"),
        Moved(kind="moved", what="wheel", name="pages", old="1.2", new="1.3"),
        Moved(kind="moved", what="tool", name="uv", old="0.9", new="0.10"),
    }
    assert (comparison.old.packages, comparison.new.packages) == (2, 2)
    assert (comparison.old.wheels, comparison.new.wheel_bytes) == (1, 1000)
    assert [told.source for told in comparison.news] == ["nano"]
    assert comparison.notes == ()
    assert not comparison.same


def test_same_lock(desk: Desk) -> None:
    lock = desk.lock([desk.deb("nano")])
    comparison = desk.compare(lock, lock)
    assert comparison.same
    assert comparison.notes == ()


def test_same_version_with_other_bytes(desk: Desk) -> None:
    old, new = desk.deb("nano"), desk.deb("nano", files={"etc/more": b"x"}, stored=False)
    comparison = desk.compare(desk.lock([old]), desk.lock([new]))
    assert comparison.moved == (Moved(kind="changed", what="deb", name="nano", old="1.0-1", new="1.0-1"),)
    assert comparison.news == ()
    # Of another architecture they always are.
    assert desk.compare(desk.lock([old]), desk.lock([new], architecture="arm64")).moved == ()


def test_what_else_a_lock_says(desk: Desk) -> None:
    model = {"name": "digits", "sha256": "6" * 64, "size": 7, "target": "/srv/digits"}
    vendor = {"name": "vendor", "fingerprint": "A" * 40, "key_sha256": "7" * 64}
    index = {**EPOCH, "date": "2026-02-01T00:00:00Z"}
    old = desk.lock(suites=[index], models=[model], repositories=[vendor])
    new = desk.lock(
        suites=[{**index, "date": "2026-02-09T00:00:00Z", "expired": True}],
        without=["trixie-updates"],
        repositories=[{**vendor, "fingerprint": "B" * 40, "key_sha256": "8" * 64}],
        recipe="8" * 64,
    )
    comparison = desk.compare(old, new)
    assert comparison.moved == (
        Moved(kind="removed", what="model", name="digits", old="6" * 12, new=None),
        Moved(kind="moved", what="repository", name="vendor", old="A" * 40, new="B" * 40),
    )
    facts = {item.name: (item.old, item.new) for item in comparison.facts}
    assert facts == {
        "lock": (old.digest[:12], new.digest[:12]),
        "recipe": ("1" * 12, "8" * 12),
        "suite debian trixie": ("2026-02-01T00:00:00Z", "2026-02-09T00:00:00Z, expired"),
        "without suite trixie-updates": (None, "yes"),
        "target of model digits": ("/srv/digits", None),
        "key file of repository vendor": ("7" * 12, "8" * 12),
    }


@pytest.mark.parametrize(("name", "value"), [("architecture", "arm64"), ("profile", "other")])
def test_sides_that_do_not_belong_together_are_compared_with_a_word(desk: Desk, name: str, value: str) -> None:
    said: dict[str, Any] = {name: value}
    comparison = desk.compare(desk.lock(), desk.lock(**said))
    (note,) = comparison.notes
    assert note.what == f"another {name}"
    assert note.why.startswith(f"{value} is compared with ")
    assert name in {item.name for item in comparison.facts}


class TestChangelogs:
    ENTRIES = (
        entry("tool", "3.0-1", "* New upstream release.", "  - Fixes CVE-2026-1234"),
        entry("tool", "2.0-1~deb13u1", "* A backport."),
        entry("tool", "1.0-2", "* Too old to tell."),
    )

    def news(self, desk: Desk, files: dict[str, bytes | str], old: str = "1.0-2", new: str = "3.0-1") -> Any:
        before, after = desk.lock([desk.deb("tool", old)]), desk.lock([desk.deb("tool", new, files)])
        (told,) = desk.compare(before, after).news
        return told

    @pytest.mark.parametrize("file", ["changelog.Debian.gz", "changelog.gz"])
    def test_entries_between_the_two_versions(self, desk: Desk, file: str) -> None:
        told = self.news(desk, {**changelog("tool", *self.ENTRIES, file=file)})
        assert (told.source, told.packages, told.old, told.new) == ("tool", ("tool",), "1.0-2", "3.0-1")
        assert told.lines == (
            "3.0-1",
            "  * New upstream release.",
            "    - Fixes CVE-2026-1234",
            "2.0-1~deb13u1",
            "  * A backport.",
        )
        assert (told.more, told.cves, told.older, told.absent) == (0, ("CVE-2026-1234",), False, "")

    def test_versions_are_compared_as_dpkg_does(self, desk: Desk) -> None:
        entries = (
            entry("tool", "1:10.0-1", "* Ten."),
            entry("tool", "1:9.0-1", "* Nine."),
            entry("tool", "99", "* X."),
        )
        told = self.news(desk, {**changelog("tool", *entries)}, "99", "1:10.0-1")
        assert told.lines == ("1:10.0-1", "  * Ten.", "1:9.0-1", "  * Nine.")

    def test_going_back_tells_what_is_lost(self, desk: Desk) -> None:
        newer = desk.lock([desk.deb("tool", "3.0-1", changelog("tool", *self.ENTRIES))])
        (told,) = desk.compare(newer, desk.lock([desk.deb("tool", "2.0-1~deb13u1")])).news
        assert told.older
        assert told.lines == ("3.0-1", "  * New upstream release.", "    - Fixes CVE-2026-1234")

    def test_long_ones_are_cut_and_name_every_cve(self, desk: Desk) -> None:
        lines = [f"* Fix CVE-2026-{number:04}" for number in range(30)]
        told = self.news(desk, {**changelog("tool", entry("tool", "3.0-1", *lines))})
        assert len(told.lines) == 12
        assert told.more == 31 - 12
        assert len(told.cves) == 30

    def test_rebuild_has_a_changelog_of_its_own(self, desk: Desk) -> None:
        files = {
            **changelog("tool", entry("tool", "1.0-2+b1", "* Rebuilt."), file="changelog.Debian.amd64.gz"),
            **changelog("tool", *self.ENTRIES[2:]),
            **changelog("tool", "no such thing\n", file="changelog.gz"),
        }
        told = self.news(desk, {**files}, "1.0-1", "1.0-2+b1")
        assert told.lines == ("1.0-2+b1", "  * Rebuilt.", "1.0-2", "  * Too old to tell.")

    def test_folder_of_another_package(self, desk: Desk) -> None:
        base = desk.deb("tool-base", "3.0-1", changelog("tool-base", *self.ENTRIES), source="tool")
        new = desk.deb("tool", "3.0-1", {"usr/share/doc/tool": "tool-base"})
        (told,) = desk.compare(desk.lock([desk.deb("tool", "2.0-1~deb13u1")]), desk.lock([base, new])).news
        assert told.lines[0] == "3.0-1"

    def test_one_source_is_told_once_and_by_whoever_has_it(self, desk: Desk) -> None:
        bare = [desk.deb("libtool", version, source="tool") for version in ("1.0-2", "3.0-1")]
        old, new = desk.deb("tool", "1.0-2"), desk.deb("tool", "3.0-1", changelog("tool", *self.ENTRIES))
        (told,) = desk.compare(desk.lock([bare[0], old]), desk.lock([bare[1], new])).news
        assert told.packages == ("libtool", "tool")
        assert told.lines[0] == "3.0-1"

    def test_vendors_need_no_pool(self, desk: Desk) -> None:
        flat = desk.deb("tool", "3.0-1").model_copy(update={"path": "tool.deb"})
        assert flat.source_package == "tool"
        assert desk.deb("libtool", source="tool").source_package == "tool"

    @pytest.mark.parametrize(
        ("files", "why"),
        [
            ({}, "the package has no changelog"),
            ({"usr/share/doc/tool": "elsewhere"}, "the package has no changelog"),
            (changelog("tool", "Well, what happened?\n"), "its changelog has no entry between the two versions"),
            (changelog("tool", *ENTRIES[2:]), "its changelog has no entry between the two versions"),
            ({"usr/share/doc/tool/changelog.gz": b"not packed"}, "the package cannot be read: Not a gzipped file"),
        ],
    )
    def test_none_to_tell(self, desk: Desk, files: dict[str, bytes | str], why: str) -> None:
        told = self.news(desk, files)
        assert told.absent.startswith(why)
        assert told.lines == ()

    def test_garbage_at_the_end_takes_nothing_away(self, desk: Desk) -> None:
        told = self.news(desk, {**changelog("tool", *self.ENTRIES, "Local stories:\nonce upon a time\n")})
        assert told.lines[0] == "3.0-1"

    def test_package_that_is_not_in_the_store(self, desk: Desk) -> None:
        old, new = desk.lock([desk.deb("tool", "1")]), desk.lock([desk.deb("tool", "2", stored=False)])
        (told,) = desk.compare(old, new).news
        assert told.absent == "tool 2 is not in the store: run `lichen fetch`"

    def test_what_is_no_package(self, desk: Desk) -> None:
        content = b"no package"
        odd = desk.deb("tool", "2").model_copy(update={"sha256": digest_bytes(content), "size": len(content)})
        file = desk.scratch / "odd"
        file.write_bytes(content)
        desk.store.insert(file, odd.sha256)
        (told,) = desk.compare(desk.lock([desk.deb("tool", "1")]), desk.lock([odd])).news
        assert told.absent.startswith("the package cannot be read: ")

    def test_package_that_was_changed_in_the_store(self, desk: Desk) -> None:
        new = desk.deb("tool", "2")
        path = desk.store.path(new.sha256)
        path.chmod(0o644)
        path.write_bytes(bytes(new.size))
        (told,) = desk.compare(desk.lock([desk.deb("tool", "1")]), desk.lock([new])).news
        assert told.absent == "tool 2 was changed in the store: run `lichen fetch`"

    def test_kept_texts_are_used_again(self, desk: Desk) -> None:
        old, new = desk.deb("tool", "1.0-2"), desk.deb("tool", "3.0-1", changelog("tool", *self.ENTRIES))
        first = desk.compare(desk.lock([old]), desk.lock([new]))
        # Of the same size, or it would not be there.
        path = desk.store.path(new.sha256)
        path.chmod(0o644)
        path.write_bytes(bytes(new.size))
        assert desk.compare(desk.lock([old]), desk.lock([new])).news == first.news


class TestKernel:
    def test_options(self, desk: Desk) -> None:
        before = "# a word\nCONFIG_SMP=y\nCONFIG_HZ=250\nCONFIG_OLD=m\n# CONFIG_SCHED is not set\n"
        after = 'CONFIG_SMP=y\nCONFIG_HZ=1000\nCONFIG_SCHED=y\nCONFIG_NAME="a b"\n'
        old = desk.lock(
            [desk.deb("linux-image-6.1", files=config("6.1", before)), desk.deb("linux-image-amd64", "6.1")]
        )
        new = desk.lock([desk.deb("linux-image-6.2", files=config("6.2", after)), desk.deb("linux-image-amd64", "6.2")])
        assert desk.compare(old, new).kernel_options == (
            Changed(name="CONFIG_HZ", old="250", new="1000"),
            Changed(name="CONFIG_NAME", old=None, new='"a b"'),
            Changed(name="CONFIG_OLD", old="m", new=None),
            Changed(name="CONFIG_SCHED", old="n", new="y"),
        )

    def test_same_kernel_is_not_opened(self, desk: Desk) -> None:
        kernel = desk.deb("linux-image-6.1", stored=False)
        comparison = desk.compare(desk.lock([kernel]), desk.lock([kernel, desk.deb("nano")]))
        assert (comparison.kernel_options, comparison.notes) == ((), ())

    @pytest.mark.parametrize(
        ("stored", "files", "why"),
        [
            (False, {}, "linux-image-6.2 1.0-1 is not in the store: run `lichen fetch`"),
            (True, {}, "no package of the kernel has its configuration"),
        ],
    )
    def test_not_compared(self, desk: Desk, stored: bool, files: dict[str, bytes], why: str) -> None:
        old = desk.lock([desk.deb("linux-image-6.1", files=config("6.1", "CONFIG_SMP=y\n"))])
        comparison = desk.compare(old, desk.lock([desk.deb("linux-image-6.2", files=files, stored=stored)]))
        (note,) = comparison.notes
        assert note.what == "kernel options are not compared"
        assert note.where.endswith("new.json")
        assert note.why == why
        assert comparison.kernel_options == ()

    def test_kernel_on_one_side_only(self, desk: Desk) -> None:
        new = desk.lock([desk.deb("linux-image-6.2", files=config("6.2", "CONFIG_SMP=y\n"))])
        (note,) = desk.compare(desk.lock(), new).notes
        assert note.why == "there is no kernel"
