"""Each known cause is planted, by what really brings it about where a test can have that, and named."""

from __future__ import annotations

import gzip
import io
import os
import py_compile
import tarfile
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from builder.foundation.toolbox import Toolbox
from builder.steps.compare import CAUSES, explain
from builder.steps.compare.clue import Clue
from builder.steps.compare.marks import consequence
from tests.compare.conftest import Compare, Result, told
from tests.compare.world import EPOCH, FILES, MEMBERS, ImageMaker, World, newc, portable, sections, settle

LATER = EPOCH + 20 * 86400
Conditions = tuple[Mapping[str, str], Mapping[str, str]]
CLOCKS: Conditions = ({"clock": str(EPOCH)}, {"clock": str(LATER)})
PATH = "etc/planted"


@dataclass(frozen=True)
class Plant:
    """Two contents of one file of the root, why they differ, and what is known of both builds."""

    name: str
    cause: str | None
    first: bytes
    second: bytes
    conditions: Conditions = field(default=({}, {}))
    path: str = PATH


def dated(form: str, zone: str = "UTC", moments: tuple[int, int] = (EPOCH, LATER)) -> tuple[bytes, bytes]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = zone
    time.tzset()
    try:
        first, second = (time.strftime(form, time.localtime(moment)).encode() for moment in moments)
        return first, second
    finally:
        os.environ.pop("TZ") if before is None else os.environ.update(TZ=before)
        time.tzset()


