"""Two images: units, set-user-ID files, ports and sizes, from their lists of files and from the tests' report."""

from __future__ import annotations

import pytest

from builder.data.comparison import Changed, Comparison, Moved, Resized
from builder.data.contents import FileEntry
from builder.data.duplicates import Duplicate
from builder.data.lock import LockedModel
from builder.data.manifest import Artefact
from builder.foundation.errors import InputError
from builder.steps.surface import units
from builder.verbs.diff import diff
from tests.diff.desk import Desk, file, link

SYSTEM = "/usr/lib/systemd/system"
ETC = "/etc/systemd/system"
Entries = list[FileEntry]


def compare(desk: Desk, before: Entries, after: Entries) -> Comparison:
    manifest = desk.manifest(desk.lock([desk.deb("nano")]))
    old, new = desk.image("old", manifest, before, ports=()), desk.image("new", manifest, after, ports=())
    comparison = diff(desk.bench, old, new)
    assert comparison.notes == ()
    return comparison


def test_states_of_units() -> None:
    entries = [
        link(f"{ETC}/multi-user.target.wants/by-hand.service", f"{SYSTEM}/by-hand.service"),
        link(f"{ETC}/default.target.requires/needed.mount", f"{SYSTEM}/needed.mount"),
        link(f"{ETC}/getty.target.wants/getty@tty1.service", f"{SYSTEM}/getty@.service"),
        link(f"{ETC}/dbus-org.example.service", f"{SYSTEM}/aliased.service"),
        link(f"{ETC}/never.service", "/dev/null"),
        link(f"{ETC}/sockets.target.wants/never.service", f"{SYSTEM}/never.service"),
        link(f"{SYSTEM}/sysinit.target.wants/by-package.service", "../by-package.service"),
        link(f"{SYSTEM}/vendor-alias.service", "idle.service"),
        link("/etc/systemd/user/default.target.wants/agent.socket", "/usr/lib/systemd/user/agent.socket"),
        *(file(f"{SYSTEM}/{name}.service") for name in ("by-hand", "getty@", "aliased", "never", "by-package", "idle")),
        file("/usr/lib/systemd/user/agent.socket"),
        file(f"{SYSTEM}/idle.service.d/10-more.conf"),
        file("/etc/systemd/journald.conf.d/20-lichen.conf"),
        file("/usr/share/doc/x/system/sample.service"),
    ]
    assert units(entries) == {
        "by-hand.service": "enabled",
        "needed.mount": "enabled",
        "getty@tty1.service": "enabled",
        "getty@.service": "disabled",
        "aliased.service": "enabled",
        "never.service": "masked",
        "by-package.service": "enabled",
        "idle.service": "disabled",
        "user/agent.socket": "enabled",
    }


def test_services(desk: Desk) -> None:
    def wanted(name: str) -> FileEntry:
        return link(f"{ETC}/multi-user.target.wants/{name}.service", f"{SYSTEM}/{name}.service")

    common = [file(f"{SYSTEM}/{name}.service") for name in ("on", "off", "stays", "hidden")]
    before = [*common, wanted("off"), wanted("stays"), wanted("gone"), file(f"{SYSTEM}/quiet.service")]
    after = [*common, wanted("on"), wanted("stays"), link(f"{ETC}/hidden.service", "/dev/null")]
    assert compare(desk, before, after).services == (
        Changed(name="gone.service", old="enabled", new=None),
        Changed(name="hidden.service", old="disabled", new="masked"),
        Changed(name="off.service", old="enabled", new="disabled"),
        Changed(name="on.service", old="disabled", new="enabled"),
    )


def test_files_that_lend_rights(desk: Desk) -> None:
    before = [
        file("/usr/bin/sudo", mode=0o4755, owner="deb:sudo"),
        file("/usr/bin/wall", mode=0o2755, owner="deb:bsdutils"),
        file("/usr/bin/same", mode=0o4755, content="one"),
    ]
    after = [
        file("/usr/bin/sudo", mode=0o755, owner="deb:sudo"),
        file("/usr/bin/wall", mode=0o6755, owner="deb:bsdutils"),
        file("/usr/bin/same", mode=0o4755, content="two"),
        file("/opt/door", mode=0o4711, owner="overlay:web"),
        FileEntry(path="/var/mail", kind="folder", mode=0o2775, uid=0, gid=8),
    ]
    assert compare(desk, before, after).privileged == (
        Changed(name="/opt/door", old=None, new="4711 0:0 overlay:web"),
        Changed(name="/usr/bin/sudo", old="4755 0:0 deb:sudo", new=None),
        Changed(name="/usr/bin/wall", old="2755 0:0 deb:bsdutils", new="6755 0:0 deb:bsdutils"),
    )


def test_sizes_are_told_by_owner_and_what_moved_most_comes_first(desk: Desk) -> None:
    before = [file("/a", 100, "deb:a"), file("/b", 50, "deb:b"), file("/c", 7, "deb:c"), file("/d", 1, "deb:d")]
    after = [file("/a", 90, "deb:a"), file("/b", 25, "deb:b"), file("/b2", 25, "deb:b"), file("/e", 300, "wheel:e")]
    comparison = compare(desk, before, after)
    assert comparison.sizes == (
        Resized(owner="wheel:e", old=0, new=300),
        Resized(owner="deb:a", old=100, new=90),
        Resized(owner="deb:c", old=7, new=0),
        Resized(owner="deb:d", old=1, new=0),
    )
    assert (comparison.old.file_bytes, comparison.new.file_bytes) == (158, 440)


