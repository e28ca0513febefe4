"""Rules that the kernel shall carry out: which conditions it can, and what it is told.

The kernel compares paths and program files, nothing else. So only a condition that says exactly that may be enforced:
one part that names files or programs, and parts that except programs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..watch import Denial, Interest
from .fields import O_RDWR, O_WRONLY
from .kinds import CHANGES
from .problems import Fault, Place
from .settle import Circumstance, settle
from .tree import And, Check, Node, Not, Or

POSSIBLE = (
    "what can: evt.type of exec, open, changes, unlink, module, ptrace or bpf; file.path (of exec: proc.exepath) with "
    "=, in or pmatch and absolute paths without patterns; proc.is_exe_in_memory = true; evt.arg.cmd in (...) with the "
    "three commands that open BPF by number; not proc.exepath in (...)"
)
# How the parts of a denial are called there.
KINDS = {
    **{kind: kind for kind in ("exec", "open", "unlink", "module", "ptrace", "bpf")},
    **dict.fromkeys(CHANGES, "change"),
}
# What the kernel refuses of bpf(): those, of the agent's own.
OPENING_OURS = {"BPF_MAP_GET_FD_BY_ID", "BPF_PROG_GET_FD_BY_ID", "BPF_LINK_GET_FD_BY_ID"}
# Of what the kernel refused, fd.num is -1: the rule then means the attempt.
LET_THROUGH = {
    ("fd.num", ">=", "0"),
    ("evt.rawres", ">=", "0"),
    ("evt.failed", "=", "false"),
    ("evt.res", "=", "SUCCESS"),
}
ONLY_FILES = {("fd.typechar", "=", "f"), ("fd.type", "=", "file")}
IN_MEMORY = "exec-in-memory"
NEITHER = 3  # the access mode that permits neither
NONE = Interest(0)


@dataclass(frozen=True)
class _Part:
    """What the rule asks of one kind of events."""

    paths: tuple[str, ...] = ()
    except_programs: tuple[str, ...] = ()
    in_memory: bool = False
    opens_ours: bool = False


def denials_of(name: str, place: Place, condition: Node, circumstances: Sequence[Circumstance]) -> tuple[Denial, ...]:
    """What the kernel is told to refuse.

    Raises:
        Fault: the condition says more than the kernel can compare.
    """
    parts: dict[str, list[tuple[Circumstance, _Part]]] = {}
    for circumstance in circumstances:
        kind = KINDS.get(circumstance.kind)
        if not kind:
            raise _fault(place, name, f"{circumstance.kind} events")
        if circumstance.kind == "open" and circumstance.access == NEITHER:
            continue
        part = _part_of(name, place, settle(condition, circumstance), circumstance)
        parts.setdefault(IN_MEMORY if part.in_memory else kind, []).append((circumstance, part))
    return tuple(_denial(name, place, kind, found) for kind, found in parts.items())


def _fault(place: Place, name: str, what: str) -> Fault:
    return Fault(place, f"rule {name!r} cannot be enforced", f"the kernel cannot decide about {what}", POSSIBLE)


def _denial(name: str, place: Place, kind: str, found: list[tuple[Circumstance, _Part]]) -> Denial:
    part = found[0][1]
    if any(other != part for _, other in found):
        raise _fault(place, name, f"different files for different kinds of {kind}")
    if kind == "change" and {circumstance.kind for circumstance, _ in found} != CHANGES:
        missing = ", ".join(sorted(CHANGES - {circumstance.kind for circumstance, _ in found}))
        raise _fault(place, name, f"some changes of files without the others ({missing})")
    if not part.paths and kind in ("exec", "open", "change", "unlink"):
        raise _fault(place, name, f"{kind} anywhere, without paths")
    if kind == "bpf" and not part.opens_ours:
        raise _fault(place, name, "bpf without evt.arg.cmd in (" + ", ".join(sorted(OPENING_OURS)) + ")")
    interest = _interest(name, place, [circumstance.access for circumstance, _ in found]) if kind == "open" else NONE
    return Denial(name, kind, part.paths, interest, part.except_programs)  # type: ignore[arg-type]


def _interest(name: str, place: Place, accesses: list[int]) -> Interest:
    """Who may not read may not open to read and write either."""
    if O_RDWR not in accesses or len(accesses) == 1:
        raise _fault(place, name, "opens to read and write apart from those to read or to write")
    return (Interest.READ if 0 in accesses else NONE) | (Interest.WRITE if O_WRONLY in accesses else NONE)


def _part_of(name: str, place: Place, settled: Node, circumstance: Circumstance) -> _Part:
    paths: tuple[str, ...] = ()
    programs: list[str] = []
    in_memory = opens_ours = False
    for check, negated in _flat(settled, name, place):
        if not negated and (check.field, check.operator, *check.words) in LET_THROUGH:
            continue
        if _only_files(check, circumstance) and not negated:
            continue
        if _excepts(check, negated):
            programs += check.words
        elif not negated and _is_in_memory(check) and circumstance.kind == "exec":
            in_memory = True
        elif not negated and _opens_ours(check):
            opens_ours = True
        elif not negated and not paths and _names_files(check, circumstance):
            paths = tuple(word.rstrip("/") for word in check.words)
        else:
            raise _fault(check.spot.place, name, f"{'not ' * negated}{check.whole_field} {check.operator}")
    if in_memory and paths:
        raise _fault(place, name, "programs in memory by a path")
    return _Part(paths, tuple(dict.fromkeys(programs)), in_memory, opens_ours)


def _flat(node: Node, name: str, place: Place, *, negated: bool = False) -> Iterator[tuple[Check, bool]]:
    """The comparisons that must all hold (or, negated, must not)."""
    match node:
        case Check():
            yield node, negated
        case Not(part):
            yield from _flat(part, name, place, negated=not negated)
        case And(parts) if not negated:
            for part in parts:
                yield from _flat(part, name, place)
        case Or(parts) if negated:
            for part in parts:
                yield from _flat(part, name, place, negated=True)
        case And(parts) | Or(parts):
            first = next(iter(_spots(node)), place)
            raise _fault(first, name, "a choice of different comparisons (or)")


def _spots(node: Node) -> Iterator[Place]:
    match node:
        case Check(spot=spot):
            yield spot.place
        case Not(part):
            yield from _spots(part)
        case And(parts) | Or(parts):
            for part in parts:
                yield from _spots(part)


def _absolute(check: Check) -> bool:
    return bool(check.words) and all(word.startswith("/") and word.rstrip("/") for word in check.words)


def _names_files(check: Check, circumstance: Circumstance) -> bool:
    """A path and all below it: that is pmatch, and = where nothing is below, as of files."""
    if circumstance.kind in ("module", "ptrace", "bpf"):
        return False
    field = {"exec": ("proc.exepath",), "rename": ("file.path",), "link": ("file.path",)}.get(
        circumstance.kind, ("file.path", "fd.name")
    )
    patterned = any(letter in word for word in check.words for letter in "*?[")
    return check.field in field and check.operator in ("=", "in", "pmatch") and _absolute(check) and not patterned


def _excepts(check: Check, negated: bool) -> bool:
    """``not proc.exepath in (...)``, ``proc.exepath != ...``."""
    inverse = (check.operator in ("=", "in") and negated) or (check.operator == "!=" and not negated)
    return check.field == "proc.exepath" and inverse and _absolute(check)


def _is_in_memory(check: Check) -> bool:
    return check.field == "proc.is_exe_in_memory" and check.operator == "=" and check.words == ("true",)


def _opens_ours(check: Check) -> bool:
    return check.field == "evt.arg.cmd" and check.operator == "in" and set(check.words) == OPENING_OURS


def _only_files(check: Check, circumstance: Circumstance) -> bool:
    """``fd.typechar = 'f'`` of writes: folders are never opened to write."""
    writes = circumstance.kind == "open" and circumstance.access in (O_WRONLY, O_RDWR)
    return writes and (check.field, check.operator, *check.words) in ONLY_FILES
