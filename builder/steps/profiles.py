"""Reading profiles: parents merged as raw mappings, validated once, all problems reported together."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from builder.data import toolchain
from builder.data.bpf import program_problems
from builder.data.certificate import Certificate, read_certificate
from builder.data.driver import patch_problems
from builder.data.kernel import OwnKernel, architectures_disagree, read_kernel
from builder.data.layout import LAYOUT_FRAGMENTS, layout_problems, tree_problems
from builder.data.overlay import Overlay
from builder.data.profile import Architecture, Profile
from builder.data.publickey import PublicKey, read_public_key
from builder.data.recipe import OverlayFolder, Recipe
from builder.data.yamlfile import Document, KeyPath, dotted, read_yaml
from builder.foundation.errors import InputError, Problem
from builder.foundation.place import Project

# Longer chains of parents are a mistake, or made to exhaust the stack.
MAX_PARENTS = 32
# What the model's complaints are called in a YAML file.
PLAIN_WORDS = {
    "tuple_type": "wanted a list",
    "string_type": "wanted text, in quotes if need be",
    "bool_type": "wanted true or false",
    "int_type": "wanted a whole number",
    "dict_type": "wanted keys with values",
    "model_type": "wanted keys with values",
}
# What a child replaces and never inherits: whether it is a parent itself says nothing about its children.
NOT_INHERITED = frozenset({"abstract", "extends", "description"})
_Model = TypeVar("_Model", bound=BaseModel)


def profile_names(project: Project) -> tuple[str, ...]:
    """Names of all profiles, abstract ones included, sorted."""
    return tuple(sorted(path.stem for path in project.profiles.glob("*.yaml")))


def overlay_names(project: Project) -> tuple[str, ...]:
    """Names of all overlays, sorted."""
    return tuple(sorted(path.parent.name for path in project.overlays.glob("*/overlay.yaml")))


@dataclass
class _Findings:
    """Problems found so far.

    Attributes:
        wrong: what is there and must not be.
        absent: what is not there, though a parent that could not be read may have it.
    """

    wrong: list[Problem] = field(default_factory=list)
    absent: list[Problem] = field(default_factory=list)


@dataclass
class _Merged:
    """Raw mappings merged so far, with the place every key came from.

    Attributes:
        default: the place of what no file has.
        own: for each list item the key that it has in its own file; in the merged list it may stand further back.
    """

    default: str
    value: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, str] = field(default_factory=dict)
    own: dict[KeyPath, KeyPath] = field(default_factory=dict)

    def add(self, document: Document, inherited: bool) -> None:
        raw = {k: v for k, v in document.value.items() if not (inherited and k in NOT_INHERITED)}
        self._merge(self.value, raw, (), document)

    def _merge(self, into: dict[str, Any], raw: dict[str, Any], at: KeyPath, document: Document) -> None:
        for name, value in raw.items():
            key = (*at, name)
            old = into.get(name)
            if isinstance(old, dict) and isinstance(value, dict):
                self._merge(old, value, key, document)
            elif isinstance(old, list) and isinstance(value, list):
                self._append(old, value, key, document)
            else:
                self._forget(key)
                into[name] = {} if isinstance(value, dict) else [] if isinstance(value, list) else value
                self.origins[key] = _origin(document, key)
                if isinstance(value, dict):
                    self._merge(into[name], value, key, document)
                elif isinstance(value, list):
                    self._append(into[name], value, key, document)

    def _append(self, into: list[Any], raw: list[Any], at: KeyPath, document: Document) -> None:
        for index, item in enumerate(raw):
            if item not in into:
                self.origins[(*at, len(into))] = _origin(document, (*at, index))
                self.own[(*at, len(into))] = (*at, index)
                into.append(item)

    def _forget(self, key: KeyPath) -> None:
        for known in [known for known in self.origins if known[: len(key)] == key]:
            del self.origins[known]

    def place(self, key: KeyPath) -> str:
        """``FILE:LINE: key`` of the nearest part of ``key`` that some file has, as that file counts."""
        known = key
        while known and known not in self.origins:
            known = known[:-1]
        shown = dotted((*self.own.get(known, known), *key[len(known) :]))
        return f"{self.origins.get(known, self.default)}: {shown}"


def _origin(document: Document, key: KeyPath) -> str:
    return f"{document.path}:{document.line(key)}"


def load_recipe(project: Project, name: str) -> Recipe:
    """The recipe of profile ``name``.

    Raises:
        InputError: everything that is wrong with the profile, its parents and its overlays, at once.
    """
    documents, broken = _lineage(project, name)
    if not documents or documents[-1].path.stem != name:
        raise InputError(broken)
    merged = _Merged(default=str(documents[-1].path))
    for document in documents:
        merged.add(document, inherited=document is not documents[-1])
    if not merged.origins and not broken:
        raise InputError(Problem("the profile is empty", str(documents[-1].path), "", "see docs/profiles.md"))
    found = _Findings()
    profile = _validate(Profile, merged.value, merged, found)
    # Overlays are read even from a profile that is wrong elsewhere, so that all errors come together.
    named = merged.value.get("overlays")
    wanted = [str(item) for item in named] if isinstance(named, list) else []
    overlays = tuple(_overlays(project, wanted, merged, found))
    options = _options(merged.value.get("options"), wanted, overlays, merged, found)
    models, layout = (profile.models, profile.image.layout) if profile else ({}, "mutable")
    found.wrong.extend(layout_problems(overlays, models, layout, merged.place))
    keys = _keys(project, profile, merged, found) if profile else {}
    kernel = _kernel(project, profile, overlays, merged, found) if profile else None
    secure_boot = _secure_boot(project, profile, merged, found) if profile else None
    if profile and not profile.abstract and not profile.architectures:
        remedy = "add `architectures: [amd64]`, or `abstract: true` for a parent"
        found.absent.append(Problem("the profile names no architecture", str(documents[-1].path), "", remedy))
    problems = [*broken, *found.wrong, *(() if broken else found.absent)]
    if problems or profile is None:
        # One place, one problem: the first one told is the cause of the others, and a value that may have several
        # types is refused by each of them.
        raise InputError(list({problem.where: problem for problem in reversed(problems)}.values())[::-1])
    return Recipe(name, profile, overlays, options, merged.origins, keys, kernel, secure_boot)


def load_buildable(project: Project, name: str) -> Recipe:
    """The recipe of a profile that is not abstract.

    Raises:
        InputError: as :func:`load_recipe`, and for a profile that is only a parent.
    """
    recipe = load_recipe(project, name)
    if recipe.profile.abstract:
        where = str(project.profiles / f"{name}.yaml")
        raise InputError(
            Problem("the profile is abstract", where, "it is a parent only", "name a profile that extends it")
        )
    return recipe


def every_image(project: Project) -> tuple[list[tuple[str, Architecture]], list[Problem]]:
    """Profile and architecture of each image that the project has; and everything wrong with any of its profiles."""
    found: list[tuple[str, Architecture]] = []
    problems: list[Problem] = []
    for name in profile_names(project):
        try:
            profile = load_recipe(project, name).profile
        except InputError as error:
            problems += error.problems
        else:
            found += [(name, item) for item in profile.architectures if not profile.abstract]
    # What is wrong with a parent is wrong with all of its children.
    return found, list(dict.fromkeys(problems))


def _lineage(project: Project, name: str) -> tuple[list[Document], list[Problem]]:
    """The documents of all parents and of ``name``, parents first, each one once; and why some are not there."""
    documents: dict[str, Document] = {}
    problems: list[Problem] = []

    def visit(current: str, path: tuple[str, ...], place: str) -> None:
        if current in path:
            chain = " -> ".join((*path[path.index(current) :], current))
            problems.append(Problem("profiles extend one another in a circle", place, chain, "remove one `extends`"))
            return
        if len(path) > MAX_PARENTS:
            problems.append(Problem("too many parents", place, f"more than {MAX_PARENTS} in one line", "merge some"))
        if current in documents or len(path) > MAX_PARENTS:
            return
        file = project.profiles / f"{current}.yaml"
        if not _is_name(current) or not file.is_file():
            problems.append(_unknown("profile", current, profile_names(project), place or str(project.profiles)))
            return
        try:
            document = read_yaml(file)
        except InputError as error:
            problems.extend(error.problems)
            return
        parents = document.value.get("extends", [])
        # A wrong type is reported by the model; only what can be followed is followed.
        for index, parent in enumerate(parents if isinstance(parents, list) else []):
            if isinstance(parent, str):
                visit(parent, (*path, current), document.place(("extends", index)))
        documents[current] = document

    visit(name, (), "")
    return list(documents.values()), problems


def _is_name(text: str) -> bool:
    return len(text) <= 64 and re.fullmatch("[a-z0-9][a-z0-9-]*", text) is not None


def _unknown(kind: str, name: str, known: Iterable[str], where: str) -> Problem:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=3)
    remedy = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known) or 'none'}"
    return Problem(f"there is no {kind} called {name!r}", where, "", remedy)


def _validate(model: type[_Model], value: Any, source: _Merged | Document, found: _Findings) -> _Model | None:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        for item in error.errors():
            key = _key(value, item)
            into = found.absent if item["type"] == "missing" else found.wrong
            into.append(_schema_problem(model, key, item, source.place(key)))
        return None


def _key(value: Any, item: Any) -> KeyPath:
    """The key that an error of the model is about, without what the model adds to name its own types."""
    key: KeyPath = ()
    for part in item["loc"]:
        try:
            value = value[part]
        except (LookupError, TypeError):
            return (*key, part) if item["type"] == "missing" else key
        key = (*key, part)
    return key


def _schema_problem(model: type[BaseModel], key: KeyPath, item: Any, where: str) -> Problem:
    if item["type"] == "extra_forbidden":
        known = list(_known_keys(model, key[:-1]))
        return _unknown("key", str(key[-1]), known, where)
    if item["type"] == "missing":
        return Problem(f"the key {dotted(key)!r} is missing", where, "", f"add `{key[-1]}:`")
    got = repr(item["input"])
    message = PLAIN_WORDS.get(item["type"], item["msg"].removeprefix("Value error, "))
    return Problem("the value does not fit", where, f"{message}, got {got[:80]}")


def _known_keys(model: type[BaseModel], key: KeyPath) -> Iterator[str]:
    kind: Any = model
    for part in key:
        if isinstance(kind, type) and issubclass(kind, BaseModel) and part in kind.model_fields:
            kind = kind.model_fields[str(part)].annotation
        elif get_origin(kind) is dict:
            kind = get_args(kind)[1]
        else:
            return
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield from kind.model_fields


def _overlays(project: Project, wanted: list[str], merged: _Merged, found: _Findings) -> Iterator[OverlayFolder]:
    for index, name in enumerate(wanted):
        place = merged.place(("overlays", index))
        folder = project.overlays / name
        file = folder / "overlay.yaml"
        if not _is_name(name) or not folder.is_dir():
            found.wrong.append(_unknown("overlay", name, overlay_names(project), place))
            continue
        if not file.is_file():
            found.wrong.append(
                Problem("the overlay has no overlay.yaml", str(file), f"asked for by {place}", "write it")
            )
            continue
        try:
            document = read_yaml(file)
        except InputError as error:
            found.wrong.extend(error.problems)
            continue
        overlay = _validate(Overlay, document.value, document, found)
        if overlay is None:
            continue
        for at, required in enumerate(overlay.requires):
            if required not in wanted:
                why = f"overlay {name} requires it"
                where = document.place(("requires", at))
                if required not in overlay_names(project):
                    found.wrong.append(_unknown("overlay", required, overlay_names(project), where))
                    continue
                found.absent.append(
                    Problem(f"overlay {required!r} is missing", where, why, f"add it to overlays in {place}")
                )
        found.wrong.extend(tree_problems(folder / "tree", overlay, document))
        found.wrong.extend(patch_problems(folder / "drivers", overlay.drivers))
        others = [project.overlays / other / "bpf" for other in wanted[: wanted.index(name)]]
        found.wrong.extend(program_problems(folder / "bpf", others))
        yield OverlayFolder(name, folder, overlay, document)


def _options(
    given: Any, wanted: list[str], overlays: tuple[OverlayFolder, ...], merged: _Merged, found: _Findings
) -> dict[str, dict[str, Any]]:
    declared = {item.name: item.overlay.options for item in overlays}
    settled = {name: {key: option.default for key, option in options.items()} for name, options in declared.items()}
    for overlay, values in given.items() if isinstance(given, dict) else ():
        if overlay not in declared:
            # An overlay that is wrong itself has been told of; its options cannot be known.
            if overlay not in wanted:
                place = merged.place(("options", overlay))
                found.absent.append(_unknown("overlay in this profile", overlay, wanted, place))
            continue
        for key, value in values.items() if isinstance(values, dict) else ():
            place = merged.place(("options", overlay, key))
            option = declared[overlay].get(key)
            if option is None:
                found.wrong.append(_unknown(f"option of {overlay}", key, declared[overlay], place))
            elif complaint := option.complaint(value):
                found.wrong.append(Problem("the option's value does not fit", place, complaint, option.allowed()))
            else:
                settled[overlay][key] = tuple(value) if isinstance(value, list) else value
    return settled


def _keys(project: Project, profile: Profile, merged: _Merged, found: _Findings) -> dict[str, PublicKey]:
    """The public keys of the profile's repositories."""
    keys: dict[str, PublicKey] = {}
    for name, repository in profile.repositories.items():
        if name in toolchain.DEBIAN_ARCHIVES:
            place = merged.place(("repositories", name))
            found.wrong.append(Problem("a repository has the name of an archive of Debian", place, "", "rename it"))
        try:
            keys[name] = read_public_key(project.root, repository, merged.place(("repositories", name, "key")))
        except InputError as error:
            found.wrong.extend(error.problems)
    return keys


