"""The borders of the design: imports only go down, small modules, one place for each effect."""

from __future__ import annotations

from pathlib import Path

import pytest

import builder
from tests.layers.imports import MOST_FUNCTION_LINES, MOST_MODULE_LINES, complaints, edges, read_package

ROOT = Path(builder.__file__).parent


def test_house_keeps_its_rules() -> None:
    assert complaints(ROOT) == []


def test_imports_are_seen() -> None:
    """Guards against a walk that finds nothing and so complains about nothing."""
    found = {(module.name, target.name) for module, _, target in edges(read_package(ROOT))}
    assert ("builder.steps.profiles", "builder.data.yamlfile") in found
    # Imports inside functions count too.
    assert ("builder.cli.commands", "builder.verbs.listing") in found


LONG_FUNCTION = "def long():\n" + "    pass\n" * MOST_FUNCTION_LINES


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("foundation/low.py", "from builder.cli import top\n", "upward import of builder.cli.top"),
        ("data/low.py", "def late():\n    import builder.cli.top\n", "upward import of builder.cli.top"),
        ("data/low.py", "from ..cli import top\n", "upward import of builder.cli.top"),
        ("steps/two.py", "from builder.steps.one import thing\n", "sideways import of builder.steps.one"),
        ("steps/two/part.py", "from builder.steps import one\n", "sideways import of builder.steps.one"),
        ("verbs/two.py", "from builder.verbs import ring\n", "cycle: builder.verbs.ring -> builder.verbs.two"),
        ("steps/utils.py", "", "says nothing"),
        ("extra/more.py", "", "in no layer"),
        ("steps/long.py", "x = 1\n" * (MOST_MODULE_LINES + 1), f"{MOST_MODULE_LINES + 1} lines"),
        ("steps/long.py", LONG_FUNCTION, f"long has {MOST_FUNCTION_LINES + 1} lines"),
        ("steps/run.py", "import subprocess\n", "only foundation/process.py imports subprocess"),
        ("steps/run.py", "from subprocess import run\n", "only foundation/process.py imports subprocess"),
        ("verbs/loud.py", "print('x')\n", "only the command line calls print"),
        ("verbs/loud.py", "import sys\nsys.exit(1)\n", "only the command line calls sys.exit"),
        ("verbs/loud.py", "import sys\nsys.stderr.write('x')\n", "only the command line writes"),
        ("verbs/loud.py", "raise SystemExit(1)\n", "only the command line exits"),
    ],
)
def test_breaking_a_rule_is_told(tmp_path: Path, path: str, source: str, complaint: str) -> None:
    root = tmp_path / "builder"
    files = {
        "__init__.py": "",
        "cli/top.py": "import subprocess_free\nprint('allowed here')\n",
        "steps/one.py": "thing = 1\n",
        "steps/pair/__init__.py": "",
        "steps/pair/left.py": "from builder.steps.pair import right\n",
        "steps/pair/right.py": "",
        "verbs/ring.py": "from builder.steps import one\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    assert complaints(root) == []
    if "ring" in source:
        (root / "verbs/ring.py").write_text("from builder.verbs import two\n")
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(source)
    found = complaints(root)
    assert len(found) == 1
    assert complaint in found[0]
