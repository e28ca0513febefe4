"""``lichen diff``: what differs between two locks, manifests or images, for whoever reviews a change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from builder.data.comparison import Changed, Comparison, Moved, News, Note, Resized, Side, changed
from builder.data.contents import CONTENTS, FileEntry
from builder.data.duplicates import duplicates
from builder.data.lock import Deb, Lock
from builder.data.manifest import KERNEL_CONFIG, Manifest
from builder.data.testresults import PORTS, read_ports
from builder.foundation.progress import step
from builder.foundation.store import Store
from builder.foundation.workbench import Workbench
from builder.steps.debs import UnreadError, kernel_options, news, parse_options
from builder.steps.sizes import by_owner
from builder.steps.surface import listeners, privileged, services
from builder.verbs.imagetest import results_folder
from builder.verbs.lock import changes
from builder.verbs.sides import Subject, read_subject


def diff(workbench: Workbench, old: str, new: str) -> Comparison:
    """Compare what ``old`` and ``new`` name (see :func:`~builder.verbs.sides.read_subject`).

    Raises:
        InputError: one of them is not there, or none of what can be compared, or damaged.
    """
    return compare(workbench, read_subject(workbench, old), read_subject(workbench, new))


def compare(workbench: Workbench, old: Subject, new: Subject) -> Comparison:
    """As :func:`diff`, for what was read already."""
    notes = list(_strangers(old, new))
    store = Store(workbench.cache.store)
    moved = tuple(_moved(old, new))
    told = tuple(_news(workbench, store, old, new, moved))
    options = _kernel_options(workbench, store, old, new, notes)
    ports = _ports(old, new, notes)
    before, after = old.contents(), new.contents()
    notes += _without_contents(old, before, new, after)
    return Comparison(
        old=_side(old, before),
        new=_side(new, after),
        facts=_facts(old, new),
        moved=moved,
        news=told,
        kernel_options=options,
        ports=ports,
        **(_contents(before, after) if before is not None and after is not None else {}),
        notes=tuple(_gathered(notes)),
    )


def _gathered(notes: Iterable[Note]) -> Iterator[Note]:
    """The notes, those that say the same of both sides as one."""
    places: dict[tuple[str, str], list[str]] = {}
    for note in notes:
        places.setdefault((note.what, note.why), []).append(note.where)
    for (what, why), where in places.items():
        yield Note(what=what, where=", ".join(where), why=why)


def _side(subject: Subject, entries: Sequence[FileEntry] | None) -> Side:
    return Side(
        given=subject.given,
        kind=subject.kind,
        profile=subject.document.profile,
        architecture=subject.document.architecture,
        lock=subject.lock,
        packages=len(subject.debs),
        package_bytes=sum(deb.size for deb in subject.debs),
        wheels=len(subject.wheels),
        wheel_bytes=sum(wheel.size for wheel in subject.wheels),
        file_bytes=None if entries is None else sum(by_owner(entries).values()),
    )


def _strangers(old: Subject, new: Subject) -> Iterator[Note]:
    """Words about two sides that do not belong together."""
    for name in ("profile", "architecture"):
        left, right = getattr(old.document, name), getattr(new.document, name)
        if left != right:
            yield Note(what=f"another {name}", where=new.given, why=f"{right} is compared with {left}")


def _moved(old: Subject, new: Subject) -> Iterator[Moved]:
    tools = {wheel.name for side in (old, new) for wheel in side.document.wheels if "image" not in wheel.uses}
    whole = isinstance(old.document, Lock) and isinstance(new.document, Lock)
    left, right = _as_lock(old, whole), _as_lock(new, whole)
    for change in changes(left, right):
        # Files of another architecture have other bytes by nature.
        if change.old != change.new or left.architecture == right.architecture:
            what = "tool" if change.what == "wheel" and change.name in tools else change.what
            yield Moved(kind=change.kind, what=what, name=change.name, old=change.old, new=change.new)
    if not whole:
        yield from _moved_tools(old.document, new.document)


def _as_lock(subject: Subject, whole: bool) -> Lock:
    """The side as a lock; with nothing but packages and wheels unless both are locks (``whole``)."""
    document = subject.document
    inside = {"debs": subject.debs, "wheels": subject.wheels}
    if isinstance(document, Lock):
        return document if whole else document.model_copy(update={**inside, "models": (), "repositories": ()})
    said = {name: getattr(document, name) for name in ("profile", "architecture", "source_date_epoch")}
    return Lock.model_validate({**said, **inside, "recipe": document.lock, "resolution": document.lock, "suites": ()})


def _moved_tools(old: Lock | Manifest, new: Lock | Manifest) -> Iterator[Moved]:
    """Tools of two sides of which one is a manifest, which names those that decide bytes and no other."""
    left, right = _tools(old), _tools(new)
    if isinstance(old, Lock) or isinstance(new, Lock):
        common = left.keys() & right.keys()
        left, right = ({name: tools[name] for name in common} for tools in (left, right))
    for item in changed(left, right):
        kind = "added" if item.old is None else "removed" if item.new is None else "moved"
        yield Moved.model_validate({"kind": kind, "what": "tool", **item.model_dump()})


def _tools(document: Lock | Manifest) -> dict[str, str]:
    if isinstance(document, Manifest):
        return document.tools
    return {deb.name: deb.version for deb in document.debs if {"tools", "mkosi"} & set(deb.uses)}


def _news(workbench: Workbench, store: Store, old: Subject, new: Subject, moved: Iterable[Moved]) -> Iterator[News]:
    """What changelogs tell, once for all packages of one source that moved together."""
    before, after = ({deb.name: deb for deb in side.debs} for side in (old, new))
    groups: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for item in moved:
        if item.kind == "moved" and item.what == "deb":
            left, right = before[item.name], after[item.name]
            groups[right.source_package, left.version, right.version].append(item.name)
    if not groups:
        return
    with step(workbench.progress, "reading changelogs"):
        for _, names in sorted(groups.items()):
            told = _first_news(workbench, store, names, before, after)
            yield told.model_copy(update={"packages": tuple(names)})


def _first_news(
    workbench: Workbench, store: Store, names: Sequence[str], before: Mapping[str, Deb], after: Mapping[str, Deb]
) -> News:
    """Of the first package that has a changelog."""
    for name in names:
        told = news(workbench.runner, store, before[name], after[name], after)
        if not told.absent:
            break
    return told


def _kernel_options(
    workbench: Workbench, store: Store, old: Subject, new: Subject, notes: list[Note]
) -> tuple[Changed, ...]:
    left, right = (
        [deb for deb in side.debs if deb.name.startswith("linux-image-") and "image" in deb.uses] for side in (old, new)
    )
    if {deb.sha256 for deb in left} == {deb.sha256 for deb in right}:
        return ()
    options = []
    for side, kernels in ((old, left), (new, right)):
        # That of the project's own kernel lies beside the image; its package is in no store.
        path = side.folder / KERNEL_CONFIG if side.folder else None
        if path and path.is_file():
            options.append(parse_options(path.read_text(encoding="utf-8")))
            continue
        try:
            options.append(kernel_options(workbench.runner, store, kernels))
        except UnreadError as reason:
            notes.append(Note(what="kernel options are not compared", where=side.given, why=str(reason)))
    return changed(*options) if len(options) == 2 else ()


def _ports(old: Subject, new: Subject, notes: list[Note]) -> tuple[Changed, ...]:
    if old.folder is None or new.folder is None:
        return ()
    found = []
    for side, folder in ((old, old.folder), (new, new.folder)):
        path = results_folder(folder) / "artifacts" / PORTS
        if path.exists():
            found.append(listeners(read_ports(path)))
        else:
            why = "no test of it wrote them down: run `lichen test`"
            notes.append(Note(what="open ports are not compared", where=side.given, why=why))
    return changed(*found) if len(found) == 2 else ()


def _without_contents(
    old: Subject, before: Sequence[FileEntry] | None, new: Subject, after: Sequence[FileEntry] | None
) -> Iterator[Note]:
    if old.kind == new.kind == "lock":
        return
    for side, entries in ((old, before), (new, after)):
        if entries is None:
            what = "services, set-user-ID files and sizes are not compared"
            why = f"there is no {CONTENTS}: " + ("build the image anew" if side.folder else "name the image folder")
            yield Note(what=what, where=side.given, why=why)


def _contents(before: Sequence[FileEntry], after: Sequence[FileEntry]) -> dict[str, Any]:
    """The parts of a comparison that two lists of files tell."""
    left, right = by_owner(before), by_owner(after)
    sizes = [
        Resized(owner=owner, old=left.get(owner, 0), new=right.get(owner, 0))
        for owner in {*left, *right}
        if left.get(owner, 0) != right.get(owner, 0)
    ]
    known = {(item.name, item.owners) for item in duplicates(before)}
    return {
        "services": changed(*services(before, after)),
        "privileged": changed(privileged(before), privileged(after)),
        "sizes": tuple(sorted(sizes, key=lambda item: (-abs(item.new - item.old), item.owner))),
        "duplicates": tuple(item for item in duplicates(after) if (item.name, item.owners) not in known),
    }


def _facts(old: Subject, new: Subject) -> tuple[Changed, ...]:
    """What else the two documents say; of a lock and a manifest only what both do."""
    left, right = dict(_said(old)), dict(_said(new))
    if isinstance(old.document, Lock) != isinstance(new.document, Lock):
        common = left.keys() & right.keys()
        left, right = ({name: said[name] for name in common} for said in (left, right))
    return changed(left, right)


def _said(subject: Subject) -> Iterator[tuple[str, str]]:
    document = subject.document
    yield "profile", document.profile
    yield "architecture", document.architecture
    yield "lock", subject.lock[:12]
    yield "date", subject.date
    if isinstance(document, Lock):
        yield "recipe", document.recipe[:12]
        for index in document.suites:
            yield f"suite {index.archive} {index.suite}", index.date + (", expired" if index.expired else "")
        for name in document.without:
            yield f"without suite {name}", "yes"
        for model in document.models:
            yield f"target of model {model.name}", model.target
        for repository in document.repositories:
            yield f"key file of repository {repository.name}", repository.key_sha256[:12]
        return
    yield from (("hostname", document.hostname), ("layout", document.layout))
    yield "root file system", document.root_filesystem
    yield from (("overlays", ", ".join(document.overlays)), ("kernel", document.kernel))
    yield "tested ports", ", ".join(str(port) for port in document.ports)
    for overlay, options in document.options.items():
        for option, value in options.items():
            yield f"option {overlay}.{option}", str(value)
    for name, artefact in document.artefacts.items():
        yield f"artefact {name}", f"{artefact.sha256[:12]} {artefact.size} bytes"
