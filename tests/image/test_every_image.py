"""What holds for every image of Lichen, whatever its profile."""

from __future__ import annotations

import json
from typing import Any

import pytest
from testinfra.host import Host


def test_packages_are_those_of_the_manifest(host: Host, manifest: dict[str, Any]) -> None:
    shown = host.check_output("dpkg-query --show --showformat='${Package} ${Version} ${Architecture}\\n'")
    promised = [d for d in manifest["packages"] if "image" in d["uses"]]
    assert sorted(shown.splitlines()) == sorted(f"{d['name']} {d['version']} {d['architecture']}" for d in promised)


def test_package_database_is_whole(host: Host) -> None:
    assert host.check_output("dpkg --audit") == ""
    assert host.check_output("apt-get check -qq") == ""


def test_running_kernel_is_the_promised_one(host: Host, manifest: dict[str, Any]) -> None:
    assert host.check_output("uname -r") == manifest["kernel"]


def test_wheels_are_those_of_the_manifest(host: Host, manifest: dict[str, Any]) -> None:
    if not manifest["wheels"]:
        assert not host.file("/opt/ai").exists
        return
    script = (
        "import json; from importlib.metadata import distributions as d;"
        "print(json.dumps([[x.metadata['Name'], x.version] for x in d(path=['/opt/ai/lib/python3.13/site-packages'])]))"
    )
    found = json.loads(host.check_output(f'/opt/ai/bin/python -I -c "{script}"'))
    normal = {name.lower().replace("_", "-").replace(".", "-"): version for name, version in found}
    assert normal == {wheel["name"]: wheel["version"] for wheel in manifest["wheels"]}


def test_python_requirements_are_met(host: Host, manifest: dict[str, Any]) -> None:
    """Every wheel's requirements are met by another wheel or by a Debian package, in the versions that are there."""
    if not manifest["wheels"]:
        return
    script = """
from importlib.metadata import distributions, version
from packaging.requirements import Requirement
for one in distributions(path=["/opt/ai/lib/python3.13/site-packages"]):
    for text in one.requires or ():
        wanted = Requirement(text)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        if not wanted.specifier.contains(version(wanted.name), prereleases=True):
            print(one.metadata["Name"], "wants", wanted, "found", version(wanted.name))
"""
    done = host.run("/opt/ai/bin/python -I -c %s", script)
    assert done.rc == 0, done.stderr
    assert done.stdout == ""


def test_modules_of_packages_are_compiled(host: Host) -> None:
    """By Debian's own program, which is in its place; while the image was built something else was."""
    if not host.file("/usr/bin/py3compile").exists:
        pytest.skip("no Debian package brings Python here")
    assert "/usr/bin/" not in host.run("dpkg --verify python3-minimal").stdout
    assert host.run("grep py3compile /var/lib/dpkg/diversions").rc == 1
    script = """
import importlib.util, pathlib
folder = pathlib.Path("/usr/lib/python3/dist-packages")
excepted = [
    line.split("|")[2]
    for file in pathlib.Path("/usr/share/python3/bcep").glob("*")
    for line in file.read_text().splitlines()
    if line.count("|") > 1
]
for listed in pathlib.Path("/var/lib/dpkg/info").glob("python3-*.list"):
    for path in map(pathlib.Path, listed.read_text().splitlines()):
        if path.suffix == ".py" and folder in path.parents and not str(path).startswith(tuple(excepted)):
            if not pathlib.Path(importlib.util.cache_from_source(path)).exists():
                print(path)
"""
    assert host.check_output("python3 -I -c %s", script) == ""


def test_no_build_leftovers(host: Host) -> None:
    found = host.check_output(
        "find / -xdev \\( -name '*.lichen' -o -name 'mkosi*' -o -name direct_url.json \\) 2>/dev/null"
    )
    assert found == ""
    assert host.check_output("grep -rlsI -e mkosi-workspace -e /buildroot /opt/ai/bin /etc || true") == ""


def test_secure_shell_reaches_us_by_credential_only(host: Host) -> None:
    """The key that lets this test in came with this boot; the image's disk has none."""
    keys = host.check_output("cat /root/.ssh/authorized_keys").splitlines()
    assert len(keys) == 1
    assert host.run("ls /run/credentials/@system/ssh.authorized_keys.root").rc == 0


def test_layout_is_the_declared_one(host: Host, image: dict[str, Any]) -> None:
    """Nothing writes to the root of an immutable image; every block is checked against the root hash of the UKI."""
    mapped = host.check_output("cat /sys/block/dm-*/dm/uuid 2>/dev/null || true").split()
    sealed = [uuid for uuid in mapped if uuid.startswith("CRYPT-VERITY-")]
    if image["layout"] == "mutable":
        assert sealed == []
        host.run_test("touch /usr/note && rm /usr/note")
        return
    assert len(sealed) == 1
    assert host.check_output("findmnt -n -o SOURCE /") == "/dev/mapper/root"
    assert "roothash=" in host.check_output("cat /proc/cmdline")
    for path in ("/note", "/usr/note"):
        assert "Read-only file system" in host.run("touch %s", path).stderr
    state = host.check_output("findmnt -n -o SOURCE /state")
    for path in ("/etc", "/home", "/root", "/srv", "/var"):
        # What the image has nothing in lies on the state partition itself.
        kind, source = host.check_output("findmnt -n -o FSTYPE,SOURCE %s", path).split()
        assert kind == "overlay" or source == f"{state}[{path}]"
        host.run_test("touch %s/note && rm %s/note", path, path)
