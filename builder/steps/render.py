"""Rendering: recipe + lock -> the files of an mkosi configuration. Pure; only :func:`write_tree` touches a disk.

Models and kernel sources are large: a tree holds them by reference, and they are linked out of the store when it is
written.

The whole tree (:func:`rendered_tree`) is a normal mkosi configuration with sub-images. Lichen itself builds one
component at a time from :func:`component_tree`, which holds the very same settings for one of them.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import jinja2

from builder.data import bpf, toolchain
from builder.data.driver import DriverBuild, driver_sources
from builder.data.kernel import LOCAL_VERSION, KernelBuild
from builder.data.layout import HOSTNAME, PRESET, STATE_LABEL, STATE_TYPE, WRITABLE, overlay_targets
from builder.data.lock import Lock, LockedModel
from builder.data.manifest import SECURE_BOOT
from builder.data.profile import Architecture
from builder.data.recipe import OverlayFolder, Recipe
from builder.data.rendered import RenderedFile, Tree
from builder.foundation.atomic import disk_error
from builder.foundation.errors import InputError, Problem
from builder.foundation.link import copy, link_or_copy
from builder.foundation.store import Store

PYTHON_PREFIX = "/opt/ai"
# Components of the project's own kernel, in build order. They are made in the toolchain tree, by the build machine, and
# their keys must not move with the lock's date: a newer lock with the same source has the same kernel. Drivers are only
# there where an overlay names some.
KERNEL_PARTS = ("kernel-config", "kernel", "drivers", "modules")
# What the fragments ask for together, in the tree of kernel-config.
FRAGMENTS = "fragments.config"
# Made by the build machine too, and as little a matter of the lock's date.
_DATELESS = ("toolchain", *KERNEL_PARTS, "bpf-toolchain", "bpf")
_EPOCH_OF_PARTS = 946684800  # 2000-01-01, seconds; what the kernel itself bears is the date of its source
# What make is asked for; the first is the file that boots, which a UKI wants as an EFI program of its own.
_TARGETS: dict[Architecture, str] = {
    "amd64": "bzImage modules",
    "arm64": "vmlinuz.efi modules dtbs",
    "riscv64": "vmlinuz.efi modules dtbs",
}
MODELS = "models.sha256"  # lists the models of a rendered tree, as sha256sum(1) reads it
MKOSI_ARCHITECTURES: dict[Architecture, str] = {"amd64": "x86-64", "arm64": "arm64", "riscv64": "riscv64"}
# Names of partitions and hash seeds grow from the image's name below this, so they differ between images only.
NAMESPACE = uuid.UUID("6c696368-656e-5069-8d61-676573206f66")


def seed(recipe: Recipe, lock: Lock) -> str:
    """The UUID that partition identifiers and the ext4 directory hash of an image derive from."""
    return str(uuid.uuid5(NAMESPACE, f"{recipe.name}.{lock.architecture}"))


def rendered_tree(recipe: Recipe, lock: Lock) -> Tree:
    """A complete mkosi configuration: build ``tools/`` first, then the top folder."""
    subimages = ["base", "initrd", *(["python"] if _has_wheels(lock) else [])]
    tree = {"mkosi.conf": _distribution(recipe, lock, tools_tree="%D/tools/mkosi.output/tools")}
    tree |= _moved(_component("image", recipe, lock, subimages), "mkosi.conf", "mkosi.conf.d/image.conf")
    for name in subimages:
        tree |= {f"mkosi.images/{name}/{path}": file for path, file in _component(name, recipe, lock, ()).items()}
    # Scripts of sub-images see the top folder as their sources.
    tree = _moved(tree, "mkosi.images/python/requirements.txt", "requirements.txt")
    tree |= {f"tools/{path}": file for path, file in component_tree("tools", recipe, lock).items()}
    tree |= _kernel_trees(recipe, lock)
    tree |= _bpf_trees(recipe, lock)
    if lock.models:
        listed = "".join(f"{model.sha256}  {path}\n" for path, model in sorted(_model_paths(lock).items()))
        tree[MODELS] = RenderedFile(listed.encode())
    return tree


def component_tree(name: str, recipe: Recipe, lock: Lock) -> Tree:
    """An mkosi configuration that builds one component and depends on no other image's configuration.

    Args:
        name: ``tools``, ``base``, ``initrd``, ``python``, ``image``, ``toolchain``, ``bpf-toolchain``, ``bpf`` or one
            of :data:`KERNEL_PARTS`.
    """
    dateless = name in _DATELESS
    tree = {"mkosi.conf": _distribution(recipe, lock, native=dateless or name == "tools", dateless=dateless)}
    return tree | _moved(_component(name, recipe, lock, ()), "mkosi.conf", f"mkosi.conf.d/{name}.conf")


def _kernel_trees(recipe: Recipe, lock: Lock) -> Tree:
    """What plain mkosi makes the project's own kernel from: build ``toolchain/`` first, then ``kernel/``."""
    if not recipe.kernel:
        return {}
    tree = {f"toolchain/{path}": file for path, file in component_tree("toolchain", recipe, lock).items()}
    place = "%D/../toolchain/mkosi.output/toolchain"
    tree["kernel/mkosi.conf"] = _distribution(recipe, lock, tools_tree=place, native=True, dateless=True)
    tree["kernel/mkosi.conf.d/all.conf"] = RenderedFile(b"[Config]\nDependencies=modules\n\n[Output]\nFormat=none\n")
    parts = [name for name in KERNEL_PARTS if name != "drivers" or recipe.drivers]
    for number, name in enumerate(parts):
        made = _moved(_component(name, recipe, lock, parts[:number]), "mkosi.conf", f"mkosi.images/{name}/mkosi.conf")
        # Scripts are found beside their configuration; what they read, in the top folder.
        made = _moved(made, f"{name}.finalize", f"mkosi.images/{name}/{name}.finalize")
        tree |= {f"kernel/{path}": file for path, file in made.items()}
    return tree


