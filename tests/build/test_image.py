"""A finished image folder, and what a change makes anew."""

from __future__ import annotations

import re
import subprocess

import pytest

from builder.data.history import Estimate
from builder.data.lock import Lock, read_lock
from builder.data.manifest import read_manifest
from builder.data.recipe import Recipe
from builder.data.rendered import RenderedFile, Tree
from builder.steps.render import component_tree
from builder.verbs.build import build, find_image
from builder.verbs.plan import make_plan
from tests.build.conftest import Built, MakeBench

NETWORK = "tree/usr/lib/systemd/network/80-ethernet-dhcp.network"


def test_folder_is_complete(built: Built) -> None:
    folder = built.image.folder
    names = {path.name for path in folder.iterdir()}
    told = {"contents.jsonl", "sbom.spdx.json", "sbom.cdx.json", "manifest.json", "provenance.json", "SHA256SUMS"}
    assert names == {"image.raw", "image.efi", "build.log", *told}
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, check=True)
    listed = {line.split()[1] for line in built.sums.splitlines()}
    assert listed == names - {"SHA256SUMS", "build.log"}
    assert "Generating unified kernel image" in (folder / "build.log").read_text()
    # Nothing else is left beside it but its report.
    assert sorted(folder.parent.iterdir()) == [folder, folder.with_name(f"{folder.name}.report.html")]


def test_manifest_tells_what_the_lock_says(built: Built) -> None:
    lock = read_lock(built.project.lock("small", "amd64"))
    manifest = read_manifest(built.image.folder / "manifest.json")
    assert manifest == built.image.manifest
    assert manifest.lock == lock.digest
    assert manifest.source_date_epoch == lock.source_date_epoch
    assert manifest.packages == tuple(deb for deb in lock.debs if {"image", "initrd"} & set(deb.uses))
    assert (manifest.profile, manifest.hostname, manifest.ports) == ("small", "small", (22,))
    assert manifest.kernel.endswith("-cloud-amd64")
    assert manifest.tools["mkosi"].startswith("27")
    for name, artefact in manifest.artefacts.items():
        assert (built.image.folder / name).stat().st_size == artefact.size


def test_nothing_is_built_when_nothing_changed(bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bench()
    first = build(made.workbench, "small")
    assert first.rebuilt
    # Not even a process is started.
    monkeypatch.setattr("builder.foundation.process.subprocess.Popen", None)
    second = build(made.workbench, "small")
    assert (second.folder, second.manifest, second.rebuilt, second.seconds) == (
        first.folder,
        first.manifest,
        False,
        {},
    )
    assert find_image(made.workbench, "small") == first.folder
    (first.folder / "image.raw").unlink()
    assert not make_plan(made.workbench, "small").component("image").cached


def test_edited_overlay_file_makes_the_image_alone_anew(bench: MakeBench) -> None:
    made = bench()
    first = build(made.workbench, "small")
    edited = made.project.overlays / "base-system" / NETWORK
    edited.write_text(edited.read_text() + "# edited\n")
    made.relock()
    plan = make_plan(made.workbench, "small")
    assert [item.name for item in plan.components if not item.cached] == ["image"]
    (why,) = plan.component("image").stale
    assert why.startswith(f"/{NETWORK.removeprefix('tree/')} (overlays/base-system/{NETWORK}): ")
    took = round(first.seconds["image"] + first.seconds["finish"], 1)
    assert plan.component("image").estimate == Estimate(seconds=took, runs=1, own=True)
    made.told.steps.clear()
    second = build(made.workbench, "small")
    assert made.told.steps == ["image", "manifest and checksums"]
    assert second.folder != first.folder
    changed = second.manifest.artefacts["image.raw"].sha256 != first.manifest.artefacts["image.raw"].sha256
    same = second.manifest.artefacts["image.efi"].sha256 == first.manifest.artefacts["image.efi"].sha256
    assert changed
    assert same
    assert read_manifest(first.folder / "manifest.json") == first.manifest


def test_what_scripts_of_a_build_see(bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages cannot be written to: they are the store's own files, under other names. The host's users are hidden."""
    real = component_tree

    def trying(name: str, recipe: Recipe, lock: Lock) -> Tree:
        tree = real(name, recipe, lock)
        script = b"""#!/bin/sh
sed 's/^/seen: /' /etc/passwd /etc/group >&2
! touch "$SRCDIR/packages/dists"
"""
        tree["image.finalize"] = RenderedFile(script, 0o755)
        return tree

    monkeypatch.setattr("builder.verbs.assembly.component_tree", trying)
    made = bench()
    build(made.workbench, "small")
    log = (made.image / "build.log").read_text()
    assert "Read-only file system" in log
    assert re.findall("^seen: (.*)$", log, re.MULTILINE) == ["root:x:0:0:root:/root:/bin/sh", "root:x:0:"]