def archive(names: list[str]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name in names:
            item = tarfile.TarInfo(name)
            item.size = len(name)
            tar.addfile(item, io.BytesIO(name.encode()))
    return stream.getvalue()


def zipped(moment: int) -> bytes:
    return gzip.compress(b"the same content\n", mtime=moment)


LINES = b"alpha\nbeta\ngamma\ndelta\n"
SHUFFLED = b"gamma\nalpha\ndelta\nbeta\n"
HOSTS: Conditions = ({"hostname": "builder-one"}, {"hostname": "reproducer"})
LOCALES: Conditions = ({"locale": "de_DE.UTF-8"}, {"locale": "tr_TR.UTF-8"})
ZONES: Conditions = ({"timezone": "Asia/Tokyo"}, {"timezone": "Pacific/Chatham"})
FOLDERS: Conditions = ({"path": "/srv/a"}, {"path": "/opt/other"})
PROCESSORS: Conditions = ({"cpus": "4"}, {"cpus": "16"})
LOG = b"CC one.o\nCC two.o\nLD all\nCC three.o\n", b"CC two.o\nCC one.o\nCC three.o\nLD all\n"
SALTS = b"root:$y$j9T$abcdefghijk$LMNOPQ1:1::\n", b"root:$y$j9T$zyxwvutsrqp$ONMLKJ2:1::\n"
DAYS = b"root:*:20254:0:99999:7:::\n", b"root:*:20274:0:99999:7:::\n"
LISTS = b'{"files": ["a", "b", "c"]}\n', b'{"files": ["c", "a", "b"]}\n'
UUIDS = f"machine={uuid.uuid4()}\n".encode(), f"machine={uuid.uuid4()}\n".encode()
DIGESTS = f"id {os.urandom(16).hex()}\n".encode(), f"id {os.urandom(16).hex()}\n".encode()
SEEDS = os.urandom(512), os.urandom(512)
NANOSECONDS = b"HEAD" + (EPOCH * 10**9).to_bytes(8, "big"), b"HEAD" + (LATER * 10**9).to_bytes(8, "big")
FAR = b"\0\1HEAD\x81\2\3\4", b"\0\1HEAD\x89\x08\7\6"
USERS: Conditions = ({"user": "alice", "home": "/home/alice"}, {"user": "student", "home": "/nonexistent/x"})
PLANTS = [
    Plant("date in words", "clock", *dated("built on %a %b %d %H:%M:%S UTC %Y\n")),
    Plant("date of ISO 8601", "clock", *dated('{"made": "%Y-%m-%dT%H:%M:%SZ", "size": 12}\n')),
    Plant("date of a mail", "clock", *dated("Date: %a, %d %b %Y %H:%M:%S +0000\n")),
    Plant("date in digits", "clock", *dated("version 1.0+%Y%m%d\n")),
    Plant("seconds since 1970", "clock", *dated("stamp=%s\n")),
    Plant("days in the shadow file", "clock", *DAYS, path="etc/shadow"),
    Plant("gzip header", "clock", zipped(EPOCH), zipped(LATER)),
    Plant("gzip header, clocks known", "clock", zipped(EPOCH + 5), zipped(LATER + 9), CLOCKS),
    Plant("nanoseconds in eight bytes", "clock", *NANOSECONDS, CLOCKS),
    Plant("four bytes far from both clocks", None, *FAR, CLOCKS),
    Plant("UUID", "random", *UUIDS),
    Plant("digest in hexadecimal", "random", *DIGESTS),
    Plant("bytes of a seed", "random", *SEEDS),
    Plant("salt of a password", "random", *SALTS),
    Plant("name of a temporary file", "random", b"see /opt/tmp.Ab3dE6gH\n", b"see /opt/tmp.Zz9xW1vU\n"),
    Plant("lines in another order", "readdir order", LINES, SHUFFLED),
    Plant("words in another order", "readdir order", b"HASH = a.o b.o c.o\n", b"HASH = c.o a.o b.o\n"),
    Plant("list of JSON in another order", "readdir order", *LISTS),
    Plant("archive in another order", "readdir order", archive(["a", "b", "c"]), archive(["c", "a", "b"])),
    Plant("host name, proved", "host name", b"made by builder-one, fast\n", b"made by reproducer, fast\n", HOSTS),
    Plant("host name among binary data", "host name", b"\0\1\2builder-one\0\3", b"\0\1\2reproducer\0\3", HOSTS),
    Plant("comment of a key", "host name", b"ssh-ed25519 AAAA root@alpha\n", b"ssh-ed25519 AAAA root@omega\n"),
    Plant("locale, proved", "locale", b"in de_DE.UTF-8\n", b"in tr_TR.UTF-8\n", LOCALES),
    Plant("variable of the locale", "locale", b"LANG=C.UTF-8\nLC_TIME=C\n", b"LANG=fr_FR.UTF-8\nLC_TIME=fr_FR\n"),
    Plant("sorted by letters", "locale", b"Beta\nalpha\ngamma\n", b"alpha\nBeta\ngamma\n"),
    Plant("decimal comma", "locale", b"took 1.5 of 2.25\n", b"took 1,5 of 2,25\n"),
    Plant("zone, proved", "time zone", b"in Asia/Tokyo\n", b"in Pacific/Chatham\n", ZONES),
    Plant(
        "the same moment in two zones",
        "time zone",
        dated("at %Y-%m-%d %H:%M:%S %z\n", "UTC")[0],
        dated("at %Y-%m-%d %H:%M:%S %z\n", "<+09>-9")[0],
    ),
    Plant("folder, proved", "build path", b"from /srv/a/x.c\n", b"from /opt/other/x.c\n", FOLDERS),
    Plant("folder of a build", "build path", b"cd /tmp/build-one/src\n", b"cd /var/tmp/elsewhere/src\n"),
    Plant("option for jobs", "parallelism", b"MAKEFLAGS=-j4\n", b"MAKEFLAGS=-j16\n"),
    Plant("number of processors", "parallelism", b"split in 4 parts\n", b"split in 16 parts\n", PROCESSORS),
    Plant("lines of a log", "parallelism", *LOG),
    Plant("user, proved", "user", b"by alice\n", b"by student\n", USERS),
    Plant("home, proved", "user", b"cache: /home/alice/.cache\n", b"cache: /nonexistent/x/.cache\n", USERS),
    Plant("name of who built", "user", b"Built by: alice\n", b"Built by: student\n"),
    Plant("nothing known", None, b"the colour is red\n", b"the colour is blue\n"),
]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, toolbox: Toolbox) -> tuple[Path, Path]:
    """Two images with all plants, each in a folder of its own."""
    make = ImageMaker(World(tmp_path_factory.mktemp("planted"), toolbox))
    first = {f"{number}/{plant.path}": plant.first for number, plant in enumerate(PLANTS)}
    second = {f"{number}/{plant.path}": plant.second for number, plant in enumerate(PLANTS)}
    return make("one", first), make("two", second)


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_planted_in_a_file(plant: Plant, planted: tuple[Path, Path], compare: Compare) -> None:
    result = compare(*planted, conditions=plant.conditions)
    path = f"/{PLANTS.index(plant)}/{plant.path}"
    found = [item for item in result.of("image.raw", "root") if item.path == path]
    assert [item.cause for item in found] == [plant.cause], told(result)
    assert found[0].what.startswith("content")
    assert found[0].evidence


