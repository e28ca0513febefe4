"""A project, the archives that it is locked from, and what must hold after each try."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import pytest

from builder.data import toolchain
from builder.data.lock import Lock
from builder.foundation.errors import InputError, LichenError, Problem
from builder.foundation.place import Cache
from builder.foundation.workbench import Workbench
from builder.verbs import lock as verb
from tests.lock.archive import Key, Package, Suite, named
from tests.lock.wheelindex import X86, Index
from tests.profiles.sample import Sample
from tests.store.mirror import Mirror

UV = metadata.version("uv")
ESSENTIAL = ("base-files", "bash", "dpkg")
OLD = "no lock at all\n"  # what a failing try must leave alone
PROFILE = """\
description: a small image
architectures: [amd64, arm64]
image:
  hostname: small
kernel:
  package: linux-image-small
overlays: [core, web]
packages: [less, nano]
"""
CORE = """\
description: the core
packages: [systemd, editor]
"""
WEB = """\
description: a web page
python:
  requirements: ["pages>=1", "fast"]
  provided: {numbers: python3-numbers}
"""


def own_packages() -> list[Package]:
    """A dummy for every package that Lichen itself asks for."""
    tools = [*toolchain.tools_packages("amd64"), *toolchain.tools_packages("arm64")]
    lists = (tools, toolchain.initrd_packages("mutable"), toolchain.IMAGE_PACKAGES)
    names = {name for one in lists for name in one}.difference(ESSENTIAL)
    return [*named(ESSENTIAL, essential=True), *named(sorted(names))]


def project_packages() -> list[Package]:
    """What the project asks for, and what that needs."""
    return [
        Package("linux-image-small", "6.12.1-1", "amd64"),
        Package("linux-image-small", "6.12.1-1", "arm64"),
        Package("less", "1:668-1", "amd64", depends="libtinfo6 (>= 6)"),
        Package("less", "1:668-1", "arm64", depends="libtinfo6 (>= 6)"),
        Package("libtinfo6", "6.5+20250216-2"),
        Package("nano", "8.4-1"),
        Package("editor", "1.0-1", depends="libstdc++6"),
        Package("libstdc++6", "14.2.0-19"),
        Package("python3-numbers", "1:2.2.4+ds-1"),
    ]


@dataclass
class World:
    """What a test turns the screws of.

    Attributes:
        sample: the project.
        scratch: where temporary files go.
        mirror: serves both archives and the index of wheels.
        key: signs the suites, and apt trusts it.
    """

    sample: Sample
    scratch: Path
    mirror: Mirror
    key: Key
    trixie: Suite = field(default_factory=lambda: Suite("debian", "trixie", own_packages() + project_packages()))
    updates: Suite = field(
        default_factory=lambda: Suite("debian", "trixie-updates", [Package("nano", "8.4-1+deb13u1")])
    )
    security: Suite = field(default_factory=lambda: Suite("debian-security", "trixie-security"))
    forky: Suite = field(default_factory=lambda: Suite("debian", "forky", [Package("mkosi", "27-1")]))

    def __post_init__(self) -> None:
        for name in ("base", "small"):
            (self.sample.root / f"profiles/{name}.yaml").unlink()
        # The overlays here declare no options, so there is nothing to render.
        (self.sample.root / "overlays/web/tree/var/www/index.html.j2").unlink()
        self.sample.write("profiles/small.yaml", PROFILE)
        self.sample.write("overlays/core/overlay.yaml", CORE)
        self.sample.write("overlays/web/overlay.yaml", WEB)
        self.index = Index(self.mirror)
        self.index.add("pages", "1.2", requires=("numbers>=2",))
        self.index.add("fast", "3.0", X86)
        self.index.add("fast", "3.0")
        self.index.add("uv", UV, "py3-none-manylinux_2_17_x86_64")

    @property
    def suites(self) -> tuple[Suite, ...]:
        return (self.trixie, self.updates, self.security, self.forky)

    @property
    def cache(self) -> Cache:
        return Cache(self.sample.root / "cache")

    @property
    def path(self) -> Path:
        """The lock file."""
        return self.sample.project.lock("small", "amd64")

    def at(self, *mirrors: Mirror) -> tuple[str, ...]:
        """What a person gives as ``--mirror`` to use these, in this order."""
        return tuple(f"{name}={mirror.url}/{name}" for mirror in mirrors for name in ("debian", "debian-security"))

    def bench(self, mirrors: tuple[str, ...] = (), indices: tuple[str, ...] = ()) -> Workbench:
        return Workbench(
            self.sample.project,
            self.cache,
            mirrors=mirrors or self.at(self.mirror),
            indices=indices or (self.index.url,),
        )

    def publish(self, mirror: Mirror | None = None) -> None:
        """Put every suite as it is now on the mirror."""
        for suite in self.suites:
            suite.publish(mirror or self.mirror, self.key)

    def without_wheels(self) -> None:
        """Let the project ask for Debian packages only."""
        self.sample.write("overlays/web/overlay.yaml", "description: a web page\n")

    def lock(
        self,
        architecture: str | None = None,
        *,
        mirrors: tuple[str, ...] = (),
        indices: tuple[str, ...] = (),
        upgrade: bool = False,
        accept_expired: frozenset[str] = frozenset(),
        without: frozenset[str] = frozenset(),
    ) -> verb.LockOutcome:
        """Lock the profile; nothing but its lock file may be left, and what a killed one left is swept."""
        before = self.left()
        try:
            outcome = verb.lock(
                self.bench(mirrors, indices),
                "small",
                architecture,
                upgrade=upgrade,
                accept_expired=accept_expired,
                without=without,
            )
        except LichenError:
            assert self.left() == before
            raise
        kept = {name for name in before if not name.startswith("run-")}
        assert self.left() == sorted({*kept, outcome.path.name})
        return outcome

    def left(self) -> list[str]:
        """Names of what locking left behind: locks, private apt roots, temporary files."""
        folders = (self.sample.project.locks, self.cache.apt, self.cache.root / "wheels", self.scratch)
        return sorted(path.name for folder in folders if folder.exists() for path in folder.iterdir())

    def fails(
        self,
        error: type[LichenError],
        *,
        mirrors: tuple[str, ...] = (),
        indices: tuple[str, ...] = (),
        accept_expired: frozenset[str] = frozenset(),
        without: frozenset[str] = frozenset(),
    ) -> tuple[Problem, ...]:
        """Lock with a fault: the old file stays as it is, and the problems are complete."""
        self.sample.project.locks.mkdir(exist_ok=True)
        self.path.write_text(OLD)
        with pytest.raises(LichenError) as caught:
            self.lock(mirrors=mirrors, indices=indices, accept_expired=accept_expired, without=without)
        assert type(caught.value) is error
        assert self.path.read_text() == OLD
        for problem in caught.value.problems:
            assert all((problem.what, problem.where, problem.why, problem.remedy)), problem
        return caught.value.problems

    def fails_to_load(self) -> tuple[Problem, ...]:
        """The profile is refused before anything is asked of a mirror."""
        asked = len(self.mirror.requests)
        with pytest.raises(InputError) as caught:
            self.lock()
        assert len(self.mirror.requests) == asked
        return caught.value.problems

    def mended(self) -> Lock:
        """The fault gone, the next try works."""
        self.mirror.faults.clear()
        self.mirror.always = None
        self.publish()
        return self.lock().lock
