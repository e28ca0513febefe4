"""Look at everything that building and booting needs from this machine, and say how to mend what is missing.

Every examination runs, whatever the others found; none changes anything. Each is a pure judgement of what its
parameters point at, so that tests point them elsewhere.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from builder.data.profile import Architecture
from builder.data.toolchain import BUILD_ARCHITECTURE
from builder.foundation.errors import LichenError
from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox
from builder.foundation.transport import Limits, PassingError, RefusedError, chunks, connect, file_chunks, get
from builder.steps.emulation import find_emulation
from builder.steps.machine import HARDWARE, probe
from builder.steps.machine.acceleration import KVM, firmware_complaint

GIB = 1 << 30
# What the classroom takes: 7 GiB that are kept, and a workspace of 18 where it does not fit into memory.
CACHE_ROOM = 25 * GIB
OUTPUT_ROOM = 8 * GIB
WORKSPACE_ROOM = 8 * GIB
MEMORY = 4 * GIB
PYTHON = (3, 11)
PROGRAMS = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
_NO_QEMU = ("not tried: QEMU comes with the tools tree", "run `lichen build` once")
LIMITS = Limits(connect=10, silence=15)


@dataclass(frozen=True)
class Finding:
    """What one examination found.

    Attributes:
        ok: None when the lack only makes things slower or smaller.
        remedy: what to do; empty when all is well.
    """

    name: str
    ok: bool | None
    found: str
    remedy: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


@dataclass(frozen=True)
class Host:
    """The machine to examine; the defaults are this one.

    Attributes:
        toolboxes: for images of an architecture, the built tools tree with its mkosi; none before the first build.
        workspace: folder on tmpfs where images are assembled.
        mirrors: archive and its base URLs.
        suite: whose ``InRelease`` every mirror must have.
        architectures: that images may be built for.
    """

    cache: Path
    output: Path
    toolboxes: Mapping[Architecture, Toolbox] = field(default_factory=dict)
    workspace: Path = Path("/dev/shm")  # noqa: S108 (tmpfs on every Linux)
    mirrors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    suite: str = "trixie"
    architectures: Sequence[Architecture] = ("amd64", "arm64", "riscv64")
    proc: Path = Path("/proc")
    kvm: Path = KVM
    machine: str = field(default_factory=platform.machine)
    runner: Runner = field(default_factory=Runner)


def examine(host: Host) -> list[Finding]:
    """Every examination, in order; one that breaks is itself a finding."""
    checks: list[Callable[[Host], Iterator[Finding]]] = [
        programs,
        rights,
        acceleration,
        room,
        memory,
        foreign_architectures,
        mirrors,
    ]
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check(host)
        except (LichenError, OSError, ValueError) as error:
            findings.append(Finding(check.__name__.replace("_", " "), False, f"could not be examined: {error}"))
    return findings


def programs(host: Host) -> Iterator[Finding]:
    """Python and the few programs that Lichen takes from the host."""
    version = platform.python_version()
    wanted = ".".join(str(part) for part in PYTHON)
    fits = sys.version_info >= PYTHON
    yield Finding("python", fits, version, "" if fits else f"install Python {wanted} or newer")
    for program, package in PROGRAMS.items():
        path = shutil.which(program)
        yield Finding(program, bool(path), path or "not installed", "" if path else f"apt-get install {package}")


def rights(host: Host) -> Iterator[Finding]:
    """Whether mkosi's sandbox can enter a root of its own: it mounts, in a user namespace unless we are root."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "true"]
    found = "mounts in a user namespace work (mkosi's sandbox is tried once there is a tools tree)"
    for toolbox in list(host.toolboxes.values())[:1]:
        command, found = toolbox.command(["true"]), "mkosi's sandbox enters the tools tree"
    done = host.runner.run(command, timeout=60, check=False)
    if done.returncode == 0:
        yield Finding("sandbox", True, found)
        return
    said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    yield Finding("sandbox", False, said, namespace_remedy(host.proc))


def namespace_remedy(proc: Path) -> str:
    """What to change so that an unprivileged user may mount, as far as the kernel's settings tell."""
    settings = {
        "kernel/apparmor_restrict_unprivileged_userns": ("1", "0"),
        "kernel/unprivileged_userns_clone": ("0", "1"),
        "user/max_user_namespaces": ("0", "15000"),
    }
    for setting, (wrong, right) in settings.items():
        if _read(proc / "sys" / setting) == wrong:
            return f"run `sysctl -w {setting.replace('/', '.')}={right}` as root, or run Lichen as root"
    return "run Lichen as root; in a container, give it CAP_SYS_ADMIN and allow mounts"


