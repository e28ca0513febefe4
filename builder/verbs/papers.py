"""What goes with an image, written while it is built: the list of its files, bills of materials, provenance."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder import __version__
from builder.data import bpf
from builder.data.bill import CYCLONEDX, SPDX, Bill, Part
from builder.data.contents import BUILD, CONTENTS, FileEntry, contents_text, read_contents
from builder.data.lock import Deb, Lock
from builder.data.manifest import DISK, KERNEL_CONFIG, SECURE_BOOT, Artefact, Manifest
from builder.data.plan import Plan
from builder.data.recipe import Recipe
from builder.foundation.process import Runner
from builder.foundation.progress import Progress
from builder.foundation.store import Store
from builder.steps.contents import (
    INVENTORY,
    STATUS,
    deb_owners,
    listed_owners,
    require_database,
    require_wheels,
    wheel_owners,
    with_owners,
)
from builder.steps.cyclonedx import cyclonedx_text
from builder.steps.kernels import CONFIG, built_packages
from builder.steps.parts import deb_facts, deb_parts, other_parts, unpack, wheel_parts
from builder.steps.provenance import provenance_text
from builder.steps.render import PYTHON_PREFIX, driver_builds, kernel_build, overlay_files
from builder.steps.sizes import weigh
from builder.steps.spdx import spdx_text


@dataclass(frozen=True)
class Writer:
    """Writes the papers of one image.

    Attributes:
        trees: roots of the components ``base`` and, if there are any, ``python`` and ``modules``.
    """

    runner: Runner
    store: Store
    recipe: Recipe
    lock: Lock
    plan: Plan
    trees: Mapping[str, Path]
    progress: Progress

    @functools.cached_property
    def built(self) -> tuple[Deb, ...]:
        """The packages of the project's own kernel and of its drivers, if it has any."""
        build = kernel_build(self.recipe, self.lock)
        drivers = driver_builds(self.recipe, self.lock)
        return built_packages(build, drivers, self.trees["modules"] / "image") if build else ()

    def describe(self, output: Path, made: Mapping[str, Artefact], scratch: Path) -> dict[str, str]:
        """Name and text of what tells what is inside.

        Args:
            output: where mkosi left the inventory of the root file system.
            made: the artefacts so far, the disk among them.
            scratch: a folder for one run.

        Raises:
            LichenError: what is inside is not what was locked, or is larger than the profile's budget.
        """
        entries = self._contents(output)
        weigh(self.recipe, entries, self.progress)
        bill = Bill(
            profile=self.recipe.name,
            architecture=self.lock.architecture,
            lock=self.lock.digest,
            image=made[DISK].sha256,
            epoch=self.lock.source_date_epoch,
            lichen=__version__,
            parts=self._parts(scratch),
            files=tuple(entry for entry in entries if entry.kind == "file" and entry.owner == BUILD),
        )
        told = {CONTENTS: contents_text(entries), SPDX: spdx_text(bill), CYCLONEDX: cyclonedx_text(bill)}
        if self.built:
            told[KERNEL_CONFIG] = (self.trees["modules"] / CONFIG).read_text(encoding="utf-8")
        if self.recipe.secure_boot:
            # Also of an unsigned UKI, so that only signatures differ from that of somebody with the key.
            told[SECURE_BOOT] = self.recipe.secure_boot.pem.decode("ascii")
        return told

    def attest(self, manifest: Manifest) -> str:
        """The provenance of the artefacts of ``manifest``."""
        components = {item.name: item.key for item in self.plan.components if item.name != "image"}
        return provenance_text(manifest, self.lock, components)

    def _contents(self, output: Path) -> list[FileEntry]:
        entries = list(read_contents(output / INVENTORY))
        require_database(entries, self.trees["base"], output / STATUS, self.built)
        require_wheels(entries, self.lock, PYTHON_PREFIX)
        laid = overlay_files(self.recipe).items()
        overlays = {f"/{path}": f"overlay:{file.overlay}" for path, file in laid if file.overlay}
        for name, folder in self.recipe.bpf.items():
            programs = [path.name.removesuffix(bpf.SOURCE) for path in folder.glob(f"*{bpf.SOURCE}")]
            overlays |= {f"{bpf.FOLDER}/{program}{bpf.OBJECT}": f"overlay:{name}" for program in programs}
        models = {model.target: f"model:{model.name}" for model in self.lock.models}
        wheels = wheel_owners(self.trees["python"], PYTHON_PREFIX) if "python" in self.trees else {}
        # What is laid down later is asked first.
        kernels = [listed_owners(self.trees["modules"] / "image" / f"{deb.name}.list", deb.name) for deb in self.built]
        return with_owners(entries, [models, overlays, wheels, *kernels, deb_owners(self.trees["base"])])

    def _parts(self, scratch: Path) -> tuple[Part, ...]:
        folder = scratch / "unpacked"
        # These lie unpacked nowhere else.
        paths = [self.store.verified(deb.sha256, deb.size) for deb in self.lock.initrd_only]
        paths += [self.trees["modules"] / "image" / f"{deb.name}.deb" for deb in self.built]
        unpack(self.runner, paths, folder)
        facts = {**deb_facts(folder), **deb_facts(self.trees["base"])}
        inside = [deb for deb in self.lock.debs if {"image", "initrd"} & set(deb.uses)]
        parts = deb_parts([*inside, *self.built], self.recipe.profile.suite, facts)
        if "python" in self.trees:
            wheels = [wheel for wheel in self.lock.wheels if "image" in wheel.uses]
            parts += wheel_parts(wheels, self.trees["python"], PYTHON_PREFIX)
        parts += other_parts(self.recipe, self.lock)
        return tuple(sorted(parts, key=lambda part: (part.kind, part.name)))
