"""Wheels from an index that lacks them, is of another mind than Debian, or does not answer."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from builder.foundation.digest import digest_bytes
from builder.foundation.errors import InputError, LichenError
from builder.steps.wheels import upstream_version
from tests.lock.archive import Package
from tests.lock.wheelindex import ARM, X86, Index
from tests.lock.world import World
from tests.store import mirror as faulty

WHAT = "the Python requirements cannot be resolved"
PLATFORM = "Python 3.13 on x86_64-manylinux_2_40"


def require(world: World, *lines: str) -> str:
    """Let an overlay require these beside Debian's numbers; the file, in which the first one is on line 4."""
    items = "".join(f"    - {line!r}\n" for line in lines)
    text = f"description: a web page\npython:\n  requirements:\n{items}  provided: {{numbers: python3-numbers}}\n"
    return str(world.sample.write("overlays/web/overlay.yaml", text))


def versions(world: World, **options: tuple[str, ...]) -> dict[str, str]:
    wheels = world.lock(indices=options.get("indices", ())).lock.wheels
    return {wheel.name: wheel.version for wheel in wheels if wheel.uses == ("image",)}


def test_what_debian_provides_is_not_locked_and_decides(world: World) -> None:
    """Debian has numbers 2.2.4: the newest charts wants more, the index's numbers do not count."""
    world.index.add("numbers", "3.0")
    world.index.add("charts", "2.0", requires=("numbers>=3",))
    world.index.add("charts", "1.0", requires=("numbers>=2",))
    require(world, "charts")
    assert versions(world) == {"charts": "1.0"}


def test_conflict_with_debian(world: World) -> None:
    world.index.add("charts", "2.0", requires=("numbers>=3",))
    overlay = require(world, "charts>=2", "pages")
    [problem] = world.fails(InputError)
    assert problem.what == WHAT
    assert problem.where == f"charts>=2: {overlay}:4; {PLATFORM}"
    assert "numbers==2.2.4+debian" in problem.why
    assert problem.remedy == (
        "relax or replace the requirement; a version with +debian is that of the Debian package in the image"
    )
    world.trixie.add(Package("python3-numbers", "1:3.1.0-1"))
    world.publish()
    assert versions(world) == {"charts": "2.0", "pages": "1.2"}


@pytest.mark.parametrize("kind", ["other platform", "other Python", "source only"])
def test_no_wheel_fits(world: World, kind: str) -> None:
    if kind == "source only":
        world.index.put("charts", "charts-1.0.tar.gz", b"never opened")
    else:
        world.index.add("charts", "1.0", ARM if kind == "other platform" else "cp39-cp39-manylinux_2_28_x86_64")
    overlay = require(world, "charts")
    [problem] = world.fails(InputError)
    assert problem.what == WHAT
    assert problem.where == f"charts: {overlay}:4; {PLATFORM}"
    assert "charts==1.0 has no" in problem.why
    assert problem.remedy == "choose a version with a wheel for this platform, or take it from Debian (python.provided)"
    world.index.add("charts", "1.0", X86)
    assert "charts" in versions(world)


def test_no_such_distribution(world: World) -> None:
    overlay = require(world, "pages", "chartz")
    [problem] = world.fails(InputError)
    assert problem.where == f"chartz: {overlay}:5; {PLATFORM}"
    assert "chartz was not found in the package registry" in problem.why
    require(world, "pages")
    world.mended()


def test_requirement_that_is_none(world: World) -> None:
    require(world, "pages >> 2")
    [problem] = world.fails(InputError)
    assert problem.what == WHAT
    assert "pages >> 2" in problem.why


def test_requirements_that_contradict_one_another(world: World) -> None:
    overlay = require(world, "pages>=2", "pages<2")
    [problem] = world.fails(InputError)
    assert problem.where == f"pages>=2: {overlay}:4; pages<2: {overlay}:5; {PLATFORM}"
    assert "unsatisfiable" in problem.why


def test_name_that_another_package_provides_has_no_version(world: World) -> None:
    world.trixie.packages = [package for package in world.trixie.packages if package.name != "python3-numbers"]
    world.trixie.add(Package("python3-numerals", provides="python3-numbers"))
    world.publish()
    [problem] = world.fails(InputError)
    assert problem.what == "'python3-numbers' is no Debian package of its own"
    assert problem.where == world.sample.at("overlays/web/overlay.yaml", "provided")
    assert problem.remedy == "name the package itself as what provides numbers"


def test_version_of_debian_that_is_none_of_python(world: World) -> None:
    world.trixie.add(Package("python3-numbers", "2:3.0~git2024-1"))
    world.publish()
    [problem] = world.fails(InputError)
    assert problem.what == "Debian's version 2:3.0~git2024-1 is no Python version"
    assert problem.where == "numbers"
    assert problem.remedy == "remove it from python.provided and require the wheel instead"