def _bpf_trees(recipe: Recipe, lock: Lock) -> Tree:
    """What plain mkosi compiles BPF programs from: ``bpf-toolchain/`` first, and after a kernel of our own."""
    if not recipe.bpf:
        return {}
    tree = {f"bpf-toolchain/{path}": file for path, file in component_tree("bpf-toolchain", recipe, lock).items()}
    place = "%D/../bpf-toolchain/mkosi.output/bpf-toolchain"
    made = component_tree("bpf", recipe, lock)
    made["mkosi.conf"] = _distribution(recipe, lock, tools_tree=place, native=True, dateless=True)
    if recipe.kernel:
        sources = b"[Build]\nBuildSources=\n    .\n    ../kernel/mkosi.output:mkosi.output\n"
        made["mkosi.conf.d/kernel.conf"] = RenderedFile(sources)
    return tree | {f"bpf/{path}": file for path, file in made.items()}


def kernel_build(recipe: Recipe, lock: Lock) -> KernelBuild | None:
    """The project's own kernel as the lock has it; None when the profile has one that Debian built."""
    if not recipe.kernel:
        return None
    (source,) = lock.used_by("source")
    return KernelBuild.locked(recipe.kernel, source, lock)


def driver_builds(recipe: Recipe, lock: Lock) -> tuple[DriverBuild, ...]:
    """The drivers that overlays name, as the lock has them, by name."""
    kernel = kernel_build(recipe, lock)
    return tuple(
        DriverBuild(deb, tuple(path.read_bytes() for path in recipe.patches(deb.name)), kernel)
        for deb in lock.used_by("driver")
        if kernel
    )


def _has_wheels(lock: Lock) -> bool:
    return any("image" in wheel.uses for wheel in lock.wheels)


def _moved(tree: Tree, old: str, new: str) -> Tree:
    return {new if path == old else path: file for path, file in tree.items()}


def _distribution(
    recipe: Recipe, lock: Lock, *, tools_tree: str = "", native: bool = False, dateless: bool = False
) -> RenderedFile:
    architecture = toolchain.BUILD_ARCHITECTURE if native else lock.architecture
    template = _templates() / "distribution.conf.j2"
    variables = {
        "release": recipe.profile.suite,
        "mkosi_architecture": MKOSI_ARCHITECTURES[architecture],
        "epoch": _EPOCH_OF_PARTS if dateless else lock.source_date_epoch,
        "tools_tree": tools_tree,
    }
    return RenderedFile(_render(template.read_text(), variables, str(template)))