def _kernel(
    project: Project, profile: Profile, overlays: tuple[OverlayFolder, ...], merged: _Merged, found: _Findings
) -> OwnKernel | None:
    """The project's own kernel with the fragments of profile and overlays; None for one that Debian built."""
    kernel = profile.kernel
    asked = {name: merged.place(("kernel", "fragments", at)) for at, name in enumerate(kernel.fragments or ())}
    if kernel.source is None:
        why = f"{kernel.package or 'that of the release'} is built already"
        remedy = "name a `source` instead of `package`"
        found.wrong += [Problem("a fragment needs a kernel of our own", at, why, remedy) for at in asked.values()]
        drivers = [item.document.place(("drivers", at)) for item in overlays for at in range(len(item.overlay.drivers))]
        found.wrong += [Problem("a driver needs a kernel of our own", at, why, remedy) for at in drivers]
        return None
    # What overlays and the layout need is asked of our own kernel only: Debian's have it built in or as modules.
    for name in LAYOUT_FRAGMENTS[profile.image.layout]:
        asked.setdefault(name, merged.place(("image", "layout")))
    for item in overlays:
        for at, name in enumerate(item.overlay.kernel_fragments):
            asked.setdefault(name, item.document.place(("kernel_fragments", at)))
    place = merged.place(("kernel", "certificate"))
    try:
        own = read_kernel(
            project.root, kernel.source, asked, (kernel.certificate, place) if kernel.certificate else None
        )
    except InputError as error:
        found.wrong.extend(error.problems)
        return None
    found.wrong.extend(architectures_disagree(own, profile.architectures))
    return own


def _secure_boot(project: Project, profile: Profile, merged: _Merged, found: _Findings) -> Certificate | None:
    """The certificate of the key that signs the UKI; None when the profile names none."""
    if profile.image.secure_boot is None:
        return None
    place = merged.place(("image", "secure_boot"))
    try:
        return read_certificate(project.root, profile.image.secure_boot, place, "the Secure Boot key")
    except InputError as error:
        found.wrong.extend(error.problems)
        return None
