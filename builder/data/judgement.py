"""Judging a lock by the rules of what fits together: which pairs do not, and what would.

All of it is told from names, versions and tags. What only shows in a package's or a wheel's files (the vermagic of a
module that is compiled later, GPU code of distributions that the rules do not know) is for the build and the machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from debian.debian_support import Version as DebianVersion
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename
from packaging.version import Version

from builder.data.compatibility import BoardRule, GpuCode, KernelRange, Rules
from builder.data.kernel import KernelBuild
from builder.data.lock import Deb, Lock, Wheel
from builder.data.profile import Architecture
from builder.data.recipe import Recipe
from builder.foundation.errors import Problem

_UPSTREAM = re.compile(r"(?:[0-9]+:)?(?P<number>[0-9]+(?:\.[0-9]+)*)")
_RELEASE = re.compile(r"linux-image-(?P<release>[0-9]\S*?)(?:-unsigned)?")
_MACHINES: Mapping[Architecture, str] = {"amd64": "x86_64", "arm64": "aarch64", "riscv64": "riscv64"}
# Older names of platforms, and the minor version of glibc 2 that each means (PEP 600).
_LEGACY = {"manylinux2014": 17, "manylinux2010": 12, "manylinux1": 5}


@dataclass(frozen=True)
class CudaLimit:
    """The newest CUDA that the locked driver can run.

    Attributes:
        driver: the package that says so and its version.
        major: of that CUDA; 0 when the driver is older than any rule.
        why: which CUDA it runs.
        remedy: what would fit.
        constraints: for uv; under them it chooses the newest releases that fit.
    """

    driver: str
    major: int
    why: str
    remedy: str
    constraints: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """Pairs that do not fit, and what the rules do not know."""

    problems: tuple[Problem, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class _Kernel:
    """A kernel of the image: its package, its version as in ``6.12.118``, and what ``uname -r`` prints if known."""

    package: str
    version: str
    release: str | None


@dataclass(frozen=True)
class _Case:
    """What is judged.

    Attributes:
        packages, requirements: by the name of a package or a wheel, where a person asked for it.
    """

    rules: Rules
    recipe: Recipe
    lock: Lock
    packages: Mapping[str, str]
    requirements: Mapping[str, str]

    @property
    def debs(self) -> tuple[Deb, ...]:
        """What is in the image, and what its drivers are compiled from."""
        return tuple(deb for deb in self.lock.debs if _decides(deb))

    @property
    def wheels(self) -> tuple[Wheel, ...]:
        return tuple(wheel for wheel in self.lock.wheels if "image" in wheel.uses)

    def place(self, item: Deb | Wheel) -> str:
        """What it is, which archive or index it comes from, and who asked for it."""
        if isinstance(item, Deb):
            what, source, asked = _title(item), f"of {item.archive}", self.packages.get(item.name)
        else:
            source = f"of the wheels of {item.repository}" if item.repository else ""
            what, asked = item.filename, self.requirements.get(item.name)
        return " ".join(part for part in (what, source, f"({asked})" if asked else "") if part)

    def places(self, items: Iterable[Deb | Wheel]) -> str:
        return "; ".join(map(self.place, items))


def judge(
    rules: Rules, recipe: Recipe, lock: Lock, packages: Mapping[str, str], requirements: Mapping[str, str]
) -> Verdict:
    """Whether everything in ``lock`` fits together.

    Args:
        packages, requirements: by the name of a package or a wheel, where a person asked for it.
    """
    case = _Case(rules, recipe, lock, packages, requirements)
    unknown: list[str] = []
    problems = [
        *_driver_of_one_version(case),
        *_modules_for_the_kernel(case),
        *_kernel_in_range(case, unknown),
        *_cuda_for_the_driver(case),
        *_wheels_for_the_board(case, unknown),
        *_wheels_for_the_release(case),
    ]
    return Verdict(tuple(problems), tuple(dict.fromkeys(unknown)))


def cuda_limit(rules: Rules, debs: Iterable[Deb]) -> CudaLimit | None:
    """What the driver among an image's packages allows, None when there is no driver."""
    found = [deb for deb in debs if _decides(deb)]
    parts = [*_named(found, rules.driver.user_space), *_named(found, rules.driver.module)]
    # Of parts that differ, which is told elsewhere, the oldest decides.
    driver = min(parts, key=lambda deb: Version(_upstream(deb)), default=None)
    if driver is None:
        return None
    fitting = rules.newest_cuda(_upstream(driver))
    major = fitting.major if fitting else 0
    newer = sorted((rule for rule in rules.cuda if rule.major > major), key=lambda rule: rule.major)
    remedy = f"releases for CUDA {major}" if fitting else "releases without CUDA"
    if newer:
        remedy += f", or a driver from {newer[0].driver} on for CUDA {newer[0].major} ({newer[0].source})"
    constraints = rules.cuda_wheels.refuse(rule.major for rule in newer)
    why = f"{_title(driver)} runs {f'CUDA {major} and older' if fitting else 'no CUDA that is known'}"
    return CudaLimit(_title(driver), major, why, remedy, constraints)