def _component(name: str, recipe: Recipe, lock: Lock, subimages: object) -> Tree:
    build, drivers = kernel_build(recipe, lock), driver_builds(recipe, lock)
    variables = {
        **_variables(recipe, lock),
        "packages": component_packages(name, recipe, lock.architecture),
        "kernel": build,
        "drivers": drivers,
        "subimages": subimages,
    }
    tree = _template_tree(_templates() / name, variables)
    if (own := _templates() / "layouts" / recipe.profile.image.layout / name).is_dir():
        tree |= _template_tree(own, variables)
    if build and name in KERNEL_PARTS:
        tree |= _kernel_files(name, build, variables)
    if name == "drivers":
        tree |= driver_sources(drivers, lock)
    if name == "modules":
        for driver in drivers:
            prefix = f"deb/{driver.package}/"
            tree |= _template_tree(_templates() / "driver-package", {**variables, "driver": driver}, prefix)
    if name == "bpf":
        tree |= bpf.program_sources(recipe, lock)
    if name == "base":
        tree |= {f"mkosi.skeleton/{to}": RenderedFile(path.read_bytes()) for to, path in recipe.skeleton.items()}
    if name == "python":
        tree["requirements.txt"] = RenderedFile(requirements(lock).encode())
    if name == "image":
        tree |= {f"extra/{path}": file for path, file in overlay_files(recipe).items()}
        tree |= {path: RenderedFile(mode=0o444, stored=model) for path, model in _model_paths(lock).items()}
        tree |= _secure_boot_files(recipe, lock)
    return tree


def _variables(recipe: Recipe, lock: Lock) -> dict[str, Any]:
    """What templates know of an image, whatever the component."""
    image = recipe.profile.image
    return {
        "name": recipe.name,
        "local_version": LOCAL_VERSION,
        "triplet": toolchain.TRIPLETS[lock.architecture],
        "build_architecture": toolchain.BUILD_ARCHITECTURE,
        "targets": _TARGETS[lock.architecture],
        "boot_image": _TARGETS[lock.architecture].split()[0],
        "unused": toolchain.UNUSED_TOOLS[lock.architecture],
        "prefix": PYTHON_PREFIX,
        "parent": str(Path(PYTHON_PREFIX).parent),
        "platform": toolchain.WHEEL_PLATFORMS[lock.architecture],
        "epoch": lock.source_date_epoch,
        "seed": seed(recipe, lock),
        "wheels": _has_wheels(lock),
        "bpf": bool(recipe.bpf),
        "bpf_target": bpf.TARGETS[lock.architecture],
        "bpf_folder": bpf.FOLDER,
        "command_line": recipe.profile.kernel.command_line,
        "layout": image.layout,
        "root_size": image.root_size,
        "state_size": image.state_size,
        "state_type": STATE_TYPE,
        "state_label": STATE_LABEL,
        "writable": WRITABLE,
        "secure_boot": recipe.secure_boot is not None,
    }


def _secure_boot_files(recipe: Recipe, lock: Lock) -> Tree:
    """What a UKI is signed with, but for the key; nothing when the profile names no certificate."""
    if not recipe.secure_boot:
        return {}
    variables = {
        "build_triplet": toolchain.TRIPLETS[toolchain.BUILD_ARCHITECTURE],
        "date": f"{datetime.fromtimestamp(lock.source_date_epoch, UTC):%Y-%m-%d %H:%M:%S}",
    }
    return {
        **_template_tree(_templates() / "secure-boot", variables),
        SECURE_BOOT: RenderedFile(recipe.secure_boot.pem),
    }


def _kernel_files(name: str, build: KernelBuild, variables: Mapping[str, Any]) -> Tree:
    """What the scripts of a kernel's components read."""
    tree = _template_tree(_templates() / "kernel-common", variables)
    if name == "kernel-config":
        tree[FRAGMENTS] = RenderedFile(build.config.encode())
    if name in ("kernel-config", "kernel"):
        tree["source.deb"] = RenderedFile(mode=0o444, stored=build.source)
        if certificate := build.kernel.certificate:
            tree["certificate.pem"] = RenderedFile(certificate.pem)
    return tree


def _model_paths(lock: Lock) -> dict[str, LockedModel]:
    return {f"extra{model.target}": model for model in lock.models}


def component_packages(name: str, recipe: Recipe, architecture: Architecture) -> tuple[str, ...]:
    """The packages named in a component's configuration; apt adds what they depend on."""
    return {
        "tools": toolchain.tools_packages(architecture),
        "initrd": toolchain.initrd_packages(recipe.profile.image.layout),
        "base": image_packages(recipe, architecture),
        "toolchain": toolchain.toolchain_packages(architecture),
        "bpf-toolchain": tuple(sorted(toolchain.BPF_PACKAGES)),
    }.get(name, ())


def image_packages(recipe: Recipe, architecture: Architecture) -> tuple[str, ...]:
    """The packages that are named for the base tree, sorted; the project's own kernel is laid down later."""
    return tuple(
        sorted({*recipe.packages(architecture), *toolchain.IMAGE_PACKAGES, *(("kmod",) if recipe.kernel else ())})
    )


