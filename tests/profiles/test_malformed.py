"""Malformed profiles and overlays of every kind: never a traceback, only problems with a place."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.cli.main import run
from builder.foundation.errors import EXIT_BAD_INPUT, InputError
from builder.steps.profiles import load_recipe
from builder.verbs.show import show
from tests.profiles.sample import BASE, CORE, SMALL, WEB, Sample

FILES = {
    "profiles/base.yaml": BASE,
    "profiles/small.yaml": SMALL,
    "overlays/core/overlay.yaml": CORE,
    "overlays/web/overlay.yaml": WEB,
}
KEYS = sorted({word for text in FILES.values() for word in text.replace(":", " ").split() if word.isidentifier()})
ATTACKS = [
    "&a",
    "*a",
    "<<",
    "!!python/name:os.system",
    "!!binary",
    "---",
    "%",
    "\t",
    "? ",
    "|",
    ">",
    "\x00",
    "\x85",
    "\ufeff",
]

names = st.sampled_from(sorted(FILES))
words = st.one_of(st.sampled_from(KEYS + ATTACKS), st.text(max_size=20))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates(),
    st.binary(max_size=8),
    words,
    st.sampled_from(["../..", "/etc", "a" * 300, "200M\n", "é", "\ud800", "9" * 5000, "[" * 50, "0x", "1:2"]),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4), max_leaves=8
)


@st.composite
def edited_values(draw: st.DrawFn, text: str) -> str:
    """A valid document of which some values were replaced, removed or added at any depth."""
    document: Any = yaml.safe_load(text)
    for _ in range(draw(st.integers(1, 4))):
        spot = document
        while isinstance(spot, dict) and spot:
            key = draw(st.sampled_from(sorted(spot, key=repr)))
            if isinstance(spot[key], dict) and draw(st.booleans()):
                spot = spot[key]
                continue
            action = draw(st.sampled_from(["replace", "remove", "add", "rename"]))
            if action == "remove":
                del spot[key]
            elif action == "replace":
                spot[key] = draw(values)
            elif action == "add":
                spot[draw(words)] = draw(values)
            else:
                spot[draw(words)] = spot.pop(key)
            break
    try:
        return yaml.safe_dump(document, sort_keys=False)
    except yaml.YAMLError:
        return json.dumps(document, default=str)


@st.composite
def edited_text(draw: st.DrawFn, text: str) -> str:
    """A valid document with lines moved, doubled, dropped, indented, or strange words put in."""
    lines = text.splitlines()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(lines) - 1)))
        line = lines[at] if lines else ""
        column = draw(st.integers(0, len(line)))
        edit = draw(st.sampled_from(["drop", "double", "indent", "insert", "cut"]))
        changed = {
            "drop": [],
            "double": [line, line],
            "indent": [f"  {line}"],
            "insert": [line[:column] + draw(words) + line[column:]],
            "cut": [line[:column]],
        }
        lines[at : at + 1] = changed[edit]
    return "\n".join(lines)


@st.composite
def malformed(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file of the sample project and what to write into it."""
    name = draw(names)
    text = draw(
        st.one_of(
            edited_values(FILES[name]),
            edited_text(FILES[name]),
            st.text(),
            st.text(alphabet="{}[]:,-#&*!|>'\"%@` \n\ta?"),
        )
    )
    data = text.encode(errors="surrogatepass")
    return name, draw(st.one_of(st.just(data), st.binary(max_size=200))) if draw(st.integers(0, 9)) == 0 else data


@pytest.fixture(scope="module")
def shared_sample() -> Iterator[Sample]:
    with tempfile.TemporaryDirectory() as folder:
        yield Sample(Path(folder))


def complain_or_use(sample: Sample) -> None:
    try:
        recipe = load_recipe(sample.project, "small")
    except InputError as error:
        problems = error.problems
    else:
        # What loads can be used.
        recipe.digest()
        show(sample.workbench(), "small")
        return
    assert problems
    for problem in problems:
        assert problem.what
        assert problem.where
        "".join(problem.as_dict().values()).encode()


@settings(max_examples=400, deadline=None, database=None)
@given(case=malformed())
def test_loader_raises_input_errors_only(shared_sample: Sample, case: tuple[str, bytes]) -> None:
    name, data = case
    shared_sample.write(name, data)
    try:
        complain_or_use(shared_sample)
    finally:
        shared_sample.write(name, FILES[name])


@settings(max_examples=60, deadline=None, database=None)
@given(case=malformed(), as_json=st.booleans())
def test_command_line_never_shows_a_traceback(shared_sample: Sample, case: tuple[str, bytes], as_json: bool) -> None:
    name, data = case
    shared_sample.write(name, data)
    option = ["--json"] if as_json else []
    try:
        root = str(shared_sample.root)
        assert run(["--project", root, "list", *option]) == 0
        assert run(["--project", root, "show", "small", "--explain", *option]) in (0, EXIT_BAD_INPUT)
    finally:
        shared_sample.write(name, FILES[name])
