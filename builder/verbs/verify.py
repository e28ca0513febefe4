"""``lichen verify``: builds an image again, cold and on hosts that differ on purpose, and compares all bytes."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.data.lock import Lock, LockedFile
from builder.data.recipe import Recipe
from builder.data.variation import Variation, variations
from builder.data.verification import Compared, Difference, Rebuild, Verification
from builder.foundation.atomic import disk_error, write_atomically
from builder.foundation.errors import InputError, LichenError, Problem
from builder.foundation.inuse import shared
from builder.foundation.making import alone, made_anew
from builder.foundation.progress import step
from builder.foundation.scratch import scratch_folder
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.steps.compare import compare_images, compare_packages
from builder.steps.elsewhere import Host, facts_here, lay_out, possible, run
from builder.steps.profiles import load_buildable
from builder.steps.published import look_at
from builder.verbs.build import build, provide_toolbox
from builder.verbs.fetch import bring
from builder.verbs.kernel import kernel_packages
from builder.verbs.lock import current_lock
from builder.verbs.report import refresh_report
from builder.verbs.varied import Event, Order

_DAY = 86400
# What sees a shifted clock, and what keeps the true one (see builder/steps/assemble.py).
CLOCK_REACHES = "apt, dpkg, packages' and finalize scripts, uv, repart, mkfs, ukify"
CLOCK_MISSES = "mkosi itself, the tools tree, mcopy, the times of new files"


@dataclass(frozen=True)
class Verdict:
    """What came out.

    Attributes:
        image: folder of the image, or of the kernel's packages, that all others were compared with.
        record: file that holds ``verification``.
        kept: the first image that differs, or None.
    """

    verification: Verification
    image: Path
    record: Path
    kept: Path | None = None


def verify(
    workbench: Workbench, name: str, architecture: str | None = None, *, number: int = 1, seed: int = 0
) -> Verdict:
    """Build a profile's image as usual, then ``number`` times on other hosts, and compare.

    Args:
        seed: chooses the hosts; on the first one everything differs at once.

    Raises:
        InputError: the profile is wrong, or its lock is missing or stale.
        LichenError: a build failed, here or elsewhere, or there is no room.
    """
    recipe = load_buildable(workbench.project, name)
    lock = current_lock(workbench, recipe, recipe.require_architecture(architecture))
    with shared(workbench.cache):
        image = build(workbench, name, lock.architecture).folder
        toolbox = provide_toolbox(workbench, name, lock.architecture)
        # What the usual build did not need, since parts of it were kept.
        bring(workbench, recipe, lock, lock.files)
        verdict = _Work(workbench, recipe, lock, toolbox, image, number, image, lock.files).verdict(seed)
    refresh_report(workbench, image)
    return verdict


def verify_kernel(
    workbench: Workbench, name: str, architecture: str | None = None, *, number: int = 1, seed: int = 0
) -> Verdict:
    """Compile a profile's own kernel ``number`` times on other hosts, and compare its packages with the kept ones.

    Raises:
        InputError: as :func:`verify`, or the profile has a kernel that Debian built.
        LichenError: as :func:`verify`.
    """
    recipe = load_buildable(workbench.project, name)
    lock = current_lock(workbench, recipe, recipe.require_architecture(architecture))
    place = workbench.project.image(lock.profile, lock.architecture, lock.digest)
    with shared(workbench.cache):
        packages = kernel_packages(workbench, name, lock.architecture)
        files = [deb for deb in lock.debs if not {"image", "initrd"}.issuperset(deb.uses)]
        bring(workbench, recipe, lock, files)
        toolbox = provide_toolbox(workbench, name, lock.architecture)
        place = place.with_name(f"{place.name}.kernel")
        return _Work(workbench, recipe, lock, toolbox, packages, number, place, files, kernel=True).verdict(seed)


def verify_against(workbench: Workbench, place: str, name: str, architecture: str | None = None) -> Verdict:
    """Rebuild an image that somebody published at ``place``, a folder or URL, and compare what is not signed.

    Raises:
        InputError: what is published there was built from another lock than this project's, or is no image.
        LichenError: a published file is missing or damaged, or the build failed.
    """
    recipe = load_buildable(workbench.project, name)
    lock = current_lock(workbench, recipe, recipe.require_architecture(architecture))
    published = look_at(place)
    if published.manifest.lock != lock.digest:
        own = workbench.project.lock(lock.profile, lock.architecture)
        theirs = f"{published.manifest.profile} for {published.manifest.architecture}"
        why = f"published is {theirs}, lock {published.manifest.lock[:12]}; {own.name} is {lock.digest[:12]}"
        remedy = "check out the commit that it was published from: profile, overlays and lock belong together"
        raise InputError(Problem("the published image was built from another lock", place, why, remedy))
    begin = time.monotonic()
    with shared(workbench.cache):
        image = build(workbench, name, lock.architecture).folder
        seconds = round(time.monotonic() - begin, 1)
        toolbox = provide_toolbox(workbench, name, lock.architecture)
        with scratch_folder(workbench.cache.workspace) as scratch:
            arrived, work = scratch / "published", scratch / "work"
            for folder in (arrived, work):
                folder.mkdir()
            other = published.fetched(arrived, workbench.progress)
            with step(workbench.progress, "comparison"):
                compared, differences = compare_images(
                    image, other, toolbox, workbench.runner, work, strip_signatures=True
                )
    conditions = {"published": place}
    rebuild = Rebuild(number=1, conditions=conditions, seconds=seconds, compared=compared, differences=differences)
    found = Verification(
        profile=lock.profile, architecture=lock.architecture, lock=lock.digest, against=place, rebuilds=(rebuild,)
    )
    record = image.with_name(f"{image.name}.against.json")
    write_atomically(record, found.text())
    return Verdict(found, image, record)


@dataclass
class _Work:
    """One run of ``lichen verify`` under way.

    Attributes:
        first: folder with what the others are compared with.
        place: whatever this run leaves begins with its name.
        files: what a build elsewhere may need of the store.
        kernel: packages of a kernel are built and compared, not images.
    """

    workbench: Workbench
    recipe: Recipe
    lock: Lock
    toolbox: Toolbox
    first: Path
    number: int
    place: Path
    files: Sequence[LockedFile]
    kernel: bool = False
    differs: bool = False

    @property
    def kept(self) -> Path:
        """Where the first result that differs goes."""
        return self.place.with_name(f"{self.place.name}.differs")

    def verdict(self, seed: int) -> Verdict:
        """Build on every host; write down what was found."""
        rebuilds = [self.rebuild(index, item) for index, item in enumerate(variations(seed, self.number), start=1)]
        found = Verification(
            profile=self.lock.profile,
            architecture=self.lock.architecture,
            lock=self.lock.digest,
            seed=seed,
            rebuilds=tuple(rebuilds),
        )
        if found.identical:
            shutil.rmtree(self.kept, ignore_errors=True)
        record = self.place.with_name(f"{self.place.name}.verify.json")
        write_atomically(record, found.text())
        return Verdict(found, self.first, record, None if found.identical else self.kept)

    def rebuild(self, index: int, variation: Variation) -> Rebuild:
        """Build on one other host, compare, and remove all of it; the first image that differs is kept."""
        variation = possible(variation)
        title = f"build {index} of {self.number}"
        with scratch_folder(self.workbench.cache.workspace) as scratch:
            with step(self.workbench.progress, f"{title}: other host"):
                files = {item.sha256: item.size for item in self.files}
                profile = self.recipe.profile
                keys = sorted({item.key for item in profile.repositories.values()})
                keys += [name for name in (profile.kernel.certificate, profile.image.secure_boot) if name]
                host = lay_out(variation, scratch, self.workbench.project, self.workbench.cache, files, keys)
            built = self._build(host, title)
            conditions = {**variation.conditions(), **_clock(variation.circumstances.clock, built.clock)}
            if not self.kernel:
                # The image is all that is wanted of it: room for taking both apart.
                shutil.rmtree(host.cache.root, ignore_errors=True)
            with step(self.workbench.progress, f"{title}: comparison"):
                compared, differences = self._compare(Path(built.text), host, scratch)
            rebuilt = Rebuild(
                number=index,
                conditions=conditions,
                seconds=built.seconds,
                compared=compared,
                differences=differences,
            )
            if not rebuilt.identical and not self.differs:
                self._keep(Path(built.text))
                self.differs = True
        return rebuilt

    def _build(self, host: Host, title: str) -> Event:
        order = Order(
            project=str(host.project.root),
            cache=str(host.cache.root),
            profile=self.lock.profile,
            architecture=self.lock.architecture,
            circumstances=host.variation.circumstances,
            module_key=str(self.workbench.module_key) if self.workbench.module_key else None,
            kernel=self.kernel,
            secure_boot_key=str(self.workbench.secure_boot_key) if self.workbench.secure_boot_key else None,
        )
        ended: list[Event] = []

        def hear(line: str) -> None:
            event = Event.model_validate_json(line)
            if event.kind in ("built", "wrong"):
                ended.append(event)
            else:
                _relay(self.workbench, f"{title}: {event.text}", event)

        run(host, self.workbench.runner, "builder.verbs.varied", [order.model_dump_json()], hear)
        if not ended:
            raise LichenError(Problem("a build on another host ended without a word", title))
        if ended[0].kind == "wrong":
            raise LichenError(self._failure(host, ended[0]))
        return ended[0]

    def _failure(self, host: Host, event: Event) -> list[Problem]:
        """The build's own problems; its log is kept, and they name where it is now."""
        folder = host.project.image(self.lock.profile, self.lock.architecture, self.lock.digest)
        log, kept = folder.with_name(f"{folder.name}.log"), self.place.with_name(f"{self.place.name}.verify.log")
        if log.is_file():
            shutil.copyfile(log, kept)
        told = ", ".join(f"{name} {text}" for name, text in host.variation.conditions().items())
        why = f"the usual build succeeds; conditions: {told}"
        head = Problem("the build fails on another host", self.lock.profile, why)
        parts = [{key: text.replace(str(log), str(kept)) for key, text in item.items()} for item in event.problems]
        return [head, *(Problem(**part) for part in parts)]

    def _compare(self, folder: Path, host: Host, scratch: Path) -> tuple[tuple[Compared, ...], tuple[Difference, ...]]:
        first, second = (path.stat().st_mtime for path in (self.first, folder))
        facts = (facts_here(self.workbench.project, first), host.facts(second))
        with tempfile.TemporaryDirectory(dir=scratch) as work:
            if self.kernel:
                return compare_packages(self.first, folder, self.workbench.runner, Path(work), conditions=facts)
            return compare_images(
                self.first,
                folder,
                self.toolbox,
                self.workbench.runner,
                Path(work),
                # Without the key the other builds are unsigned, and this image may be signed.
                strip_signatures=self.recipe.secure_boot is not None and self.workbench.secure_boot_key is None,
                conditions=facts,
            )

    def _keep(self, folder: Path) -> None:
        try:
            with alone(self.kept), made_anew(self.kept) as aside:
                for path in sorted(folder.iterdir()):
                    # Holes stay holes, also on another file system.
                    self.workbench.runner.run(["mv", "--", path, aside / path.name])
        except OSError as error:
            raise disk_error(error, self.kept) from error


def _relay(workbench: Workbench, text: str, event: Event) -> None:
    if event.kind == "started":
        workbench.progress.started(text)
    elif event.kind == "note":
        workbench.progress.note(text)
    else:
        workbench.progress.finished(text, event.seconds, failed=event.kind == "failed")


def _clock(wanted: int, seen: int | None) -> dict[str, str]:
    """How far the clock was shifted, and for whom: what a package's script saw decides."""
    if not wanted:
        return {}
    if seen is None or abs(seen - wanted) > _DAY:
        return {"clock": "true, or its shift left no trace"}
    return {"clock": f"{wanted / _DAY:+.1f} days for {CLOCK_REACHES}; true for {CLOCK_MISSES}"}