def acceleration(host: Host) -> Iterator[Finding]:
    """Whether a guest runs at all, and whether on KVM."""
    name = "acceleration"
    if (toolbox := host.toolboxes.get(BUILD_ARCHITECTURE)) is None:
        yield Finding(name, None, *_NO_QEMU)
        return
    found = probe(toolbox, host.runner, device=host.kvm, host=host.machine)
    if found.kind == "kvm":
        yield Finding(name, True, found.reason)
        return
    if complaint := firmware_complaint(toolbox, host.runner, HARDWARE[BUILD_ARCHITECTURE], "tcg"):
        yield Finding(name, False, f"no guest runs, not even emulated: {complaint}", "free some memory, then try again")
        return
    remedy = "images boot many times slower; enable virtualisation in the firmware (or nested in the host)"
    if host.kvm.exists() and not os.access(host.kvm, os.R_OK | os.W_OK):
        remedy = f"add yourself to the group of {host.kvm}: `adduser $USER kvm`, then log in again"
    yield Finding(name, None, f"software emulation: {found.reason}", remedy)


def room(host: Host) -> Iterator[Finding]:
    """Free room where things are kept and made."""
    yield _room("disk of the cache", host.cache, CACHE_ROOM, False, "`lichen clean` frees some, --cache names another")
    yield _room("disk of the images", host.output, OUTPUT_ROOM, False, "remove images that nobody needs from out/")
    name, remedy = "workspace", "builds use the disk instead: slower; `mount -o remount,size=` makes it larger"
    if (kind := filesystem(host.workspace, host.proc)) == "tmpfs":
        yield _room(name, host.workspace, WORKSPACE_ROOM, None, remedy)
    else:
        yield Finding(name, None, f"{host.workspace} is no tmpfs ({kind or 'unknown'})", remedy)


def memory(host: Host) -> Iterator[Finding]:
    """Memory that a guest can get now."""
    for line in _read(host.proc / "meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) << 10
            remedy = "" if free >= MEMORY else "close something, or give the guest less (--memory)"
            yield Finding("memory", free >= MEMORY, f"{_gib(free)} available", remedy)
            return
    raise ValueError(f"no MemAvailable in {host.proc / 'meminfo'}")


def foreign_architectures(host: Host) -> Iterator[Finding]:
    """How scripts of other architectures' packages run here, and their images."""
    for architecture in host.architectures:
        emulation = find_emulation(host.runner, architecture, host.proc)
        ok = emulation.way is not None or None
        yield Finding(f"programs for {architecture}", ok, emulation.found, emulation.remedy)
        if emulation.way != "native":
            yield _machine(host, architecture)


def _machine(host: Host, architecture: Architecture) -> Finding:
    name = f"machines for {architecture}"
    if (toolbox := host.toolboxes.get(architecture)) is None:
        return Finding(name, None, *_NO_QEMU)
    if complaint := firmware_complaint(toolbox, host.runner, HARDWARE[architecture], "tcg"):
        return Finding(name, False, f"no guest runs: {complaint}", "free some memory, then try again")
    return Finding(name, True, "a guest answered, emulated")


def mirrors(host: Host) -> Iterator[Finding]:
    """Whether every mirror of every archive has the suite, asked at the same time."""
    if not any(host.mirrors.values()):
        yield Finding("mirrors", False, "none known", "give one as --mirror ARCHIVE=URL, or configure the host's apt")
        return
    pairs = [(archive, url) for archive, urls in host.mirrors.items() for url in urls]
    with ThreadPoolExecutor(max_workers=8) as pool:
        yield from pool.map(lambda pair: _mirror(pair[0], pair[1], host.suite), pairs)


def _mirror(archive: str, url: str, suite: str) -> Finding:
    name = f"mirror of {archive}"
    suite = f"{suite}-security" if archive.endswith("-security") else suite
    address = f"{url.rstrip('/')}/dists/{suite}/InRelease"
    remedy = f"another mirror: --mirror {archive}=URL; behind a proxy set https_proxy"
    try:
        if url.startswith("file:"):
            data = b"".join(file_chunks(address))
        else:
            with connect() as session, get(session, address, {}, LIMITS) as response:
                data = b"".join(chunks(response, LIMITS))
    except (PassingError, RefusedError) as error:
        return Finding(name, False, f"{address}: {error}", remedy)
    if b"Codename:" not in data:
        return Finding(name, False, f"{address} is no suite's index: a login page, perhaps", remedy)
    return Finding(name, True, url)


def filesystem(path: Path, proc: Path) -> str:
    """Kind of the file system that ``path`` lies on, from the mount table; empty when it is not told."""
    best, kind = "", ""
    for line in _read(proc / "mounts").splitlines():
        words = line.split()
        if len(words) > 2 and path.is_relative_to(words[1]) and len(words[1]) >= len(best):
            best, kind = words[1], words[2]
    return kind


def _room(name: str, path: Path, wanted: int, lacking: bool | None, remedy: str) -> Finding:
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    free = shutil.disk_usage(there).free
    enough = free >= wanted
    found = f"{_gib(free)} free in {path}"
    if enough:
        return Finding(name, True, found)
    return Finding(name, lacking, f"{found}, {_gib(wanted)} wanted", remedy)


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else ""
