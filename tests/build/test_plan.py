"""Keys of components: stable, and moved by exactly what decides their bytes. Pure: nothing is built."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from builder.data.history import Target
from builder.data.lock import Deb, Lock, Use, Wheel
from builder.data.manifest import Artefact, Manifest
from builder.data.model import size_in_bytes
from builder.data.plan import MovedInput, Plan
from builder.data.variation import USUAL, Circumstances
from builder.foundation.digest import digest_bytes
from builder.foundation.schedule import Limits, Task
from builder.steps.components import ComponentCache
from builder.steps.profiles import load_buildable
from builder.verbs.assembly import Assembly
from builder.verbs.plan import DOCUMENTS, image_components, plan_image
from tests.profiles.sample import Sample

EVERYTHING = {"mkosi", "tools", "base", "initrd", "python", "image"}


def deb(name: str, *uses: Use, content: str = "0") -> Deb:
    digest = (content * 64)[:64]
    path = f"pool/{name}.deb"
    return Deb(
        name=name, version="1", architecture="amd64", archive="debian", path=path, size=1, sha256=digest, uses=uses
    )


def wheel(content: str = "0") -> Wheel:
    return Wheel(name="torch", version="1", filename="torch-1.whl", size=1, sha256=content * 64, uses=("image",))


DEBS = (
    deb("bash", "image", "initrd", "tools", content="1"),
    deb("mkosi", "mkosi", content="2"),
    deb("nano", "image", content="3"),
    deb("qemu", "tools", content="4"),
    deb("udev", "initrd", content="5"),
)
LOCK = Lock(
    profile="small",
    architecture="amd64",
    recipe="0" * 64,
    resolution="0" * 64,
    source_date_epoch=1_700_000_000,
    suites=(),
    debs=DEBS,
    wheels=(wheel(),),
)


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    return Sample(tmp_path / "project")


def keys(sample: Sample, lock: Lock = LOCK) -> dict[str, str]:
    return {item.name: item.key for item in image_components(load_buildable(sample.project, "small"), lock)}


def moved(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


def with_debs(changed: Deb) -> Lock:
    return LOCK.model_copy(update={"debs": tuple(changed if item.name == changed.name else item for item in DEBS)})


def test_keys_are_stable(sample: Sample, tmp_path: Path) -> None:
    assert keys(sample) == keys(sample)
    assert keys(sample) == keys(Sample(tmp_path / "elsewhere"))
    assert [*keys(sample)] == ["mkosi", "tools", "base", "initrd", "python", "image"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nano", {"base", "image"}),
        ("udev", {"initrd", "image"}),
        ("bash", EVERYTHING - {"mkosi"}),
        ("qemu", EVERYTHING - {"mkosi"}),
        ("mkosi", EVERYTHING),
    ],
)
def test_new_version_of_a_package(sample: Sample, name: str, expected: set[str]) -> None:
    (old,) = (item for item in DEBS if item.name == name)
    new = old.model_copy(update={"version": "2", "sha256": "f" * 64})
    assert moved(keys(sample), keys(sample, with_debs(new))) == expected


def test_where_a_package_lies_is_not_an_input(sample: Sample) -> None:
    (old,) = (item for item in DEBS if item.name == "nano")
    new = old.model_copy(update={"path": "pool/elsewhere.deb", "archive": "debian-security"})
    assert moved(keys(sample), keys(sample, with_debs(new))) == set()


def test_new_wheel(sample: Sample) -> None:
    assert moved(keys(sample), keys(sample, LOCK.model_copy(update={"wheels": (wheel("f"),)}))) == {"python", "image"}


def test_no_wheels(sample: Sample) -> None:
    assert moved(keys(sample), keys(sample, LOCK.model_copy(update={"wheels": ()}))) == {"python", "image"}


def test_epoch(sample: Sample) -> None:
    later = LOCK.model_copy(update={"source_date_epoch": LOCK.source_date_epoch + 1})
    assert moved(keys(sample), keys(sample, later)) == EVERYTHING - {"mkosi"}


def test_digests_of_recipe_and_resolution_are_no_inputs(sample: Sample) -> None:
    stamped = LOCK.model_copy(update={"recipe": "f" * 64, "resolution": "f" * 64})
    assert moved(keys(sample), keys(sample, stamped)) == set()


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("profiles/small.yaml", "title: Hello", "title: Welcome", {"image"}),
        ("profiles/small.yaml", "hostname: small", "hostname: other", {"image"}),
        ("profiles/base.yaml", "[quiet]", "[quiet, splash]", {"image"}),
        ("overlays/core/tree/etc/secret", "hidden", "shown", {"image"}),
        ("overlays/core/overlay.yaml", '"0600"', '"0640"', {"image"}),
        ("overlays/core/overlay.yaml", "[a.service]", "[b.service]", {"image"}),
        ("profiles/small.yaml", "[vim, less]", "[vim]", set()),  # the ground has it too
        ("profiles/small.yaml", "[vim, less]", "[vim, less, joe]", {"base", "image"}),
        ("profiles/small.yaml", "a small image", "a little image", set()),
    ],
)
def test_change_of_the_recipe(sample: Sample, file: str, old: str, new: str, expected: set[str]) -> None:
    before = keys(sample)
    sample.swap(file, old, new)
    assert moved(before, keys(sample)) == expected


def test_checkout_is_no_input(sample: Sample) -> None:
    """Git keeps the executable bit alone."""
    before = keys(sample)
    file = sample.root / "overlays/core/tree/etc/secret"
    index = sample.root / "overlays/web/tree/var/www/index.html.j2"
    file.chmod(0o600)
    index.chmod(0o640)
    assert keys(sample) == before
    index.chmod(0o755)
    assert moved(before, keys(sample)) == {"image"}


def test_plan_of_an_empty_cache(sample: Sample) -> None:
    plan = planned(sample)
    assert not any(item.cached for item in plan.components)
    assert {item.stale for item in plan.components} == {("never built here",)}
    document = plan.as_dict()
    assert (document["profile"], document["architecture"], document["lock"]) == ("small", "amd64", LOCK.digest)
    assert {item["name"]: item["key"] for item in document["components"]} == keys(sample)
    assert document["components"][0] == {
        "name": "mkosi",
        "inputs": {"package": "2" * 64},
        "key": plan.component("mkosi").key,
        "cached": False,
        "moved": [],
        "stale": ["never built here"],
        "estimate": None,
        "needs": [],
        "to_build": True,
    }
    assert document["expected"] == {"together": 0.0, "alone": 0.0, "unknown": [*keys(sample)]}
    # Planning changes nothing on disk.
    assert not (sample.root / "cache").exists()


def planned(sample: Sample, lock: Lock = LOCK) -> Plan:
    return plan_image(sample.workbench(), load_buildable(sample.project, "small"), lock)


def had(sample: Sample, lock: Lock = LOCK, architecture: str = "amd64") -> None:
    """As if all components had been built, and removed again but for the histories of them."""
    kept = ComponentCache(sample.workbench().cache.components)
    for item in image_components(load_buildable(sample.project, "small"), lock):
        kept.remember(item, Target(profile="small", architecture=architecture), 2.0)


def reasons(sample: Sample, lock: Lock = LOCK) -> dict[str, tuple[str, ...]]:
    return {item.name: item.stale for item in planned(sample, lock).components}


def test_why_a_package_makes_things_stale(sample: Sample) -> None:
    had(sample)
    new = with_debs(deb("nano", "image", content="f"))
    told = reasons(sample, new)
    before, after = ({item.name: item for item in planned(sample, lock).components} for lock in (LOCK, new))
    old_debs, new_debs = (item["base"].inputs["packages"] for item in (before, after))
    assert told["base"] == (f"packages: {old_debs[:12]} -> {new_debs[:12]}",)
    assert told["image"] == (f"base: {before['base'].key[:12]} -> {after['base'].key[:12]}",)
    assert told["initrd"] == ("built before, no longer there",)
    moved = MovedInput(input="packages", old=old_debs, new=new_debs)
    assert after["base"].moved == (moved,)
    document = planned(sample, new).as_dict()["components"][2]
    assert document["moved"] == [{"input": "packages", "old": old_debs, "new": new_debs}]
    assert document["estimate"] == {"seconds": 2.0, "runs": 1, "own": True}


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("overlays/core/tree/etc/secret", "hidden", "shown", "/etc/secret (overlays/core/tree/etc/secret): "),
        (
            "profiles/small.yaml",
            "title: Hello",
            "title: Welcome",
            "/var/www/index.html (overlays/web/tree/var/www/index.html.j2): ",
        ),
        ("profiles/small.yaml", "hostname: small", "hostname: other", "/etc/hostname (image.hostname): "),
        (
            "overlays/core/overlay.yaml",
            "[a.service]",
            "[b.service]",
            "/usr/lib/systemd/system-preset/10-lichen.preset (services of the overlays): ",
        ),
        ("profiles/base.yaml", "[quiet]", "[quiet, splash]", "mkosi.conf.d/image.conf: "),
    ],
)
def test_why_an_edit_makes_the_image_stale(sample: Sample, file: str, old: str, new: str, told: str) -> None:
    had(sample)
    sample.swap(file, old, new)
    found = reasons(sample)
    (why,) = found.pop("image")
    assert why.startswith(told)
    assert re.fullmatch(r"[0-9a-f]{12} -> [0-9a-f]{12}", why.removeprefix(told))
    assert set(found.values()) == {("built before, no longer there",)}


def test_why_a_new_and_a_removed_file_make_the_image_stale(sample: Sample) -> None:
    had(sample)
    sample.write("overlays/web/tree/etc/new", "new\n")
    (sample.root / "overlays/core/tree/etc/secret").unlink()
    sample.swap("overlays/core/overlay.yaml", 'modes:\n  etc/secret: "0600"\n', "")
    assert reasons(sample)["image"] == ("/etc/new (overlays/web/tree/etc/new) is new", "/etc/secret is gone")
    assert [(item.old is None, item.new is None) for item in planned(sample).component("image").moved] == [
        (True, False),
        (False, True),
    ]


def test_why_lichen_itself_makes_things_stale(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    had(sample)
    monkeypatch.setattr("builder.verbs.plan.DOCUMENTS", "next")
    assert reasons(sample)["image"] == (f"Lichen's documents beside the image: {DOCUMENTS} -> next",)


def test_another_target_has_its_own_reasons(sample: Sample) -> None:
    had(sample, architecture="arm64")
    assert reasons(sample)["base"] == ("never built here for small amd64",)
    assert planned(sample).component("base").estimate is None


@pytest.mark.parametrize(
    ("limits", "circumstances", "memory"),
    [
        # A GiB, and what base's two packages of a byte may take.
        (Limits(2, 8 << 30), USUAL, (1 << 30) + 12),
        (Limits(2, (1 << 30) + 12), USUAL, (1 << 30) + 12),
        # It fits not even alone, or is to lie on disk: no memory for the workspace.
        (Limits(2, (1 << 30) + 11), USUAL, 0),
        (Limits(2, 8 << 30), Circumstances(workspace="disk"), 0),
    ],
)
def test_what_parts_take_of_the_machine(
    sample: Sample, limits: Limits, circumstances: Circumstances, memory: int
) -> None:
    recipe, plan, bench = load_buildable(sample.project, "small"), planned(sample), sample.workbench()
    work = Assembly(bench, recipe, LOCK, plan, sample.root, sample.root / "log", circumstances)
    task = work.task("base", ("tools",), limits)
    assert (task.processors, taken(task), task.needs) == (1, memory, ("tools",))


def test_unpacking_mkosi_takes_no_memory(sample: Sample) -> None:
    recipe, plan, bench = load_buildable(sample.project, "small"), planned(sample), sample.workbench()
    work = Assembly(bench, recipe, LOCK, plan, sample.root, sample.root / "log")
    assert taken(work.task("mkosi", (), Limits(2, 8 << 30))) == 0


def test_memory_for_the_image_is_known_when_its_parts_are_there(sample: Sample) -> None:
    recipe, plan, bench = load_buildable(sample.project, "small"), planned(sample), sample.workbench()
    work = Assembly(bench, recipe, LOCK, plan, sample.root, sample.root / "log")
    task = work.task("image", (), Limits(2, 64 << 30))
    for name in ("base", "initrd", "python"):
        work.kept.provide(plan.component(name), work.target, lambda folder: None)
    # A GiB, four times what three empty folders take, and an eighth of the root file system for ext4's own tables.
    assert taken(task) == (1 << 30) + 4 * 3 * 4096 + size_in_bytes(recipe.profile.image.root_size) // 8


def taken(task: Task) -> int:
    assert callable(task.memory)
    return task.memory()


def finished(sample: Sample) -> Path:
    """An image folder as a build leaves it."""
    folder = sample.project.image("small", "amd64", LOCK.digest)
    folder.mkdir(parents=True)
    fill(folder, LOCK, keys(sample)["image"])
    return folder


def fill(folder: Path, lock: Lock, image: str) -> None:
    """What a build leaves, as far as it is looked at again; ``image`` is the component's key."""
    (folder / "image.raw").write_text("disk")
    manifest = Manifest(
        profile=lock.profile,
        architecture=lock.architecture,
        hostname=lock.profile,
        lock=lock.digest,
        image=image,
        source_date_epoch=1,
        overlays=(),
        options={},
        ports=(),
        root_filesystem="ext4",
        kernel="",
        tools={},
        packages=(),
        wheels=(),
        artefacts={"image.raw": Artefact(size=4, sha256=digest_bytes(b"disk"))},
    )
    (folder / "manifest.json").write_text(manifest.text())
    sums = {"image.raw": digest_bytes(b"disk"), "manifest.json": digest_bytes(manifest.text().encode())}
    (folder / "SHA256SUMS").write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()))


def cached(sample: Sample) -> bool:
    return planned(sample).component("image").cached


def test_finished_image_is_kept(sample: Sample) -> None:
    assert not cached(sample)
    finished(sample)
    assert cached(sample)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("image.raw", "disk", "dis"),
        ("manifest.json", '"hostname": "small"', '"hostname": "smell"'),
        ("manifest.json", "{", ""),
        ("SHA256SUMS", "image.raw", "image.rau"),
        ("SHA256SUMS", digest_bytes(b"disk")[:9], "000000000"),
        ("SHA256SUMS", "  manifest.json", ""),
        ("SHA256SUMS", "", None),
    ],
)
def test_damaged_image_folder_is_no_finished_image(sample: Sample, file: str, old: str, new: str | None) -> None:
    path = finished(sample) / file
    if new is None:
        path.unlink()
    else:
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))
    assert not cached(sample)
