"""What an image is made from, for its bill of materials: packages with sources and licences, wheels, models, overlays.

Sources and licences of Debian packages come from trees in which they are unpacked: dpkg's status, and the copyright
file of each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packageurl import PackageURL

from builder import __version__
from builder.data.bill import Part, Role
from builder.data.dpkg import stanzas
from builder.data.kernel import LOCAL_VERSION
from builder.data.licence import NOASSERTION, debian_licence, wheel_licence
from builder.data.lock import Deb, Lock, Wheel
from builder.data.recipe import OverlayFolder, Recipe
from builder.data.toolchain import MKOSI_SUITE
from builder.foundation.digest import digest_tree, digest_value
from builder.foundation.process import Runner

_STATUS = "var/lib/dpkg/status"
_SOURCE = re.compile(r"(?P<name>\S+)(?: \((?P<version>\S+)\))?")
_ROLES: tuple[tuple[Role, re.Pattern[str]], ...] = (
    ("kernel", re.compile(r"linux-image-.+")),
    ("firmware", re.compile(r"(.+-)?firmware(-.+)?|.+-microcode")),
    ("driver", re.compile(rf".+-dkms|.+-driver(-.+)?|nvidia-.+|linux-modules-.+|.+{LOCAL_VERSION}")),
)
_DEBIAN = ("debian", "debian-security")
_OVERLAY_NOTE = "Lichen overlay; the checksum covers its settings and its files as Lichen digests them."


@dataclass(frozen=True)
class Facts:
    """What an unpacked Debian package tells: ``source`` is name and version of its source package."""

    source: str
    licence: str


def deb_facts(root: Path) -> dict[str, Facts]:
    """Name of each package in a tree's database, and what it tells."""
    facts = {}
    for fields in stanzas((root / _STATUS).read_text(encoding="utf-8")):
        if name := fields.get("Package"):
            match = _SOURCE.match(fields.get("Source", name))
            source, version = (match["name"], match["version"]) if match else (name, None)
            facts[name] = Facts(f"{source} {version or fields['Version']}", _licence(root, name))
    return facts


def _licence(root: Path, package: str) -> str:
    path = (root / "usr/share/doc" / package / "copyright").resolve()
    # A link may lead out of the tree, to a file of this machine.
    if not path.is_relative_to(root.resolve()) or not path.is_file():
        return NOASSERTION
    return debian_licence(path.read_text(encoding="utf-8", errors="replace"))


def unpack(runner: Runner, debs: Sequence[Path], folder: Path) -> None:
    """Unpack packages that no kept tree holds into ``folder``, with a database that :func:`deb_facts` reads."""
    status = folder / _STATUS
    status.parent.mkdir(parents=True)
    told = []
    for path in debs:
        runner.run(["dpkg-deb", "-x", path, folder])
        told.append(runner.run(["dpkg-deb", "-f", path, "Package", "Version", "Source"]).stdout)
    status.write_text("\n".join(told), encoding="utf-8")


def deb_parts(debs: Sequence[Deb], suite: str, facts: Mapping[str, Facts]) -> list[Part]:
    """The Debian packages ``debs`` of the image and of its initrd; ``suite`` is the release."""
    nothing = Facts("", NOASSERTION)
    parts = []
    for deb in debs:
        known = facts.get(deb.name, nothing)
        note = "" if "image" in deb.uses else "In the initrd only."
        purl = _deb_url(deb, suite)
        parts.append(
            Part(
                "deb",
                deb.name,
                deb.version,
                known.licence,
                deb.sha256,
                purl,
                known.source,
                role=_role(deb.name),
                note=note,
            )
        )
    return parts


def _role(package: str) -> Role:
    return next((role for role, pattern in _ROLES if pattern.fullmatch(package)), "")


def _deb_url(deb: Deb, suite: str) -> str:
    qualifiers = {"arch": deb.architecture}
    if deb.archive in _DEBIAN:
        qualifiers["distro"] = suite
    vendor = "debian" if deb.archive in _DEBIAN else deb.archive
    return PackageURL("deb", vendor, deb.name, deb.version, qualifiers).to_string()


def wheel_parts(wheels: Sequence[Wheel], root: Path, prefix: str) -> list[Part]:
    """The wheels in the environment ``prefix`` of a tree."""
    licences = {}
    for path in sorted((root / prefix[1:]).glob("lib/python*/site-packages/*.dist-info/METADATA")):
        name = path.parent.name.partition("-")[0].lower()
        licences[re.sub(r"[-_.]+", "-", name)] = wheel_licence(path.read_text(encoding="utf-8", errors="replace"))
    return [
        Part(
            "wheel",
            wheel.name,
            wheel.version,
            licences.get(wheel.name, NOASSERTION),
            wheel.sha256,
            _wheel_url(wheel),
        )
        for wheel in wheels
    ]


def _wheel_url(wheel: Wheel) -> str:
    return PackageURL("pypi", None, wheel.name, wheel.version, {"file_name": wheel.filename}).to_string()


def other_parts(recipe: Recipe, lock: Lock) -> list[Part]:
    """Models, overlays, and the tools that made the image."""
    (mkosi,) = lock.used_by("mkosi")
    tools = [wheel for wheel in lock.wheels if "tools" in wheel.uses]
    models = [
        Part(
            "model", model.name, model.sha256[:12], NOASSERTION, model.sha256, note=f"A trained model, {model.target}."
        )
        for model in lock.models
    ]
    return [
        *models,
        *(_overlay_part(item) for item in recipe.overlays),
        Part("tool", "lichen", __version__, "Apache-2.0"),
        Part("tool", mkosi.name, mkosi.version, NOASSERTION, mkosi.sha256, _deb_url(mkosi, MKOSI_SUITE.name)),
        *(Part("tool", tool.name, tool.version, NOASSERTION, tool.sha256, _wheel_url(tool)) for tool in tools),
    ]


def _overlay_part(item: OverlayFolder) -> Part:
    tree = digest_tree(item.tree) if item.tree.is_dir() else ""
    digest = digest_value({"overlay": item.overlay.said(), "tree": tree})
    return Part("overlay", item.name, digest[:12], NOASSERTION, digest, note=_OVERLAY_NOTE)
