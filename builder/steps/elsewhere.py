"""A process of ours on a host that looks different: other place, user, host name, umask, locale, zone, processors.

The host is this machine seen through private namespaces, without any network interface. Whatever happens to us, the
kernel ends every process on it and forgets its mounts; its files lie below a scratch folder of the caller.
"""

from __future__ import annotations

import os
import pwd
import random
import shutil
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.data.variation import Variation
from builder.foundation.atomic import disk_error
from builder.foundation.errors import LichenError, Problem
from builder.foundation.link import link_or_copy
from builder.foundation.place import Cache, Project
from builder.foundation.process import Runner, among_themselves
from builder.foundation.store import Store

# What decides an image, of all that lies in a project's folder.
PROJECT_FOLDERS = ("profiles", "overlays", "kernel-configs")
_MKFS = "mkfs.ext4"
_ADMINISTRATOR = "/usr/sbin:/sbin"
_PACKAGE = Path(__file__).resolve().parents[2]
# Makes the host, then runs the command on it. Arguments: umask, host name, file of users, file of a disk (each of them
# may be empty), the cache, which goes on that disk but for its store; then the command. As this shell is the first
# process of its namespace, the kernel ends all others there when it ends.
_ENTER = """
set -eu
trap 'exit 143' TERM
[ -z "$1" ] || umask "$1"
[ -z "$2" ] || echo "$2" > /proc/sys/kernel/hostname
[ -z "$3" ] || mount --bind "$3" /etc/passwd
if [ -n "$4" ]; then
    mkdir -p "$4.mounted"
    mount -o loop,discard "$4" "$4.mounted"
    mkdir -p "$4.mounted/store"
    mount --bind "$5/store" "$4.mounted/store"
    mount --rbind "$4.mounted" "$5"
fi
shift 5
"$@" &
wait "$!"
"""


@dataclass(frozen=True)
class Host:
    """A laid-out host: copies of project and store below ``root``, nothing else."""

    variation: Variation
    root: Path

    @property
    def project(self) -> Project:
        """The copy of the project."""
        return Project(self.root / "project")

    @property
    def cache(self) -> Cache:
        """A cache that holds what the lock names, and no component."""
        return Cache(self.root / "cache")

    @property
    def home(self) -> Path:
        """Home folder of the user."""
        return self.root / "home" / (self.variation.user or "root")

    @property
    def users(self) -> Path:
        """What the host has as ``/etc/passwd``."""
        return self.root / "passwd"

    @property
    def disk(self) -> Path:
        """The file that holds the cache when the variation wants a file system of its own for it."""
        return self.root / "cache.ext4"

    def facts(self, moment: float) -> dict[str, str]:
        """What a build may leak of this host; ``moment`` is when it ran by the true clock, seconds since 1970."""
        variation, here = self.variation, facts_here(self.project, moment)
        found = {
            "path": str(self.root),
            "user": variation.user,
            "home": str(self.home),
            "hostname": variation.host,
            "locale": variation.locale,
            "timezone": variation.time_zone,
            "clock": str(round(moment + variation.circumstances.clock)),
            "cpus": str(variation.processors) if variation.processors else None,
            "jobs": str(variation.circumstances.jobs) if variation.circumstances.jobs else None,
        }
        return here | {name: text for name, text in found.items() if text is not None}


def facts_here(project: Project, moment: float) -> dict[str, str]:
    """The same of this machine."""
    zone = Path("/etc/timezone")
    return {
        "path": str(project.root),
        "user": pwd.getpwuid(os.getuid()).pw_name,
        "home": str(Path.home()),
        "hostname": socket.gethostname(),
        "locale": os.environ.get("LC_ALL") or os.environ.get("LANG") or "C",
        "timezone": os.environ.get("TZ") or (zone.read_text().strip() if zone.is_file() else "UTC"),
        "clock": str(round(moment)),
        "cpus": str(len(os.sched_getaffinity(0))),
        "jobs": "all",
    }


