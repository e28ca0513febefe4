"""Reading a package's imports and sizes out of its source, without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

LAYERS = ("foundation", "data", "steps", "verbs", "cli")
MOST_MODULE_LINES = 400
MOST_FUNCTION_LINES = 50
BANNED_NAMES = frozenset({"utils", "util", "helpers", "common", "misc"})
ONLY_IN = {"subprocess": "foundation/process.py"}


@dataclass(frozen=True)
class Module:
    """One source file: ``name`` with dots, ``source`` its text."""

    name: str
    path: Path
    source: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source, str(self.path))

    @property
    def layer(self) -> str:
        """First part of the name below the package; empty for the package itself."""
        return self.name.partition(".")[2].partition(".")[0]

    @property
    def rank(self) -> int:
        """Height of the layer; what is in none stands below all and may import nothing."""
        return LAYERS.index(self.layer) if self.layer in LAYERS else -1

    @property
    def unit(self) -> str:
        """The step (or other concern) that the module belongs to: ``steps.machine`` for all of ``steps/machine/``."""
        return ".".join(self.name.split(".")[1:3])

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and full name of everything imported, wherever in the file; ``from a import b`` gives ``a.b``."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node.lineno, alias.name
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    package = self.name.split(".")[: -node.level or None]
                    base = ".".join([*package, *([base] if base else [])])
                for alias in node.names:
                    yield node.lineno, f"{base}.{alias.name}"


def read_package(root: Path) -> dict[str, Module]:
    """All modules of the package in folder ``root``, by name."""
    modules = {}
    for path in sorted(root.rglob("*.py")):
        parts = [root.name, *path.relative_to(root).with_suffix("").parts]
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = Module(name, path, path.read_text(encoding="utf-8"))
    return modules


def edges(modules: Mapping[str, Module]) -> Iterator[tuple[Module, int, Module]]:
    """Importing module, line, imported module; only inside the package."""
    for module in modules.values():
        for line, imported in module.imports():
            # `from package.module import thing` names the module and then something in it.
            name = imported if imported in modules else imported.rpartition(".")[0]
            # The package's own __init__ holds the version only; every layer may read it.
            if name in modules and name != module.name and "." in name:
                yield module, line, modules[name]


def complaints(root: Path) -> list[str]:
    """Everything in the package at ``root`` that breaks a rule of the house."""
    modules = read_package(root)
    found = [*_directions(modules), *_cycles(modules)]
    for module in modules.values():
        found += [*_names(module), *_sizes(module), *_effects(module, root)]
    return found


def _directions(modules: Mapping[str, Module]) -> Iterator[str]:
    for module, line, target in edges(modules):
        where = f"{module.path}:{line}"
        if target.rank > module.rank:
            yield f"{where}: upward import of {target.name}"
        elif module.layer == "steps" == target.layer and module.unit != target.unit != "steps":
            yield f"{where}: sideways import of {target.name}"


def _cycles(modules: Mapping[str, Module]) -> Iterator[str]:
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for module, _, target in edges(modules):
        graph[module.name].add(target.name)
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> Iterator[str]:
        if name in path:
            yield f"cycle: {' -> '.join((*path[path.index(name) :], name))}"
        elif name not in done:
            for target in sorted(graph[name]):
                yield from visit(target, (*path, name))
            done.add(name)

    for name in graph:
        yield from visit(name, ())


def _names(module: Module) -> Iterator[str]:
    if banned := BANNED_NAMES & set(module.name.split(".")):
        yield f"{module.path}: a module called {', '.join(banned)} says nothing"
    if module.layer and module.layer not in LAYERS:
        yield f"{module.path}: in no layer"


def _sizes(module: Module) -> Iterator[str]:
    if (lines := module.source.count("\n")) > MOST_MODULE_LINES:
        yield f"{module.path}: {lines} lines"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MOST_FUNCTION_LINES:
                yield f"{module.path}:{node.lineno}: {node.name} has {lines} lines"


def _effects(module: Module, root: Path) -> Iterator[str]:
    place = module.path.relative_to(root).as_posix()
    for line, name in module.imports():
        owner = ONLY_IN.get(name.partition(".")[0])
        if owner and owner != place:
            yield f"{module.path}:{line}: only {owner} imports {name}"
    if module.layer == "cli":
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in {"print", "exit", "quit", "input", "sys.exit", "os._exit", "os.system", "os.popen"}:
                yield f"{module.path}:{node.lineno}: only the command line calls {called}"
            elif called.startswith(("sys.stdout.", "sys.stderr.")):
                yield f"{module.path}:{node.lineno}: only the command line writes to {called}"
        elif isinstance(node, ast.Raise) and node.exc is not None and "SystemExit" in ast.unparse(node.exc):
            yield f"{module.path}:{node.lineno}: only the command line exits"
