"""``lichen plan``: what an image is made of, what of it is kept already, and why the rest must be built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.data.history import Target, estimate
from builder.data.lock import Lock, Use
from builder.data.manifest import UKI, Manifest, read_manifest
from builder.data.model import Sha256
from builder.data.plan import Component, Plan
from builder.data.recipe import Recipe
from builder.data.rendered import tree_digest
from builder.foundation.digest import digest_file, digest_value
from builder.foundation.errors import InputError
from builder.foundation.place import Project
from builder.foundation.workbench import Workbench
from builder.steps.components import ComponentCache
from builder.steps.kernels import ModuleSigner, read_module_signer
from builder.steps.profiles import load_buildable
from builder.steps.render import FRAGMENTS, component_tree
from builder.steps.secureboot import bears_signature, require_boot_key
from builder.verbs.lock import current_lock
from builder.verbs.staleness import why_stale

# How Lichen runs mkosi and what it does to the result; raise it when that changes bytes without changing a tree.
ASSEMBLY = "1"
# The same for what is told beside the image (manifest, bill of materials), which makes no component anew.
DOCUMENTS = "1"
# What puts the components of an image together.
_BY = ("mkosi", "tools")


def make_plan(workbench: Workbench, name: str, architecture: str | None = None) -> Plan:
    """The plan of a profile's image; nothing on disk changes.

    Raises:
        InputError: the profile is wrong, or its lock is missing or stale.
    """
    recipe = load_buildable(workbench.project, name)
    lock = current_lock(workbench, recipe, recipe.require_architecture(architecture))
    return plan_image(workbench, recipe, lock)


def plan_image(workbench: Workbench, recipe: Recipe, lock: Lock) -> Plan:
    """As :func:`make_plan`, for a recipe and its current lock."""
    cache = ComponentCache(workbench.cache.components)
    target = Target(profile=recipe.name, architecture=lock.architecture)
    to_sign = boot_key(workbench, recipe) is not None
    components = []
    signer = module_signer(workbench, recipe)
    for component in image_components(recipe, lock, signer.certificate_sha256 if signer else None):
        unsigned = False
        if component.name == "image":
            there = _built_image(workbench.project, lock) == component.key
            unsigned = there and to_sign and not image_signed(workbench.project, recipe, lock)
            cached = there and not unsigned
        else:
            cached = cache.has(component)
        told: dict[str, object] = {"cached": cached}
        if not cached:
            history = cache.history(component.name)
            told["moved"], told["stale"] = why_stale(component, history, recipe, target)
            told |= {"stale": ("its UKI is not signed",)} if unsigned else {}
            told["estimate"] = estimate(history, target)
        components.append(component.model_copy(update=told))
    return Plan(profile=recipe.name, architecture=lock.architecture, lock=lock.digest, components=tuple(components))


def module_signer(workbench: Workbench, recipe: Recipe) -> ModuleSigner | None:
    """Who signs the modules of the profile's own kernel; None when nobody does, or Debian did.

    Raises:
        InputError: the key cannot be used, or is not the one of the profile's certificate.
    """
    certificate = recipe.kernel and recipe.kernel.certificate
    if not certificate or not workbench.module_key:
        return None
    return read_module_signer(workbench.module_key, certificate, [workbench.project.root, workbench.cache.root])


def boot_key(workbench: Workbench, recipe: Recipe) -> Path | None:
    """The key that signs the profile's UKI; None when nobody does.

    An image without a signature is the same component as one with: signing changes nothing else of it.

    Raises:
        InputError: the key cannot be used, or is not the one of the profile's certificate.
    """
    if not recipe.secure_boot or not workbench.secure_boot_key:
        return None
    forbidden = [workbench.project.root, workbench.cache.root]
    return require_boot_key(workbench.secure_boot_key, recipe.secure_boot, forbidden)


def image_signed(project: Project, recipe: Recipe, lock: Lock) -> bool:
    """Whether the UKI of the finished image says that it is signed for the profile's certificate."""
    folder = project.image(lock.profile, lock.architecture, lock.digest)
    return recipe.secure_boot is not None and bears_signature(folder / UKI, recipe.secure_boot.pem)


def image_components(recipe: Recipe, lock: Lock, signed_for: Sha256 | None = None) -> tuple[Component, ...]:
    """All components of an image with their inputs, in build order. Pure.

    Args:
        signed_for: SHA-256 of the certificate whose key signs the modules of the project's own kernel; None leaves
            them unsigned.
    """
    mkosi = Component(name="mkosi", inputs={"package": lock.used_by("mkosi")[0].sha256})
    tools = _component("tools", recipe, lock, {"mkosi": mkosi.key, "packages": _files(lock, "tools")}, ("mkosi",))
    common = {"mkosi": mkosi.key, "tools": tools.key}
    kernel = _kernel_components(recipe, lock, mkosi, signed_for)
    base = _component("base", recipe, lock, {**common, "packages": _files(lock, "image")}, _BY)
    initrd = _component("initrd", recipe, lock, {**common, "packages": _files(lock, "initrd")}, _BY)
    parts = [*kernel[-1:], base, initrd]
    if any("image" in wheel.uses for wheel in lock.wheels):
        wheels = digest_value([wheel.sha256 for wheel in lock.wheels])
        parts.append(_component("python", recipe, lock, {**common, "wheels": wheels}, _BY))
    programs = _bpf_components(recipe, lock, mkosi, kernel)
    parts += programs[-1:]
    # File by file, so that the plan can tell which one moved.
    files = {path: digest_value(file.identity()) for path, file in component_tree("image", recipe, lock).items()}
    inputs = {
        **common,
        **{part.name: part.key for part in parts},
        **files,
        "assembly": ASSEMBLY,
        "documents": DOCUMENTS,
    }
    image = Component(name="image", inputs=inputs, needs=(*_BY, *(part.name for part in parts)))
    return (mkosi, tools, *kernel[:-1], *programs[:-1], *parts, image)