def lay_out(
    variation: Variation,
    scratch: Path,
    project: Project,
    cache: Cache,
    files: Mapping[str, int],
    keys: Iterable[str] = (),
) -> Host:
    """Copy ``project`` and, by hard links where that is possible, ``files`` of the store to a new host.

    Both are laid out in the variation's order: many file systems list files as they were made.

    Args:
        files: SHA-256 and size of everything that the lock names; what else a build asks for is missing there.
        keys: files of the project that hold keys and certificates, relative to it.

    Raises:
        LichenError: a file is not in the store, or the disk is full.
    """
    host = Host(variation, scratch / variation.path)
    chance = random.Random(variation.shuffle)  # noqa: S311 (no secret)
    try:
        host.home.mkdir(parents=True)
        if variation.user:
            # Number 0 has two names then, and the first one is what programs print.
            entry = f"{variation.user}:x:0:0::{host.home}:/bin/sh\n"
            host.users.write_text(entry + Path("/etc/passwd").read_text())
        for name in filter(lambda name: (project.root / name).is_dir(), PROJECT_FOLDERS):
            _copy(project.root / name, host.project.root / name, chance, variation)
        for name in keys:
            place = host.project.root / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(project.root / name, place)
        own, source = Store(host.cache.store), Store(cache.store)
        for sha256 in _ordered(files, chance, variation):
            path = own.path(sha256)
            path.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(source.verified(sha256, files[sha256]), path)
        if variation.directories:
            # As large as what is free: a file of holes takes no room until it is needed.
            with host.disk.open("wb") as stream:
                stream.truncate(shutil.disk_usage(host.root).free)
    except OSError as error:
        raise disk_error(error, scratch) from error
    return host


def possible(variation: Variation) -> Variation:
    """``variation``, or what of it can be had here: a file system of its own needs loop devices and mkfs."""
    if shutil.which(_MKFS, path=_ADMINISTRATOR) and Path("/dev/loop-control").exists():
        return variation
    return variation.model_copy(update={"directories": None})


def run(host: Host, runner: Runner, module: str, arguments: Iterable[str], hear: Callable[[str], None]) -> None:
    """Run a Python module of ours on ``host`` to its end; ``hear`` gets each line that it writes to standard output.

    Raises:
        LichenError: it ended with an exit code other than zero, or the host cannot be made here.
    """
    variation = host.variation
    if variation.directories:
        options = f"hash_seed={variation.directories},lazy_itable_init=1"
        mkfs = shutil.which(_MKFS, path=_ADMINISTRATOR) or _MKFS
        runner.run([mkfs, "-q", "-F", "-O", "^has_journal", "-m", "0", "-E", options, host.disk])
    words = ["sh", "-c", _ENTER, "lichen"]
    words += [f"{variation.umask:04o}" if variation.umask is not None else "", variation.host or ""]
    words += [str(host.users) if variation.user else ""]
    words += [str(host.disk) if variation.directories else "", str(host.cache.root)]
    if variation.processors:
        allowed = sorted(os.sched_getaffinity(0))[: variation.processors]
        words += ["taskset", "--cpu-list", ",".join(str(number) for number in allowed)]
    words += [sys.executable, "-m", module, *arguments]
    words = among_themselves(["--mount", "--net", "--uts", "--ipc", "--propagation", "private"], words)
    with runner.started(words, cwd=host.home, env=_environment(host), tied=True) as process:
        for line in process.stdout or ():
            hear(line.decode(errors="replace").rstrip("\n"))
        told = process.stderr.read().decode(errors="replace") if process.stderr else ""
        if process.wait() != 0:
            why = "\n".join(told.strip().splitlines()[-15:])
            what = f"{module} ended with exit code {process.returncode} on another host"
            raise LichenError(Problem(what, str(host.root), why))


def _environment(host: Host) -> dict[str, str]:
    """Nothing of this machine's but where programs are."""
    variation = host.variation
    user = variation.user or "root"
    locale = variation.locale or "C.UTF-8"
    return {
        **dict(variation.noise),
        "HOME": str(host.home),
        "LANG": locale,
        "LC_ALL": locale,
        "LOGNAME": user,
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(_PACKAGE),
        "PYTHONUTF8": "1",  # the locale may be one that knows no UTF-8, and our own output is JSON
        "TMPDIR": str(host.home),
        "USER": user,
        **({"TZ": variation.time_zone} if variation.time_zone else {}),
    }


def _copy(source: Path, destination: Path, chance: random.Random, variation: Variation) -> None:
    """A copy of a folder, as the variation's umask leaves it: a checkout keeps no more than the executable bit."""
    umask = variation.umask if variation.umask is not None else 0o022
    destination.mkdir(parents=True)
    entries = {path.name: path for path in source.iterdir() if path.name != "__pycache__"}
    for name in _ordered(entries, chance, variation):
        path, new = entries[name], destination / name
        if path.is_symlink():
            new.symlink_to(path.readlink())
        elif path.is_dir():
            _copy(path, new, chance, variation)
        else:
            shutil.copyfile(path, new)
            new.chmod((0o777 if path.stat().st_mode & 0o100 else 0o666) & ~umask)
    destination.chmod(0o777 & ~umask)


def _ordered(names: Iterable[str], chance: random.Random, variation: Variation) -> list[str]:
    ordered = sorted(names)
    if variation.shuffle is not None:
        chance.shuffle(ordered)
    return ordered