class TestIndex:
    @pytest.mark.parametrize(
        ("fault", "why"),
        [
            (faulty.status(503), "503 Service Unavailable"),
            (faulty.silent, "timed out"),
            (faulty.truncated, "Failed to fetch"),
        ],
    )
    def test_broken(self, world: World, fault: faulty.Fault, why: str) -> None:
        for name in ("pages", "fast"):
            world.mirror.faults[f"/simple/{name}/"] = [fault] * 9
        [problem] = world.fails(LichenError)
        assert problem.what == "the index of wheels cannot be used"
        assert problem.where == world.index.url
        assert why in problem.why
        assert problem.remedy == "check the network, or name another index with `--index URL`"
        world.mended()

    def test_down(self, world: World) -> None:
        [problem] = world.fails(LichenError, indices=("http://127.0.0.1:1/simple",))
        assert problem.what == "the index of wheels cannot be used"
        assert "Connection refused" in problem.why
        world.mended()

    def test_first_one_wins(self, world: World) -> None:
        other = Index(world.mirror, "other")
        other.add("pages", "9.0")
        other.add("charts", "1.0")
        require(world, "pages", "charts")
        assert versions(world, indices=(world.index.url, other.url)) == {"pages": "1.2", "charts": "1.0"}
        world.path.unlink()
        assert versions(world, indices=(other.url, world.index.url)) == {"pages": "9.0", "charts": "1.0"}

    def test_settings_of_the_person_do_not_change_what_is_chosen(
        self, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        expected = world.lock().lock
        other = Index(world.mirror, "other")
        other.add("pages", "9.0")
        (tmp_path / "constraints").write_text("pages==1.0\n")
        for name, value in {
            "UV_EXTRA_INDEX_URL": other.url,
            "UV_EXCLUDE_NEWER": "2001-01-01",
            "UV_CONSTRAINT": str(tmp_path / "constraints"),
            "UV_OFFLINE": "1",
        }.items():
            monkeypatch.setenv(name, value)
        assert world.lock(upgrade=True).lock == expected

    def test_nothing_else_is_asked(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        """Left alone, uv downloads a Python of the target's version."""
        with socket.create_server(("127.0.0.1", 0)) as proxy:
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
            monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(world.scratch))
            world.lock()
            proxy.setblocking(False)
            with pytest.raises(BlockingIOError):
                proxy.accept()

    def test_plain_html_without_sizes(self, world: World) -> None:
        expected = world.lock().lock
        plain = Index(world.mirror, "plain", html=True)
        for name, files in world.index.files.items():
            for filename, content in files.items():
                plain.put(name, filename, content)
        assert world.lock(indices=(plain.url,), upgrade=True).lock == expected

    def test_plain_html_whose_files_have_no_size(self, world: World) -> None:
        plain = Index(world.mirror, "plain", html=True)
        filename, _ = plain.add("charts", "1.0")

        def sized(handler: faulty.Handler, body: bytes) -> None:
            handler.whole_or_part(body)

        def unsized(handler: faulty.Handler, body: bytes) -> None:
            handler.send_response(200)
            handler.end_headers()
            handler.close_connection = True
            handler.wfile.write(body)

        # uv asks twice; it is content.
        world.mirror.faults[f"/plain/files/{filename}"] = [sized, sized, unsized]
        require(world, "charts")
        [problem] = world.fails(LichenError, indices=(plain.url,))
        assert problem.what == "the index tells no size of a wheel"
        assert problem.where == f"{plain.url}/files/{filename}"
        assert problem.remedy == "name another index with `--index URL`"

    def test_local_version_escaped_in_the_url(self, world: World) -> None:
        filename, content = world.index.add("charts", "1.0+cpu", X86)
        path = "/simple/charts/"
        world.mirror.files[path] = world.mirror.files[path].replace(
            b"../files/charts-1.0+cpu", b"../files/charts-1.0%2Bcpu"
        )
        require(world, "charts")
        [wheel] = [wheel for wheel in world.lock().lock.wheels if wheel.name == "charts"]
        assert (wheel.version, wheel.filename) == ("1.0+cpu", filename)
        assert wheel.sha256 == digest_bytes(content)


@pytest.mark.parametrize(
    ("debian", "python"),
    [
        ("2.6.0-7", "2.6.0"),
        ("1:2.6.0+dfsg-7", "2.6.0"),
        ("2.2.4+ds1-1+b1", "2.2.4"),
        ("1.0.0.dfsg-1", "1.0.0"),
        ("5.15.11+dfsg.1-2", "5.15.11"),
        ("1.4.2+repack-1", "1.4.2"),
        ("2.0.0~rc1-1", "2.0.0rc1"),
        ("4.0.0~a1+ds-2", "4.0.0a1"),
        ("2.3.0-1~bpo12+1", "2.3.0"),
        ("1.26.5+deb13u1", "1.26.5"),
        ("1.0+b2", "1.0"),
        ("2.3.1+git20230101-1", "2.3.1"),
        ("1.10+~1.2-1", "1.10"),
        ("1.2.3+really1.2.2-1", "1.2.2"),
        ("1.1.0+dfsg+really1.0-2", "1.0"),
        ("1.0-rc1-2", "1.0rc1"),
        ("20250131", "20250131"),
    ],
)
def test_upstream_version(debian: str, python: str) -> None:
    assert upstream_version(debian) == python


@pytest.mark.parametrize("debian", ["3.0~git2024-1", "r12-1", "1.0~~alphabet-1"])
def test_no_upstream_version(debian: str) -> None:
    with pytest.raises(InputError, match="is no Python version"):
        upstream_version(debian)