@pytest.fixture
def pair(make: ImageMaker, compare: Compare) -> Callable[[Plant], Result]:
    def run(plant: Plant) -> Result:
        first, second = ({**FILES, plant.path: content} for content in (plant.first, plant.second))
        return compare(make("one", first), make("two", second), conditions=plant.conditions)

    return run


def causes(result: Result, part: str = "root") -> dict[tuple[str, str], str | None]:
    return {(item.path, item.what): item.cause for item in result.of("image.raw", part)}


def test_inode_numbers_in_the_cache_of_ldconfig(make: ImageMaker, compare: Compare) -> None:
    """A real one: made by ldconfig for libraries that lie in other inodes, as after any second unpacking."""
    if os.geteuid() != 0:
        pytest.skip("ldconfig changes its root")
    library = next((make.world.toolbox.tree / "usr/lib").glob("*-linux-gnu*/libz.so.1")).read_bytes()
    images = []
    for name in ("one", "two"):
        files = {"usr/lib/libz.so.1": library, "var/cache/ldconfig/.keep": b"", "etc/ld.so.conf": b"/usr/lib\n"}
        tree = make.world.tree(f"{name}.made", files)
        make.world.shell(f"ldconfig -r '{tree}' -X")
        settle(tree)
        cache = (tree / "var/cache/ldconfig/aux-cache").read_bytes()
        images.append(make(name, {**FILES, "var/cache/ldconfig/aux-cache": cache}))
    result = compare(*images)
    assert causes(result) == {("/var/cache/ldconfig/aux-cache", "content"): "inode numbers"}


def test_umask(make: ImageMaker, compare: Compare) -> None:
    images = []
    for name, mask in (("one", 0o022), ("two", 0o077)):

        def root(target: str, tree: Path, mask: int = mask) -> Path:
            before = os.umask(mask)
            try:
                (tree / "etc/made").write_bytes(b"the same")
                (tree / "etc/folder").mkdir()
            finally:
                os.umask(before)
            for path in ("etc/made", "etc/folder", "etc"):
                os.utime(tree / path, (EPOCH, EPOCH))
            return make.world.ext4(target, tree)

        images.append(make(name, root=root))
    result = compare(*images)
    assert causes(result) == {("/etc/made", "mode"): "umask", ("/etc/folder", "mode"): "umask"}


def test_order_in_which_mke2fs_and_mcopy_get_files(make: ImageMaker, compare: Compare) -> None:
    tree = make.world.tree("more", {"a": b"1", "b": b"2"})
    writes = [f"write {tree}/{name} etc/{name}" for name in "ab"]

    def boot(name: str, uki: Path, step: int) -> Path:
        return make.world.fat(name, [("EFI/BOOT/A.EFI", uki), ("EFI/BOOT/B.EFI", tree / "b")][::step])

    images = [
        make(
            name,
            root=partial(make.world.ext4, commands=writes[::step]),
            esp=partial(boot, step=step),
        )
        for name, step in (("one", 1), ("two", -1))
    ]
    result = compare(*images)
    assert causes(result, "root") == {("", "order in which files were written"): "readdir order"}
    assert causes(result, "esp") == {("", "order in which files were written"): "readdir order"}
    assert "/EFI/BOOT/A.EFI | /EFI/BOOT/B.EFI" in result.of("image.raw", "esp")[0].evidence


def test_clock_in_the_file_systems(make: ImageMaker, compare: Compare) -> None:
    images = [
        make(
            name,
            root=partial(make.world.ext4, epoch=epoch),
            uki=portable(sections(), stamp=epoch),
        )
        for name, epoch in (("one", EPOCH), ("two", LATER))
    ]
    result = compare(*images)
    found = causes(result)
    assert found["", "file system's creation time"] == "clock"
    assert set(found.values()) == {"clock"}
    assert [(item.what, item.cause) for item in result.of("image.efi")] == [("header's time stamp", "clock")]


def test_time_zone_in_the_esp(make: ImageMaker, compare: Compare) -> None:
    """mcopy tells FAT the local time."""
    images = [
        make(name, esp=partial(make.world.esp, timezone=zone)) for name, zone in (("one", "UTC"), ("two", "JST-9"))
    ]
    (found,) = compare(*images).of("image.raw", "esp")
    assert found.path == "/EFI/BOOT/BOOTX64.EFI"
    assert found.cause == "time zone", found
    assert "modified (local time): 2025-06-15 15:06:40 | 2025-06-16 00:06:40" in found.evidence


