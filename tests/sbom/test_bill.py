"""Bills of materials and provenance: complete, valid by their formats' own libraries, the same again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.model import Document, RelationshipType
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from builder import __version__
from builder.data.bill import Bill, Part
from builder.foundation.errors import LichenError
from builder.foundation.process import Runner
from builder.steps.parts import deb_facts, deb_parts, unpack
from builder.steps.spdx import spdx_text
from tests.sbom.madeup import MadeImage, make_image, make_tree, put


@pytest.fixture
def spdx(made: MadeImage) -> Document:
    return parse_file(str(made.folder / "sbom.spdx.json"))


def test_spdx_is_valid(spdx: Document) -> None:
    assert validate_full_spdx_document(spdx) == []


def test_spdx_holds_everything(spdx: Document, made: MadeImage) -> None:
    packages = {package.spdx_id.removeprefix("SPDXRef-"): package for package in spdx.packages}
    (mkosi,) = made.lock.used_by("mkosi")
    (uv,) = (wheel for wheel in made.lock.wheels if "tools" in wheel.uses)
    sums = {name: package.checksums[0].value for name, package in packages.items() if package.checksums}
    assert sums.pop("overlay-core") != sums.pop("overlay-web")
    assert sums == {
        "image": made.manifest.artefacts["image.raw"].sha256,
        "deb-one": "1" * 64,
        "deb-two3.13": "2" * 64,
        "wheel-some-tool": "3" * 64,
        "model-tiny": "4" * 64,
        "tool-mkosi": mkosi.sha256,
        "tool-uv": uv.sha256,
    }
    assert packages["tool-lichen"].version == __version__
    two = packages["deb-two3.13"]
    assert two.source_info == "built from Debian source package two 3.1"
    assert packages["deb-one"].source_info == "built from Debian source package one 1:2.0-3"
    assert two.external_references[0].locator == "pkg:deb/debian/two3.13@3.1%2Bb1?arch=amd64&distro=trixie"
    # Its documentation is a link to that of the other one.
    assert str(two.license_declared) == "MIT AND (GPL-2.0-or-later OR LicenseRef-Own-Words)"
    assert str(packages["wheel-some-tool"].license_declared) == "MIT OR Apache-2.0"
    assert [item.license_id for item in spdx.extracted_licensing_info] == ["LicenseRef-Own-Words"]
    built = {relation.spdx_element_id for relation in related(spdx, RelationshipType.BUILD_TOOL_OF)}
    assert built == {"SPDXRef-tool-lichen", "SPDXRef-tool-mkosi", "SPDXRef-tool-uv"}
    names = {file.name for file in spdx.files}
    assert {"./etc/ld.so.cache", "./opt/ai/pyvenv.cfg", "./var/lib/dpkg/status"} < names
    # Not what somebody brought: packages with their byte code, wheels, overlays.
    assert (
        not {
            "./opt/models/tiny.bin",
            "./usr/bin/sudo",
            "./usr/lib/python3/__pycache__/mod.cpython-313.pyc",
            "./var/www/index.html",
        }
        & names
    )
    assert len(related(spdx, RelationshipType.FILE_ADDED)) == len(names)


def related(spdx: Document, kind: RelationshipType) -> list[Any]:
    return [relation for relation in spdx.relationships if relation.relationship_type == kind]


def test_cyclonedx_is_valid_and_holds_the_same(made: MadeImage, spdx: Document) -> None:
    text = (made.folder / "sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    document = json.loads(text)
    components = {item["bom-ref"]: item for item in document["components"]}
    assert len(components) == len(spdx.files) + len(spdx.packages) - 1 - 3  # without the image and three tools
    one = components["deb:one"]
    assert one["purl"] == "pkg:deb/debian/one@1:2.0-3?arch=amd64&distro=trixie"
    assert one["licenses"] == [{"expression": "MIT AND (GPL-2.0-or-later OR LicenseRef-Own-Words)"}]
    assert document["metadata"]["component"]["hashes"][0]["content"] == made.manifest.artefacts["image.raw"].sha256
    assert {tool["name"] for tool in document["metadata"]["tools"]["components"]} == {"lichen", "mkosi", "uv"}


def test_provenance(made: MadeImage) -> None:
    statement = json.loads((made.folder / "provenance.json").read_text())
    assert (statement["_type"], statement["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    listed = dict(line.split("  ")[::-1] for line in (made.folder / "SHA256SUMS").read_text().splitlines())
    subjects = {item["name"]: item["digest"]["sha256"] for item in statement["subject"]}
    assert subjects == {name: digest for name, digest in listed.items() if name != "provenance.json"}
    definition = statement["predicate"]["buildDefinition"]
    parameters = {"profile": "small", "architecture": "amd64", "lock": made.lock.digest}
    assert definition["externalParameters"] == parameters
    assert definition["internalParameters"]["sourceDateEpoch"] == made.lock.source_date_epoch
    used = {item["name"]: item["digest"]["sha256"] for item in definition["resolvedDependencies"]}
    (mkosi,) = made.lock.used_by("mkosi")
    assert used["lock"] == made.lock.digest
    assert used[mkosi.filename] == mkosi.sha256
    assert {"component:tools", "component:base", "component:initrd", "component:python"} < set(used)
    assert statement["predicate"]["runDetails"] == {"builder": {"id": f"urn:lichen:builder:{__version__}"}}


def test_the_same_again_elsewhere(made: MadeImage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "<+1245>-12:45")
    monkeypatch.setenv("LC_ALL", "tr_TR.UTF-8")
    again = make_image(tmp_path / "another place")
    assert (again.folder / "SHA256SUMS").read_text() == (made.folder / "SHA256SUMS").read_text()
    for path in made.folder.iterdir():
        assert str(made.workbench.project.root).encode() not in path.read_bytes()


def test_another_licence_or_file_changes_the_bill(made: MadeImage, tmp_path: Path) -> None:
    root = make_tree(tmp_path / "root")
    before = deb_facts(root)
    put(root, "usr/share/doc/one/copyright", "This is free software.\n")
    after = deb_facts(root)
    assert (before["one"].licence, after["one"].licence) == (before["two3.13"].licence, "NOASSERTION")
    parts = [deb_parts(made.lock.debs, "trixie", facts) for facts in (before, after)]
    assert parts[0] != parts[1]


def test_copyright_of_this_machine_is_never_read(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "root")
    path = root / "usr/share/doc/one/copyright"
    shutil.move(path, tmp_path / "outside")
    for target in (tmp_path / "outside", Path("loop"), Path("../nowhere")):
        path.unlink(missing_ok=True)
        path.symlink_to(target)
        assert deb_facts(root)["one"].licence == "NOASSERTION"


def test_packages_of_the_initrd_only(made: MadeImage, tmp_path: Path) -> None:
    """Of a package that no tree holds, its own file tells; dpkg-deb makes one here."""
    tree = tmp_path / "three"
    put(tree, "DEBIAN/control", "Package: three\nVersion: 4\nArchitecture: all\nMaintainer: nobody\nDescription: x\n")
    put(tree, "usr/share/doc/three/copyright", "Format: 1.0\n\nFiles: *\nLicense: ISC\n")
    path = tmp_path / "three.deb"
    Runner().run(["dpkg-deb", "--root-owner-group", "-b", tree, path])
    unpack(Runner(), [path], tmp_path / "unpacked")
    facts = deb_facts(tmp_path / "unpacked")
    (one, *_) = made.lock.debs
    (part,) = deb_parts([one.model_copy(update={"name": "three", "uses": ("initrd",)})], "trixie", facts)
    assert (part.licence, part.source, part.note) == ("ISC", "three 4", "In the initrd only.")


def test_package_of_a_vendor_and_roles(made: MadeImage) -> None:
    names = ("linux-image-6.12-amd64", "firmware-misc-nonfree", "intel-microcode", "nvidia-driver", "nano")
    (one, *_) = made.lock.debs
    debs = tuple(one.model_copy(update={"name": name, "archive": "vendor"}) for name in names)
    parts = deb_parts(debs, "trixie", {})
    assert [part.role for part in parts] == ["kernel", "firmware", "firmware", "driver", ""]
    assert parts[4].purl == "pkg:deb/vendor/nano@1:2.0-3?arch=amd64"
    assert (parts[4].licence, parts[4].source) == ("NOASSERTION", "")


def test_bill_that_breaks_the_rules_is_refused() -> None:
    part = Part("deb", "broken", "1", "MIT", sha256="no digest")
    with pytest.raises(LichenError) as caught:
        spdx_text(Bill("small", "amd64", "0" * 64, "0" * 64, 1, "1", (part,), ()))
    (problem,) = caught.value.problems
    assert problem.what == "the bill of materials breaks the rules of SPDX"
    assert "no digest" in problem.why