def requirements(lock: Lock) -> str:
    """The image's wheels as a requirements file with hashes."""
    return "".join(
        f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n"
        for wheel in lock.wheels
        if "image" in wheel.uses
    )


def overlay_files(recipe: Recipe) -> Tree:
    """What all overlays lay into the image, templates rendered.

    Raises:
        InputError: templates that use what is not declared, all at once.
    """
    tree: Tree = {}
    problems: list[Problem] = []
    for item in recipe.overlays:
        for target, path in overlay_targets(item):
            try:
                tree[target] = _overlay_file(recipe, item, path, target)
            except InputError as error:
                problems.extend(error.problems)
    if problems:
        raise InputError(problems)
    tree[PRESET] = RenderedFile(_preset(recipe).encode())
    tree[HOSTNAME] = RenderedFile(f"{recipe.profile.image.hostname}\n".encode())
    return tree


def _overlay_file(recipe: Recipe, item: OverlayFolder, path: Path, target: str) -> RenderedFile:
    if path.is_symlink():
        return RenderedFile(link=str(path.readlink()), overlay=item.name)
    content = path.read_bytes()
    if path.suffix == ".j2":
        variables = {
            "options": recipe.options[item.name],
            "image": {"name": recipe.name, "hostname": recipe.profile.image.hostname},
        }
        content = _render(content.decode(), variables, str(path))
    declared = item.overlay.modes.get(target)
    # git keeps the executable bit only; the umask of a checkout must not reach the image.
    mode = int(declared, 8) if declared else 0o755 if path.stat().st_mode & 0o100 else 0o644
    return RenderedFile(content, mode, overlay=item.name)


def _preset(recipe: Recipe) -> str:
    lines = ["# Units of the overlays; written by Lichen."]
    for item in recipe.overlays:
        lines += [f"disable {unit}" for unit in item.overlay.services.disable]
        lines += [f"enable {unit}" for unit in item.overlay.services.enable]
    return "\n".join(lines) + "\n"


def _templates() -> Traversable:
    return resources.files("builder") / "templates"


def _template_tree(folder: Traversable, variables: Mapping[str, Any], prefix: str = "") -> Tree:
    tree: Tree = {}
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        name = f"{prefix}{entry.name}"
        if entry.is_dir():
            tree |= _template_tree(entry, variables, f"{name}/")
            continue
        content = entry.read_bytes()
        if name.endswith(".j2"):
            name, content = name.removesuffix(".j2"), _render(content.decode(), variables, str(entry))
        tree[name] = RenderedFile(content, 0o755 if content.startswith(b"#!") else 0o644)
    return tree


def _render(text: str, variables: Mapping[str, Any], where: str) -> bytes:
    # Configuration files and scripts, not web pages: nothing is to be escaped.
    environment = jinja2.Environment(  # noqa: S701
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    try:
        return environment.from_string(text).render(variables).encode()
    except jinja2.TemplateSyntaxError as error:
        problem = Problem("the template is not valid Jinja2", f"{where}:{error.lineno}", str(error.message))
        raise InputError(problem) from error
    except jinja2.TemplateError as error:
        remedy = "declare the option in the overlay's overlay.yaml"
        raise InputError(Problem("the template cannot be rendered", where, str(error.message), remedy)) from error


def write_tree(tree: Tree, destination: Path, store: Store | None = None) -> None:
    """Write a rendered tree into a new folder.

    Args:
        store: has models and sources; without it they are left out.

    Raises:
        LichenError: a file of the store is missing or was changed, the disk is full or the folder cannot be written.
    """
    placed: set[str] = set()
    try:
        for name, file in sorted(tree.items()):
            path = destination / name
            if file.stored and not store:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if file.link is not None:
                path.symlink_to(file.link)
            elif file.stored and store:
                source = store.verified(file.stored.sha256, file.stored.size)
                # A second name of one object must not become a hard link within the image: where the store is on
                # another file system it would be a second file.
                (copy if file.stored.sha256 in placed else link_or_copy)(source, path)
                placed.add(file.stored.sha256)
            else:
                path.write_bytes(file.content)
                path.chmod(file.mode)
        # Whatever the umask: folders of the extra tree end up in the image.
        for path in destination.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
    except OSError as error:
        shutil.rmtree(destination, ignore_errors=True)
        raise disk_error(error, destination) from error
