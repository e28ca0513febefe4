"""A signed image: what says so, and that firmware boots it, but not with one byte changed."""

from __future__ import annotations

import base64
import mmap
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from builder.data.efivariables import VENDORS
from builder.foundation.errors import GuestTestError, InputError
from builder.foundation.inside.blob import Blob
from builder.foundation.inside.disk import read_disk
from builder.foundation.place import Cache, Project
from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox
from builder.foundation.workbench import Workbench
from builder.steps.compare.fat import read_fat
from builder.steps.machine import Machine
from builder.steps.profiles import load_buildable
from builder.steps.render import component_tree
from builder.steps.secureboot import der
from builder.verbs.boot import Request, acceleration, specify, trusted
from builder.verbs.build import BuiltImage, build, find_image, provide_toolbox
from builder.verbs.lock import current_lock, lock
from builder.verbs.plan import make_plan
from builder.verbs.verify import verify, verify_against
from tests.cli.conftest import Lichen
from tests.secureboot.conftest import Keys, make_set

SECURE_BOOT = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
LOADER = "/EFI/BOOT/BOOTX64.EFI"


@dataclass(frozen=True)
class Signed:
    """The small image, signed; ``bench`` has the key."""

    bench: Workbench
    image: BuiltImage
    toolbox: Toolbox

    @property
    def without_key(self) -> Workbench:
        return replace(self.bench, secure_boot_key=None)


def signing_project(source: Project, root: Path, keys: Keys) -> Project:
    """The small project, whose profile names the set's certificate."""
    project = Project(root / "project")
    for name in ("profiles", "overlays"):
        shutil.copytree(source.root / name, project.root / name, symlinks=True)
    (project.root / "keys").mkdir()
    shutil.copyfile(keys / "secure-boot.pem", project.root / "keys/secure-boot.pem")
    profile = project.profiles / "small.yaml"
    named = profile.read_text().replace("hostname: small,", "hostname: small, secure_boot: keys/secure-boot.pem,")
    assert named != profile.read_text()
    profile.write_text(named)
    return project


