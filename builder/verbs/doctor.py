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

from builder.foundation.errors import LichenError
from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox
from builder.foundation.transport import Limits, PassingError, RefusedError, chunks, connect, file_chunks, get
from builder.steps.machine import HARDWARE, probe
from builder.steps.machine.acceleration import KVM, firmware_complaint

GIB = 1 << 30
CACHE_ROOM = 15 * GIB
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
        toolbox: the built tools tree with its mkosi, None before the first build.
        workspace: folder on tmpfs where images are assembled.
        mirrors: archive and its base URLs.
        suite: whose ``InRelease`` every mirror must have.
        architectures: that images may be built for.
    """

    cache: Path
    output: Path
    toolbox: Toolbox | None = None
    workspace: Path = Path("/dev/shm")  # noqa: S108 (tmpfs on every Linux)
    mirrors: Mapping[str, Sequence[str]] = field(default_factory=dict)
    suite: str = "trixie"
    architectures: Sequence[str] = ("amd64", "arm64", "riscv64")
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
    if host.toolbox is not None:
        command, found = host.toolbox.command(["true"]), "mkosi's sandbox enters the tools tree"
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
    if host.toolbox is None:
        yield Finding(name, None, "not tried: QEMU comes with the tools tree", "run `lichen build` once")
        return
    found = probe(host.toolbox, host.runner, device=host.kvm, host=host.machine)
    if found.kind == "kvm":
        yield Finding(name, True, found.reason)
        return
    if complaint := firmware_complaint(host.toolbox, host.runner, HARDWARE["amd64"], "tcg"):
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
    """Handlers that run maintainer scripts of other architectures; who builds none for them lacks nothing."""
    rows = {"amd64": ("x86_64", "x86_64"), "arm64": ("aarch64", "aarch64"), "riscv64": ("riscv64", "riscv64")}
    folder = host.proc / "sys/fs/binfmt_misc"
    for architecture in host.architectures:
        machine, handler = rows[architecture]
        name = f"programs for {architecture}"
        if machine == host.machine:
            yield Finding(name, True, "the host's own")
        elif not (folder / "status").exists():
            remedy = "run `mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc` as root"
            yield Finding(name, None, f"binfmt_misc is not mounted on {folder}", remedy)
        else:
            yield _handler(name, folder / f"qemu-{handler}")


def _handler(name: str, file: Path) -> Finding:
    remedy = "apt-get install qemu-user-static binfmt-support (Debian 13: qemu-user-binfmt)"
    lines = _read(file).splitlines()
    if not lines or lines[0] != "enabled":
        return Finding(name, None, f"{file.name} is {'disabled' if lines else 'not registered'}", remedy)
    flags = next((line.removeprefix("flags:").strip() for line in lines if line.startswith("flags:")), "")
    if "F" not in flags:
        # Without F the kernel looks the interpreter up inside the image, where there is none.
        why = f"{file.name} has the flags {flags or 'none'}, not F"
        return Finding(name, None, why, f"{remedy}, which registers it with F")
    return Finding(name, True, f"{file.name}, flags {flags}")


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
