"""Names by which containers ask for the GPUs of NVIDIA on this machine.

Written is a specification of the Container Device Interface (cncf-tags/container-device-interface, SPEC.md): which
device files and which parts of the driver's user space a container gets with ``nvidia.com/gpu=0``, ``=GPU-UUID`` or
``=all``. All of it follows from what the driver tells in ``/proc`` and from the linker's cache; no hook runs in any
container.
"""

import argparse
import json
import os
import platform
import re
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

DRIVER = "proc/driver/nvidia"
# JSON is YAML too. The name is that of NVIDIA's own tool: whoever installs it later replaces this file, and does not
# get a second one with the same devices, which readers refuse.
SPECIFICATION = "run/cdi/nvidia.yaml"
# The oldest version in which names may begin with a digit. Podman 5.4 reads 0.1.0 to 0.8.0.
CDI_VERSION = "0.5.0"
KIND = "nvidia.com/gpu"
# What CUDA opens besides the GPU itself; without it a container would have a GPU that nothing can compute on.
NEEDED_NODES = ("/dev/nvidiactl", "/dev/nvidia-uvm")
# Profilers and graphics.
FURTHER_NODES = ("/dev/nvidia-uvm-tools", "/dev/nvidia-modeset")
NEEDED_LIBRARIES = ("libcuda.so.1", "libnvidia-ml.so.1")
# Where a container finds libraries without a hook that runs ldconfig, and without LD_LIBRARY_PATH: an image's own would
# be lost. First the place that the linker of Debian and Ubuntu searches by itself, then the one that NVIDIA's images
# have in their LD_LIBRARY_PATH, whatever distribution they are made from.
PLACES = ("/usr/lib/{multiarch}", "/usr/local/nvidia/lib64")
# As `ldconfig -p` has them: "libcuda.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libcuda.so.1".
CACHED = re.compile(r"\s*(?P<name>lib[\w.+-]+) \((?P<kind>libc6,[\w-]+)\) => (?P<path>/\S+)", re.ASCII)
# By what Python calls the machine; the driver exists for no other.
KINDS = {"x86_64": "libc6,x86-64", "aarch64": "libc6,AArch64"}
# Lengths, not only letters: what the driver does not know yet it tells as question marks.
UUID = re.compile(r"GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LOCATION = re.compile(r"([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])")
# More than any file of the driver that is read here.
LIMIT = 4096


class Unfit(Exception):
    """There are GPUs, and no specification can be made for them; the message says why."""


@dataclass(frozen=True)
class Gpu:
    """A GPU that the driver has.

    Attributes:
        index: as nvidia-smi counts, by place on the PCI bus.
        location: that place, as ``0000:07:00.0``.
        minor: number of its device file.
        uuid: None while the driver does not know it.
    """

    index: int
    location: str
    minor: int
    uuid: str | None

    @property
    def node(self) -> str:
        """Its device file."""
        return f"/dev/nvidia{self.minor}"


def warn(text: str) -> None:
    """For the journal; the specification is made all the same."""
    print(f"gpu-cdi: {text}", file=sys.stderr)


def read(path: Path) -> str:
    """The beginning of a file of the driver.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(LIMIT).decode("ascii", "replace")


def driver_version(root: Path) -> str | None:
    """Version of the kernel module; None when it is not loaded.

    Raises:
        Unfit: it is loaded and does not tell its version.
    """
    # "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.163.01  Release Build  (…)". Debian calls the module
    # nvidia-current, so its folder in /sys has another name than elsewhere.
    try:
        text = read(root / DRIVER / "version")
    except FileNotFoundError:
        return None
    found = re.search(r"^NVRM version:.*?\s([0-9]+\.[0-9]+(?:\.[0-9]+)?)\s", text)
    if not found:
        raise Unfit(f"/{DRIVER}/version tells no version: {text.splitlines()[:1]}")
    return found[1]


def find_gpus(root: Path) -> tuple[Gpu, ...]:
    """GPUs that the driver has and nobody excluded, in order; those it tells nonsense about are left out with a word.

    Raises:
        Unfit: it tells nonsense about all of them.
    """
    folders = {}
    for folder in sorted((root / DRIVER / "gpus").glob("*")):
        if place := LOCATION.fullmatch(folder.name):
            folders[tuple(int(part, 16) for part in place.groups())] = folder
        else:
            warn(f"{folder.name!r} is no place on the PCI bus: left out")
    told = [(folder.name, _information(folder)) for _, folder in sorted(folders.items())]
    counted = [(location, fields) for location, fields in told if fields.get("GPU Excluded") != "Yes"]
    found: dict[int, Gpu] = {}
    for index, (location, fields) in enumerate(counted):
        minor = fields.get("Device Minor", "")
        if not re.fullmatch(r"[0-9]{1,3}", minor) or int(minor) in found:
            warn(f"GPU {index} at {location} has no device minor of its own ({minor!r}): left out")
            continue
        uuid = fields.get("GPU UUID", "")
        known = UUID.fullmatch(uuid) and uuid not in {gpu.uuid for gpu in found.values()}
        if not known:
            warn(f"GPU {index} at {location} has no UUID of its own ({uuid!r}): only its number names it")
        found[int(minor)] = Gpu(index, location, int(minor), uuid if known else None)
    if counted and not found:
        raise Unfit("the driver tells nonsense about all of its GPUs")
    return tuple(found.values())


def _information(folder: Path) -> dict[str, str]:
    try:
        text = read(folder / "information")
    except OSError as error:
        warn(f"{folder.name}: {error}")
        return {}
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip()[:80])
    return fields


def resolve(root: Path, path: str) -> str:
    """``path`` without symbolic links, for a process whose root is ``root``: alternatives are absolute links.

    Raises:
        Unfit: links that lead nowhere but to each other.
    """
    done: list[str] = []
    waiting = path.split("/")[::-1]
    links = 0
    while waiting:
        part = waiting.pop()
        if part == "..":
            done = done[:-1]
        elif part not in {"", "."}:
            try:
                target = os.readlink(root.joinpath(*done, part))
            except OSError:
                done.append(part)
                continue
            # As many as the kernel follows, path_resolution(7).
            if (links := links + 1) > 40:
                raise Unfit(f"{path}: too many symbolic links")
            done = [] if target.startswith("/") else done
            waiting += target.split("/")[::-1]
    return "/" + "/".join(done)


def find_libraries(root: Path, version: str) -> dict[str, str]:
    """The driver's libraries: name to look for, and file. The linker's cache has them at the module's version.

    Raises:
        Unfit: one that CUDA cannot do without is missing, or of another version.
    """
    try:
        cache = ["/sbin/ldconfig", "-C", str(root / "etc/ld.so.cache"), "-p"]
        listing = subprocess.run(cache, capture_output=True, check=True, env={"LC_ALL": "C"}).stdout
    except subprocess.CalledProcessError as error:
        raise Unfit(f"the linker's cache cannot be read: {error.stderr.decode(errors='replace').strip()}") from error
    # Of several with one name the linker takes the first.
    found: dict[str, str] = {}
    for line in listing.decode(errors="replace").splitlines():
        if (entry := CACHED.fullmatch(line)) and entry["kind"] == KINDS[platform.machine()]:
            found.setdefault(entry["name"], resolve(root, entry["path"]))
    for name in NEEDED_LIBRARIES:
        if name not in found:
            raise Unfit(f"{name} is not in the linker's cache: is the user space of driver {version} installed?")
        if not found[name].endswith(f".so.{version}"):
            raise Unfit(f"the module is of driver {version}, {name} is {found[name]}: both must be of one version")
    return {name: path for name, path in sorted(found.items()) if path.endswith(f".so.{version}")}


def mounts(root: Path, version: str) -> Iterator[dict[str, object]]:
    """What a container sees of the driver's user space.

    Raises:
        Unfit: see :func:`find_libraries`.
    """
    multiarch = f"{platform.machine()}-linux-gnu"
    for name, path in find_libraries(root, version).items():
        for place in PLACES:
            yield _mount(path, f"{place.format(multiarch=multiarch)}/{name}")
    program = "/usr/bin/nvidia-smi"
    if (root / resolve(root, program).lstrip("/")).is_file():
        yield _mount(resolve(root, program), program)
    else:
        warn(f"no {program} for containers")
    socket = "/run/nvidia-persistenced/socket"
    if (root / socket.lstrip("/")).exists():
        yield _mount(socket, socket, "noexec")


def _mount(host: str, container: str, *options: str) -> dict[str, object]:
    options = ("ro", "nosuid", "nodev", "bind", "rprivate", *options)
    return {"hostPath": host, "containerPath": container, "options": list(options)}


def _is_node(root: Path, path: str) -> bool:
    try:
        return stat.S_ISCHR((root / path.lstrip("/")).stat().st_mode)
    except OSError:
        return False


def _nodes(*paths: str) -> list[dict[str, str]]:
    # Not "m": nobody in a container makes device files.
    return [{"path": path, "permissions": "rw"} for path in paths]


def specification(root: Path, version: str, gpus: Sequence[Gpu]) -> dict[str, object]:
    """The document, for :mod:`json`.

    Raises:
        Unfit: a part of the driver is missing, or no GPU has a device file.
    """
    for path in NEEDED_NODES:
        if not _is_node(root, path):
            raise Unfit(f"no {path}: see nvidia-modprobe(1), which makes it")
    usable = [gpu for gpu in gpus if _is_node(root, gpu.node)]
    for gpu in gpus:
        if gpu not in usable:
            warn(f"GPU {gpu.index} at {gpu.location} has no {gpu.node}: left out")
        if any((root / DRIVER / f"capabilities/gpu{gpu.minor}/mig").glob("gi*")):
            warn(f"GPU {gpu.index} at {gpu.location} is divided (MIG): its parts have no names of their own")
    if not usable:
        raise Unfit("none of the GPUs has a device file")
    names = {name: [gpu.node] for gpu in usable for name in (str(gpu.index), gpu.uuid) if name}
    names["all"] = [gpu.node for gpu in usable]
    common = _nodes(*NEEDED_NODES, *(path for path in FURTHER_NODES if _is_node(root, path)))
    return {
        "cdiVersion": CDI_VERSION,
        "kind": KIND,
        "devices": [{"name": name, "containerEdits": {"deviceNodes": _nodes(*names[name])}} for name in names],
        "containerEdits": {"deviceNodes": common, "mounts": list(mounts(root, version))},
    }


def write(path: Path, document: dict[str, object]) -> None:
    """Readers get this one or the one before, never half of it: only what ends in .json or .yaml is read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    new.chmod(0o644)
    os.replace(new, path)


def refresh(root: Path) -> str:
    """Make the specification anew, or take it away where there is no GPU. Returned is what was done, for people.

    Raises:
        Unfit: there are GPUs and none for containers; the old specification is gone too.
    """
    path = root / SPECIFICATION
    try:
        version = driver_version(root)
        gpus = find_gpus(root) if version else ()
        if version is None or not gpus:
            path.unlink(missing_ok=True)
            why = "NVIDIA's driver is not loaded" if version is None else f"driver {version} has none"
            return f"no GPU for containers: {why}"
        document = specification(root, version, gpus)
    except Unfit:
        path.unlink(missing_ok=True)
        raise
    write(path, document)
    names = [device["name"] for device in document["devices"]]
    return f"driver {version}, GPUs for containers: {' '.join(f'{KIND}={name}' for name in names)}"


def main() -> None:
    """Make the specification and say what is in it."""
    parser = argparse.ArgumentParser(prog="gpu-cdi", description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("/"), help="look and write below this folder")
    try:
        print(refresh(parser.parse_args().root))
    except Unfit as why:
        sys.exit(f"gpu-cdi: no GPU for containers: {why}")


if __name__ == "__main__":
    main()