@pytest.fixture(scope="module")
def signed(small_project: Project, cache: Cache, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    if os.geteuid() != 0:
        pytest.skip("building needs root")
    project = signing_project(small_project, tmp_path_factory.mktemp("signed"), keys)
    bench = Workbench(project, cache, secure_boot_key=keys / "secure-boot.key")
    lock(bench, "small")  # moves no version
    return Signed(bench, build(bench, "small"), provide_toolbox(bench, "small"))


def test_image_says_who_signed_it(signed: Signed, keys: Keys, lichen: Lichen) -> None:
    folder = signed.image.folder
    assert (folder / "secure-boot.pem").read_bytes() == keys.pem("secure-boot")
    assert "secure-boot.pem" in signed.image.manifest.artefacts
    said = lichen("inspect", str(folder), "--json").json
    shown = subprocess.run(
        ["openssl", "x509", "-in", folder / "secure-boot.pem", "-noout", "-fingerprint", "-sha256"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    fingerprint = shown.strip().partition("=")[2].replace(":", "").lower()
    assert said["secure_boot"] == {"certificate": fingerprint, "name": "CN=Lichen Secure Boot", "refused": ""}
    assert said["problems"] == []
    # What the firmware starts is the very file that was signed.
    inside = read_fat(read_disk(folder / "image.raw", signed.toolbox, Runner()).parts["esp"]).entries[LOADER].content
    assert inside is not None
    assert inside.digest() == signed.image.manifest.artefacts["image.efi"].sha256
    assert trusted(folder, signed.image.manifest) == der(keys.pem("secure-boot"))


def test_nothing_of_the_key_is_kept(signed: Signed, keys: Keys) -> None:
    pem = (keys / "secure-boot.key").read_bytes()
    key = load_pem_private_key(pem, None)
    assert isinstance(key, RSAPrivateKey)
    prime = key.private_numbers().p.to_bytes(128)
    for path in signed.image.folder.iterdir():
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            assert content.find(prime) == content.find(pem.splitlines()[5]) == -1, path.name


def test_who_has_no_key_uses_the_signed_image(signed: Signed) -> None:
    assert find_image(signed.without_key, "small") == signed.image.folder
    assert not build(signed.without_key, "small").rebuilt
    assert not build(signed.bench, "small").rebuilt


def test_key_of_another_certificate_or_in_the_project_is_refused(signed: Signed, keys: Keys, tmp_path: Path) -> None:
    other = make_set(tmp_path / "other")
    with pytest.raises(InputError, match="the certificate is of another one"):
        make_plan(replace(signed.bench, secure_boot_key=other / "secure-boot.key"), "small")
    inside = signed.bench.project.root / "keys/secure-boot.key"
    shutil.copy(keys / "secure-boot.key", inside)
    with pytest.raises(InputError, match="it lies in"):
        make_plan(replace(signed.bench, secure_boot_key=inside), "small")
    inside.unlink()


def test_signature_does_not_tell_when_it_was_made(signed: Signed, keys: Keys, tmp_path: Path) -> None:
    """The signer as mkosi finds it, on two days."""
    bench = signed.bench
    recipe = load_buildable(bench.project, "small")
    tree = component_tree("image", recipe, current_lock(bench, recipe, "amd64"))
    script = tmp_path / "systemd-sbsign"
    script.write_bytes(tree["signing/systemd-sbsign"].content)
    script.chmod(tree["signing/systemd-sbsign"].mode)
    for name in ("secure-boot.key", "secure-boot.pem"):
        shutil.copy(keys / name, tmp_path / name)
    program = next((signed.toolbox.tree / "usr/lib/systemd/boot/efi").glob("linux*.efi.stub"))
    shutil.copyfile(program, tmp_path / "in.efi")
    made = []
    for clock in ("+0", "+400d"):
        words = ["env", f"FAKETIME={clock}", "LD_PRELOAD=/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"]
        words += [str(script), "sign", f"--private-key={tmp_path}/secure-boot.key"]
        words += [f"--certificate={tmp_path}/secure-boot.pem", f"--output={tmp_path}/out.efi", f"{tmp_path}/in.efi"]
        Runner().run(signed.toolbox.command(words, writable=[tmp_path]))
        made.append((tmp_path / "out.efi").read_bytes())
    assert made[0] == made[1]
    assert len(made[0]) > program.stat().st_size


@pytest.mark.long
def test_firmware_that_enforces_secure_boot_boots_it(signed: Signed, tmp_path: Path) -> None:
    image = signed.image
    kind = acceleration(signed.bench, signed.toolbox, "amd64", None).kind
    with Machine(signed.toolbox, specify(image.folder, image.manifest, Request(), kind), tmp_path) as machine:
        machine.wait_for_ssh()
        # Four bytes of attributes, then the value.
        assert machine.run(f"od -An -tu1 -j4 {SECURE_BOOT}").stdout.split() == ["1"]
        assert "[integrity]" in machine.run("cat /sys/kernel/security/lockdown").stdout
        machine.shutdown()


@pytest.fixture
def tampered(signed: Signed, tmp_path: Path) -> Iterator[Path]:
    """The image folder with one byte of the UKI in its disk changed, that of a letter of the command line."""
    folder = tmp_path / "tampered"
    subprocess.run(["cp", "-a", "--sparse=always", signed.image.folder, folder], check=True)
    loader = read_fat(read_disk(folder / "image.raw", signed.toolbox, Runner()).parts["esp"]).entries[LOADER].content
    assert loader is not None
    at = loader.read().index(b"console=ttyS0")
    ((offset, _),) = Blob(loader.path, loader.pieces).slice(at, 1).pieces
    assert offset is not None
    with (folder / "image.raw").open("r+b") as stream:
        stream.seek(offset)
        assert stream.read(1) == b"c"
        stream.seek(offset)
        stream.write(b"k")
    yield folder
    shutil.rmtree(folder)


def test_firmware_refuses_it_with_one_byte_changed(signed: Signed, tampered: Path, tmp_path: Path) -> None:
    kind = acceleration(signed.bench, signed.toolbox, "amd64", None).kind
    spec = specify(tampered, signed.image.manifest, Request(), kind)
    assert spec.trusted
    with Machine(signed.toolbox, spec, tmp_path / "machine") as machine:
        with pytest.raises(GuestTestError, match="the firmware refused what it was to boot"):
            watch(machine)
        assert "Access Denied" in machine.console_text()
        assert "Linux version" not in machine.console_text()


def watch(machine: Machine) -> NoReturn:
    """Ends with what the firmware says, or with the machine; not with a clock."""
    while True:
        machine.check()
        time.sleep(0.5)


@pytest.mark.long
def test_machine_is_taught_to_trust_by_the_files_of_the_set(signed: Signed, keys: Keys, tmp_path: Path) -> None:
    """Firmware without a key, as on a new machine: it takes the files in this order, and enforces from then on."""
    image, box = signed.image, signed.toolbox
    kind = acceleration(signed.bench, box, "amd64", None).kind
    spec = specify(image.folder, image.manifest, Request(), kind)
    shutil.copyfile(box.tree / "usr/share/OVMF/OVMF_VARS_4M.fd", tmp_path / "firmware.vars")
    with Machine(box, spec, tmp_path, keep=True) as machine:
        machine.wait_for_ssh()
        assert machine.run(f"od -An -tu1 -j4 {SECURE_BOOT}").stdout.split() == ["0"]
        for name in ("db", "KEK", "PK"):
            # efivarfs takes the attributes in front, and all of it at once.
            content = struct.pack("<I", 0x27) + (keys / f"{name}.auth").read_bytes()
            variable = f"/sys/firmware/efi/efivars/{name}-{VENDORS[name]}"
            packed = base64.b64encode(content).decode()
            machine.run(f"echo {packed} | base64 -d > /run/{name} && dd bs=64k if=/run/{name} of={variable}")
        machine.shutdown()
    with Machine(box, spec, tmp_path) as machine:
        machine.wait_for_ssh()
        assert machine.run(f"od -An -tu1 -j4 {SECURE_BOOT}").stdout.split() == ["1"]


@pytest.mark.long
def test_every_build_with_the_key_has_the_same_bytes_and_without_it_the_same_but_signatures(signed: Signed) -> None:
    again = verify(signed.bench, "small", number=1)
    assert again.verification.identical, again.verification.text()
    assert {row.basis for rebuild in again.verification.rebuilds for row in rebuild.compared} == {"bytes"}
    published = signed.image.folder.with_name("published")
    shutil.move(signed.image.folder, published)
    against = verify_against(signed.without_key, str(published), "small")
    assert against.verification.identical, against.verification.text()
    assert "unsigned" in {row.basis for rebuild in against.verification.rebuilds for row in rebuild.compared}
    assert trusted(against.image, signed.image.manifest) is None