def _decides(deb: Deb) -> bool:
    return not {"image", "driver"}.isdisjoint(deb.uses)


def _title(deb: Deb) -> str:
    return f"{deb.name} {deb.version}"


def _upstream(deb: Deb) -> str:
    """``550.163.01`` of ``550.163.01-4~bpo13+1``."""
    match = _UPSTREAM.match(deb.version)
    return match["number"] if match else deb.version


def _named(debs: Iterable[Deb], names: Sequence[str]) -> list[Deb]:
    return [deb for deb in debs if any(re.fullmatch(name, deb.name) for name in names)]


def _driver_of_one_version(case: _Case) -> Iterator[Problem]:
    """Module, GSP firmware and user space of a driver are of the very same version."""
    driver = case.rules.driver
    roles = {
        "kernel module": _named(case.debs, driver.module),
        "user space": _named(case.debs, driver.user_space),
        "GSP firmware": _named(case.debs, driver.firmware),
    }
    first = next((deb for debs in roles.values() for deb in debs), None)
    if first is None:
        return
    for role, debs in roles.items():
        others = [deb for deb in debs if _upstream(deb) != _upstream(first)]
        if not others:
            continue
        versions = " and ".join(sorted({_upstream(deb) for deb in others}))
        yield Problem(
            f"two versions of the NVIDIA driver: {_title(first)} and {role} {versions}",
            case.places([first, *others]),
            f"all parts of a driver must be of one version ({driver.source})",
            f"lock all of {_upstream(first)}, or all of {versions}: take them from one repository, or wait until it "
            "has all of one version",
        )


def _kernels(case: _Case) -> list[_Kernel]:
    own = case.recipe.kernel
    if own is not None:
        sources = [deb for deb in case.lock.used_by("source") if deb.name == own.source]
        builds = [KernelBuild.locked(own, deb, case.lock) for deb in sources]
        return [_Kernel(_title(build.source), _upstream(build.source), build.release) for build in builds]
    found = []
    for deb in case.debs:
        if deb.name.startswith("linux-image-"):
            match = _RELEASE.fullmatch(deb.name)
            found.append(_Kernel(_title(deb), _upstream(deb), match["release"] if match else None))
    return found


def _modules_for_the_kernel(case: _Case) -> Iterator[Problem]:
    """Modules that come compiled name the kernel's release in their vermagic."""
    releases = [kernel.release for kernel in _kernels(case) if kernel.release]
    rule = case.rules.compiled_modules
    for deb in case.debs:
        match = next(filter(None, (re.fullmatch(name, deb.name) for name in rule.names)), None)
        if match and releases and match["release"] not in releases:
            yield Problem(
                f"{deb.name} has modules for another kernel than {' and '.join(releases)}",
                case.place(deb),
                f"they were compiled for {match['release']}: {rule.source}",
                "lock the package for the kernel's release, or one that compiles its modules (nvidia-open-kernel-dkms)",
            )


def _kernel_in_range(case: _Case, unknown: list[str]) -> Iterator[Problem]:
    """The kernel is neither older nor newer than the driver's modules compile for."""
    for deb in _named(case.debs, case.rules.driver.module):
        rule = _range(case.rules, deb)
        if rule is None:
            unknown.append(f"which kernels {_title(deb)} compiles for: that shows when its modules are built")
            continue
        for kernel in _kernels(case):
            if rule.covers(kernel.version):
                continue
            known = dict.fromkeys(
                f"{name} {other.since} (Linux {other.oldest} to {other.newest})"
                for other in case.rules.kernels
                if other.covers(kernel.version)
                for name in other.packages
            )
            yield Problem(
                f"{kernel.package} is outside of what {_title(deb)} supports",
                case.place(deb),
                f"its modules compile for Linux {rule.oldest} to {rule.newest} ({rule.source})",
                f"a kernel from {rule.oldest} to {rule.newest}, or a driver that knows this one: "
                f"{' or '.join(known) or 'none is known'}",
            )


def _range(rules: Rules, deb: Deb) -> KernelRange | None:
    """The newest row for the package's upstream version that is not newer than the package."""
    rows = [
        row
        for row in rules.kernels
        if deb.name in row.packages
        and row.since.rpartition("-")[0] == _upstream(deb)
        and DebianVersion(row.since) <= DebianVersion(deb.version)
    ]
    return max(rows, key=lambda row: DebianVersion(row.since), default=None)


def _cuda_for_the_driver(case: _Case) -> Iterator[Problem]:
    """No wheel needs a newer CUDA than the driver runs."""
    limit = cuda_limit(case.rules, case.debs)
    if limit is None:
        return
    needing: dict[int, list[Wheel]] = {}
    for wheel in case.wheels:
        major = case.rules.cuda_wheels.major(wheel.name, wheel.version)
        if major is not None and major > limit.major:
            needing.setdefault(major, []).append(wheel)
    for major, wheels in sorted(needing.items()):
        yield Problem(
            f"CUDA {major} of the wheels is too new for {limit.driver}",
            case.places(wheels),
            limit.why,
            f"{limit.remedy}; `lichen lock {case.lock.profile} --upgrade` chooses the newest releases that fit, unless "
            "a requirement forbids them",
        )


