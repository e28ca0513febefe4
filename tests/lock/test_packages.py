"""Packages that do not exist or do not go together."""

from __future__ import annotations

import pytest

from builder.foundation.errors import InputError, LichenError
from builder.foundation.process import Runner
from tests.lock.archive import Package
from tests.lock.world import World

SUITES = "trixie (main), trixie-updates (main), trixie-security (main)"


@pytest.fixture(autouse=True)
def _no_wheels(world: World) -> None:
    world.without_wheels()


def ask(world: World, *packages: str) -> str:
    """Let an overlay ask for packages; the place of that."""
    path = world.sample.write("overlays/core/overlay.yaml", f"description: the core\npackages: [{', '.join(packages)}]")
    return f"{path}:2"


def test_unknown_packages_are_told_together_with_their_places_and_near_names(world: World) -> None:
    overlay = ask(world, "editr", "systemd")
    world.sample.swap("profiles/small.yaml", "[less, nano]", "[lesss, qqqq]")
    world.sample.swap("profiles/small.yaml", "linux-image-small", "linux-image-smal")
    problems = {problem.what: problem for problem in world.fails(InputError)}
    assert set(problems) == {
        f"there is no Debian package {name!r}" for name in ("editr", "lesss", "qqqq", "linux-image-smal")
    }
    by_name = {what.split("'")[1]: problem for what, problem in problems.items()}
    assert by_name["editr"].where == overlay
    assert by_name["editr"].remedy == "did you mean editor?"
    assert by_name["lesss"].where == world.sample.at("profiles/small.yaml", "lesss")
    assert by_name["lesss"].remedy == "did you mean less?"
    assert by_name["qqqq"].remedy == "correct the name"
    assert by_name["linux-image-smal"].where == world.sample.at("profiles/small.yaml", "linux-image-smal")
    assert {problem.why for problem in problems.values()} == {f"not in {SUITES}"}
    ask(world, "editor")
    world.sample.swap("profiles/small.yaml", "[lesss, qqqq]", "[less]")
    world.sample.swap("profiles/small.yaml", "linux-image-smal\n", "linux-image-small\n")
    world.mended()


@pytest.mark.parametrize("name", ["python3.13", "editor-", "editor+", "nan.", "python3-numbe.+"])
def test_name_is_no_pattern_for_apt(world: World, name: str) -> None:
    world.trixie.add(Package("python3x13"), Package("editors"))
    world.publish()
    overlay = ask(world, name)
    [problem] = world.fails(InputError)
    assert problem.what == f"there is no Debian package {name!r}"
    assert problem.where == overlay


def test_name_with_a_plus_is_a_name(world: World) -> None:
    ask(world, "libstdc++6")
    assert [item.version for item in world.lock().lock.debs if item.name == "libstdc++6"] == ["14.2.0-19"]


def test_name_that_several_provide_is_refused_with_the_choice(world: World) -> None:
    world.trixie.add(Package("exim", provides="mail-agent"), Package("postfix", provides="mail-agent"))
    world.publish()
    overlay = ask(world, "mail-agent")
    [problem] = world.fails(InputError)
    assert problem.what == "there is no Debian package 'mail-agent'"
    assert problem.where == overlay
    assert problem.why == f"in {SUITES} it is only a name that several provide"
    assert problem.remedy == "did you mean exim or postfix?"
    ask(world, "postfix")
    world.mended()


def test_unmet_dependency_is_told_in_the_words_of_apt(world: World) -> None:
    world.trixie.add(Package("viewer", depends="libtinfo6 (>= 7)"))
    world.publish()
    overlay = ask(world, "systemd", "viewer")
    [problem] = world.fails(InputError)
    assert problem.what == "apt cannot satisfy the packages' dependencies"
    assert problem.where == f"viewer: {overlay}"
    assert "viewer : Depends: libtinfo6 (>= 7) but 6.5+20250216-2 is to be installed" in problem.why
    assert problem.why.count("E: Unable to correct problems") == 1
    assert problem.remedy == "remove or replace the package whose dependencies cannot be met"
    world.trixie.add(Package("libtinfo6", "7.0-1"))
    assert [item.version for item in world.mended().debs if item.name == "libtinfo6"] == ["7.0-1"]


def test_unmet_dependency_further_down_is_told_with_what_asked_for_it(world: World) -> None:
    world.trixie.add(
        Package("desk", depends="shelf"), Package("shelf", depends="board"), Package("board", depends="oak")
    )
    world.publish()
    overlay = ask(world, "systemd", "desk")
    [problem] = world.fails(InputError)
    assert problem.where == f"desk: {overlay}"
    assert "Depends: oak but it is not installable" in problem.why or "Depends: board" in problem.why


def test_packages_that_conflict(world: World) -> None:
    world.trixie.add(Package("mono", conflicts="nano"))
    world.publish()
    overlay = ask(world, "mono")
    [problem] = world.fails(InputError)
    assert problem.where == f"mono: {overlay}"
    assert "mono : Conflicts: nano" in problem.why


def test_missing_package_of_our_own_is_no_fault_of_the_profile(world: World) -> None:
    world.trixie.packages = [package for package in world.trixie.packages if package.name != "erofs-utils"]
    world.publish()
    [problem] = world.fails(InputError)
    assert problem.what == "there is no Debian package 'erofs-utils'"
    assert problem.where == "Lichen's own packages (builder/data/toolchain.py)"
    world.forky.packages = []
    world.trixie.add(Package("erofs-utils"))
    world.publish()
    [problem] = world.fails(InputError)
    assert problem.what == "there is no Debian package 'mkosi'"
    assert problem.why == "not in forky (main)"
    world.forky.add(Package("mkosi", "27-1"))
    world.mended()


def test_missing_apt_is_told_as_such(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Runner.run
    monkeypatch.setattr(Runner, "run", lambda self, argv, **kept: run(self, [f"no-{argv[0]}"], **kept))
    with pytest.raises(LichenError) as caught:
        world.lock()
    assert caught.value.problems[0].what == "no-apt-get is not installed"
