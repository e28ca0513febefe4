"""Models in locks: they move no version and need no network."""

from __future__ import annotations

import pytest

from builder.data.lock import LockedModel, read_lock
from builder.foundation.errors import InputError
from builder.verbs.lock import Change, check_lock
from tests.lock.world import World
from tests.store import mirror as faulty

ONE, OTHER = "ab" * 32, "cd" * 32
VOICE = f"  voice: {{source: 'pypi:voices==1.0/voices/a.onnx', sha256: {ONE}, size: 7, target: /usr/share/models/a}}\n"
FACE = f"  face: {{source: 'file:///faces', sha256: {OTHER}, size: 9, target: /usr/share/models/b}}\n"


@pytest.fixture(autouse=True)
def _no_wheels(world: World) -> None:
    world.without_wheels()


def test_changing_models_needs_no_network(world: World) -> None:
    first = world.lock().lock
    world.mirror.always = faulty.status(500)
    asked = len(world.mirror.requests)
    world.sample.add("profiles/small.yaml", f"models:\n{VOICE}{FACE}")
    with pytest.raises(InputError) as caught:
        check_lock(world.bench(), "small")
    assert "no network needed" in caught.value.problems[0].remedy
    added = world.lock()
    assert added.lock.models == (
        LockedModel(name="face", sha256=OTHER, size=9, target="/usr/share/models/b"),
        LockedModel(name="voice", sha256=ONE, size=7, target="/usr/share/models/a"),
    )
    assert added.changelog == (
        Change("added", "model", "face", None, OTHER[:12]),
        Change("added", "model", "voice", None, ONE[:12]),
    )
    assert added.lock.model_copy(update={"models": (), "recipe": first.recipe}) == first
    assert added.lock.digest != first.digest
    assert read_lock(world.path) == added.lock
    assert "file:" not in world.path.read_text()
    assert "pypi:" not in world.path.read_text()

    world.sample.swap("profiles/small.yaml", FACE, "")
    world.sample.swap("profiles/small.yaml", ONE, OTHER)
    assert world.lock().changelog == (
        Change("removed", "model", "face", OTHER[:12], None),
        Change("moved", "model", "voice", ONE[:12], OTHER[:12]),
    )
    assert len(world.mirror.requests) == asked


def test_source_of_a_model_is_no_part_of_the_lock(world: World) -> None:
    world.sample.add("profiles/small.yaml", f"models:\n{VOICE}")
    first = world.lock().lock
    world.sample.swap("profiles/small.yaml", "pypi:voices==1.0/voices/a.onnx", "http://127.0.0.1:9/a.onnx")
    assert check_lock(world.bench(), "small") == first


def test_models_are_in_a_lock_that_is_made_anew(world: World) -> None:
    world.sample.add("profiles/small.yaml", f"models:\n{VOICE}")
    assert [model.name for model in world.lock().lock.models] == ["voice"]
    assert world.lock().lock.files[-1].sha256 == ONE


def test_fault_of_a_template_is_told_before_anything_is_asked(world: World) -> None:
    path = world.sample.write("overlays/web/tree/etc/words.j2", "{{ options.absent }}\n")
    asked = len(world.mirror.requests)
    [problem] = world.fails(InputError)
    assert len(world.mirror.requests) == asked
    assert (problem.what, problem.where) == ("the template cannot be rendered", str(path))