def _wheels_for_the_board(case: _Case, unknown: list[str]) -> Iterator[Problem]:
    """CUDA wheels have code for the GPU of the profile's board."""
    name = case.recipe.profile.board
    if name is None:
        return
    board = case.rules.boards[name]
    if board.architecture != case.lock.architecture:
        where = case.recipe.origins.get(("board",), "board")
        why = f"a {board.title} is {board.architecture}"
        what = f"the board {name} does not fit the architecture {case.lock.architecture}"
        yield Problem(what, where, why, "name another board, or none")
        return
    common = [wheel for wheel in case.wheels if _of_no_board(wheel)]
    servers = [w for w in common if case.rules.cuda_wheels.major(w.name, w.version) is not None]
    if servers and not board.server_wheels:
        yield Problem(
            f"CUDA wheels for servers do not run on a {board.title}",
            case.places(servers),
            board.source,
            "wheels that were made for this board, from an index of its vendor (`repositories.NAME.wheels`), or builds "
            "without CUDA (`python.provided`)",
        )
        return
    for wheel in common:
        yield from _code_for_the_board(case, board, wheel, unknown)


def _of_no_board(wheel: Wheel) -> bool:
    """Whether it is a build for all machines; those for a Jetson need more than a manylinux: linux_aarch64."""
    return any(tag.platform.startswith("manylinux") for tag in parse_wheel_filename(wheel.filename)[3])


def _code_for_the_board(case: _Case, board: BoardRule, wheel: Wheel, unknown: list[str]) -> Iterator[Problem]:
    rows = [row for row in case.rules.gpu_code if row.wheel == wheel.name and row.architecture == board.architecture]
    cuda = _minor(case, wheel)
    if not rows or cuda is None:
        return
    row = next((row for row in rows if row.cuda == cuda and _releases(row, wheel)), None)
    if row is None:
        unknown.append(f"for which GPUs {wheel.name} {wheel.version} (CUDA {cuda}) has code: that shows on the board")
        return
    if board.capability in row.capabilities:
        return
    fitting = [f"{row.wheel}{row.releases} for CUDA {row.cuda}" for row in rows if board.capability in row.capabilities]
    yield Problem(
        f"{wheel.name} {wheel.version} has no code for the GPU of a {board.title}",
        case.place(wheel),
        f"for CUDA {cuda} it has code for {', '.join(row.capabilities)} ({row.source}), the GPU is {board.capability} "
        f"({board.source})",
        " or ".join(fitting) or "a wheel that was made for this board, from an index of its vendor",
    )


def _minor(case: _Case, wheel: Wheel) -> str | None:
    """The CUDA of a distribution: what its version says, else that of the runtime in the same environment."""
    wheels = (wheel, *case.wheels)
    return next(filter(None, (case.rules.cuda_wheels.minor(item.name, item.version) for item in wheels)), None)


def _releases(row: GpuCode, wheel: Wheel) -> bool:
    return SpecifierSet(row.releases).contains(Version(wheel.version).public, prereleases=True)


def _wheels_for_the_release(case: _Case) -> Iterator[Problem]:
    """Every wheel has a tag that the image's own glibc and Python take."""
    versions = {deb.name: _upstream(deb) for deb in case.debs}
    if "libc6" not in versions or "python3" not in versions:
        return
    glibc, python = Version(versions["libc6"]), Version(versions["python3"])
    taken = _tags((python.major, python.minor), glibc.minor, case.lock.architecture)
    wrong = [wheel for wheel in case.wheels if taken.isdisjoint(parse_wheel_filename(wheel.filename)[3])]
    if wrong:
        yield Problem(
            f"wheels do not run on glibc {glibc} and Python {python.major}.{python.minor} of the image",
            case.places(wrong),
            f"none of their tags is one that {case.lock.architecture} takes with these (PEP 425, PEP 600)",
            f"releases with wheels up to manylinux_{glibc.major}_{glibc.minor} for Python "
            f"{python.major}.{python.minor}, or take them from Debian (python.provided)",
        )


def _tags(python: tuple[int, int], glibc: int, architecture: Architecture) -> frozenset[Tag]:
    """All tags of wheels that run with this Python and glibc 2.``glibc``."""
    machine = _MACHINES[architecture]
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(glibc, 4, -1)]
    platforms += [f"{name}_{machine}" for name, minor in _LEGACY.items() if minor <= glibc]
    platforms.append(f"linux_{machine}")
    interpreter = f"cp{python[0]}{python[1]}"
    return frozenset(
        [
            *cpython_tags(python, abis=[interpreter], platforms=platforms),
            *compatible_tags(python, interpreter, platforms),
        ]
    )