def test_only_new_duplicates_are_told(desk: Desk) -> None:
    known = [file("/x/a", 2 << 20, "deb:a", content="a"), file("/y/a", 2 << 20, "deb:b", content="a")]
    more = [file("/x/b", 3 << 20, "deb:a", content="b"), file("/y/b", 3 << 20, "wheel:b", content="b")]
    assert compare(desk, known, [*known, *more]).duplicates == (
        Duplicate(name="b", identical=True, owners=("deb:a", "wheel:b"), paths=("/x/b", "/y/b"), saved=3 << 20),
    )


def test_ports(desk: Desk) -> None:
    manifest = desk.manifest(desk.lock())
    old = desk.image("old", manifest, [], [("tcp", "0.0.0.0", 22, "sshd"), ("tcp", "::", 80, "nginx")])
    new = desk.image("new", manifest, [], [("tcp", "0.0.0.0", 22, "sshd"), ("udp", "::", 80, "")])
    assert diff(desk.bench, old, new).ports == (
        Changed(name="tcp :::80", old="nginx", new=None),
        Changed(name="udp :::80", old=None, new="the kernel"),
    )


def test_what_is_not_there_is_said(desk: Desk) -> None:
    manifest = desk.manifest(desk.lock())
    comparison = diff(desk.bench, desk.image("old", manifest, []), desk.image("new", manifest, ports=[]))
    assert [(note.what, note.where.rpartition("/")[2], note.why) for note in comparison.notes] == [
        ("open ports are not compared", "old", "no test of it wrote them down: run `lichen test`"),
        (
            "services, set-user-ID files and sizes are not compared",
            "new",
            "there is no contents.jsonl: build the image anew",
        ),
    ]
    assert comparison.same


def test_what_neither_has_is_said_once(desk: Desk) -> None:
    manifest = desk.manifest(desk.lock())
    (note,) = diff(desk.bench, desk.image("old", manifest, []), desk.image("new", manifest, [])).notes
    assert note.what == "open ports are not compared"
    assert [place.rpartition("/")[2] for place in note.where.split(", ")] == ["old", "new"]


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("out/new/contents.jsonl", "the image's list of files cannot be read"),
        ("out/new.test/artifacts/ports.json", "the list of open ports cannot be read"),
        ("out/new/manifest.json", "this is neither a lock nor a manifest"),
    ],
)
@pytest.mark.parametrize("text", ['{"path": "/a"', "\udcff", "5"])
def test_damaged(desk: Desk, path: str, what: str, text: str) -> None:
    manifest = desk.manifest(desk.lock())
    old, new = (desk.image(name, manifest, [file("/a")], ports=[]) for name in ("old", "new"))
    desk.sample.write(path, text.encode(errors="surrogateescape"))
    with pytest.raises(InputError) as caught:
        diff(desk.bench, old, new)
    (problem,) = caught.value.problems
    assert problem.what in (what, "a file cannot be read")
    assert path in problem.where
    assert problem.why
    assert problem.remedy


def test_manifests(desk: Desk) -> None:
    lock = desk.lock([desk.deb("nano"), desk.deb("udev", uses=("initrd",))], [desk.wheel("pages", "1.2")])
    old = desk.manifest(lock, tools={"mkosi": "27-1", "zstd": "1"})
    raw = {"image.raw": Artefact(size=6, sha256="9" * 64)}
    new = desk.manifest(
        desk.lock([desk.deb("nano", "2")]), tools={"mkosi": "28-1"}, hostname="tall", artefacts=raw, options={}
    )
    comparison = desk.compare(old, new)
    assert comparison.moved == (
        Moved(kind="moved", what="deb", name="nano", old="1.0-1", new="2"),
        Moved(kind="removed", what="deb", name="udev", old="1.0-1", new=None),
        Moved(kind="removed", what="wheel", name="pages", old="1.2", new=None),
        Moved(kind="moved", what="tool", name="mkosi", old="27-1", new="28-1"),
        Moved(kind="removed", what="tool", name="zstd", old="1", new=None),
    )
    facts = {item.name: (item.old, item.new) for item in comparison.facts}
    assert set(facts) == {"lock", "hostname", "artefact image.raw", "option core.level"}
    assert facts["artefact image.raw"] == ("444444444444 5 bytes", "999999999999 6 bytes")
    assert {note.why for note in comparison.notes} == {"there is no contents.jsonl: name the image folder"}


def test_lock_and_the_image_made_from_it(desk: Desk) -> None:
    tools = [desk.deb("mkosi", "27-1", uses=("mkosi",)), desk.deb("mtools", uses=("tools",))]
    lock = desk.lock([desk.deb("nano"), *tools], [desk.wheel("pages", "1.2"), desk.wheel("uv", "1", "tools")])
    lock = lock.model_copy(update={"models": (LockedModel(name="m", sha256="6" * 64, size=7, target="/m"),)})
    inside = desk.lock(lock.debs[:1], lock.wheels[:1])
    manifest = desk.manifest(inside, lock=lock.digest, tools={"mkosi": "27-1", "lichen": "0.1.0"})
    assert desk.compare(lock, manifest).same
    (item,) = desk.compare(lock, manifest.model_copy(update={"tools": {"mkosi": "28-1"}})).moved
    assert item == Moved(kind="moved", what="tool", name="mkosi", old="27-1", new="28-1")