def test_random_serial_number_of_the_esp(make: ImageMaker, compare: Compare) -> None:
    other = make("two", esp=partial(make.world.esp, serial="deadbeef"))
    result = compare(make("one"), other)
    assert causes(result, "esp") == {("", "file system's volume serial number"): "random"}
    assert result.of("image.raw", "esp")[0].evidence == "12345678 | deadbeef"


def test_build_path_in_compiled_python(pair: Callable[[Plant], Result], tmp_path: Path) -> None:
    contents = []
    for folder in (tmp_path / "first", tmp_path / "a longer second"):
        folder.mkdir()
        (folder / "module.py").write_text("def works():\n    return 1\n")
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        made = py_compile.compile(str(folder / "module.py"), invalidation_mode=mode)
        assert made
        contents.append(Path(made).read_bytes())
    known: Conditions = ({"path": str(tmp_path / "first")}, {"path": str(tmp_path / "a longer second")})
    plant = Plant("pyc", "build path", contents[0], contents[1], known, "usr/lib/module.pyc")
    assert [item.cause for item in pair(plant).of("image.raw", "root")] == ["build path"]


def test_clock_in_compiled_python(pair: Callable[[Plant], Result], tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("value = 1\n")
    contents = []
    for moment in (EPOCH, LATER):
        os.utime(source, (moment, moment))
        contents.append(Path(str(py_compile.compile(str(source)))).read_bytes())
    plant = Plant("pyc", "clock", contents[0], contents[1], CLOCKS, "usr/lib/module.pyc")
    assert [item.cause for item in pair(plant).of("image.raw", "root")] == ["clock"]


def test_host_name_in_a_file_name(make: ImageMaker, compare: Compare) -> None:
    first = make("one", {**FILES, "var/lib/builder-one.state": b"x"})
    second = make("two", {**FILES, "var/lib/reproducer.state": b"x"})
    found = causes(compare(first, second, conditions=HOSTS))
    assert found["/var/lib/builder-one.state", "only in the first"] == "host name"
    assert found["/var/lib/reproducer.state", "only in the second"] == "host name"


def test_causes_in_the_initrd(make: ImageMaker, compare: Compare) -> None:
    first = make("one", uki=portable(sections(initrd=newc(MEMBERS))))
    second = make("two", uki=portable(sections(initrd=newc(MEMBERS[::-1], modified=LATER))))
    result = compare(first, second)
    found = {item.what: item.cause for item in result.of("image.efi", ".initrd")}
    assert found == {"times: modified": "clock", "order in which files were written": "readdir order"}


def test_number_of_a_document_follows_from_the_image() -> None:
    serials = ("0007f2d3-b6ec-53a4-b4b7-876da8e38594", "01d4ff3a-dac3-543f-b958-01bfd54a7365")
    images = ("a" * 64, "b" * 64)
    first, second = (
        f'{{"content": "{image}", "serialNumber": "urn:uuid:{serial}"}}'.encode()
        for image, serial in zip(images, serials, strict=True)
    )
    digests = ({images[0]: "image.raw"}, {images[1]: "image.raw"})
    assert consequence(Clue("content", "sbom.cdx.json", first, second, digests=digests))
    # With nothing else that differs, the number is random.
    assert not consequence(Clue("content", "sbom.cdx.json", first, first.replace(b"0007", b"1117"), digests=digests))


def test_consequences_are_told_from_causes(pair: Callable[[Plant], Result]) -> None:
    result = pair(Plant("", None, b"red\n", b"blue and longer\n"))
    assert [item.cause for item in (*result.of("manifest.json"), *result.of("SHA256SUMS"))] == ["consequence"] * 2


def test_contents_document_follows_from_the_files(make: ImageMaker, compare: Compare) -> None:
    images = [make("one"), make("two", {**FILES, "etc/os-release": b"ID=other\n"})]
    for image, mode in zip(images, (420, 384), strict=True):
        line = f'{{"mode": {mode}, "path": "/etc/os-release"}}'
        (image / "contents.jsonl").write_text(f'{{"path": "/"}}\n{line}\n')
    (found,) = compare(*images).of("contents.jsonl")
    assert found.cause == "consequence"


def test_every_cause_of_the_table_is_planted() -> None:
    named = {plant.cause for plant in PLANTS} | {"umask", "inode numbers", "consequence"}
    assert {cause.name for cause in CAUSES} == named - {None}
    assert len({cause.name for cause in CAUSES}) == len(CAUSES)
    for cause in CAUSES:
        assert explain(cause.name) is cause
        assert cause.explanation
        assert cause.remedy