def _kernel_components(
    recipe: Recipe, lock: Lock, mkosi: Component, signed_for: Sha256 | None
) -> tuple[Component, ...]:
    """From the toolchain to the packages of the project's own kernel and drivers; nothing when Debian built the kernel.

    Neither mkosi nor the toolchain's tree decide bytes here, only the packages of the compilers do: a kernel outlives
    both.
    """
    if not recipe.kernel:
        return ()
    compilers = {"compilers": _files(lock, "toolchain")}
    toolchain = _component("toolchain", recipe, lock, {"mkosi": mkosi.key, **compilers}, _BY)
    config = _kernel_config(recipe, lock, compilers)
    kernel = _component("kernel", recipe, lock, {**compilers, config.name: config.key}, (*config.needs, config.name))
    made, needs = {**compilers, "kernel": kernel.key}, ("mkosi", "toolchain", "kernel")
    drivers = (_component("drivers", recipe, lock, made, needs),) if recipe.drivers else ()
    signed = {"signature": signed_for or "none"}
    modules = _component(
        "modules",
        recipe,
        lock,
        {**made, **{item.name: item.key for item in drivers}, **signed},
        (*needs, *(item.name for item in drivers)),
    )
    return (toolchain, config, kernel, *drivers, modules)


def _kernel_config(recipe: Recipe, lock: Lock, compilers: Mapping[str, str]) -> Component:
    """Setting by setting, so that the plan can tell which one moved."""
    tree = component_tree("kernel-config", recipe, lock)
    asked = recipe.kernel.settings(lock.architecture) if recipe.kernel else ()
    inputs = {
        **compilers,
        **{f"CONFIG_{item.symbol}": item.value for item in asked},
        "configuration": tree_digest({path: file for path, file in tree.items() if path != FRAGMENTS}),
        "assembly": ASSEMBLY,
    }
    return Component(name="kernel-config", inputs=inputs, needs=("mkosi", "toolchain"))


def _bpf_components(
    recipe: Recipe, lock: Lock, mkosi: Component, kernels: Sequence[Component]
) -> tuple[Component, ...]:
    """The tree that compiles programs for the kernel's BPF, and they; nothing when no overlay has any."""
    if not recipe.bpf:
        return ()
    compilers = {"compilers": _files(lock, "bpf")}
    toolchain = _component("bpf-toolchain", recipe, lock, {"mkosi": mkosi.key, **compilers}, _BY)
    own = [part for part in kernels if part.name == "kernel"]
    needs = ("mkosi", "bpf-toolchain", *(part.name for part in own))
    return (toolchain, _component("bpf", recipe, lock, {**compilers, **{part.name: part.key for part in own}}, needs))


def _component(name: str, recipe: Recipe, lock: Lock, inputs: Mapping[str, str], needs: tuple[str, ...]) -> Component:
    tree = tree_digest(component_tree(name, recipe, lock))
    return Component(name=name, inputs={**inputs, "configuration": tree, "assembly": ASSEMBLY}, needs=needs)


def _files(lock: Lock, use: Use) -> str:
    return digest_value([deb.sha256 for deb in lock.used_by(use)])


def _built_image(project: Project, lock: Lock) -> str | None:
    """Key of the finished image for this lock, or None when there is none or it is not whole.

    Disks are large: their sizes are looked at. All other files are hashed.
    """
    folder = project.image(lock.profile, lock.architecture, lock.digest)
    try:
        manifest = read_manifest(folder / "manifest.json")
        whole = all((folder / name).stat().st_size == item.size for name, item in manifest.artefacts.items())
        whole = whole and _sums_hold(folder, manifest)
    except (InputError, OSError, ValueError):
        return None
    return manifest.image if whole else None


def _sums_hold(folder: Path, manifest: Manifest) -> bool:
    """Whether ``SHA256SUMS`` says of the disks what the manifest says, and of every other file what its bytes are."""
    sums = dict(line.split("  ")[::-1] for line in (folder / "SHA256SUMS").read_text().splitlines())
    known = {name: item.sha256 for name, item in manifest.artefacts.items()}
    others = {name: digest_file(folder / name) for name in sums.keys() - known.keys()}
    return "manifest.json" in sums and sums == {**known, **others}
