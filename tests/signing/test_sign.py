"""Signing: both signatures or none, checkable without Lichen; unusable keys are refused; no key leaks."""

from __future__ import annotations

import base64
import json
import logging
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from builder.foundation.digest import digest_bytes
from builder.foundation.errors import EXIT_BAD_INPUT, EXIT_FAILED, InputError, LichenError
from builder.steps.signing import key_id, read_public_key, read_signer
from builder.verbs.inspect import inspect_image
from builder.verbs.sign import sign, sign_folder
from tests.cli.conftest import Lichen
from tests.sbom.madeup import MadeImage
from tests.signing.conftest import Keys, make_keys, openssl


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_signatures_can_be_checked_without_lichen(made: MadeImage, keys: Keys) -> None:
    before = contents(made.folder)
    disk = (made.folder / "image.raw").stat().st_ino
    signed = sign(made.workbench, "small", key=keys.private)
    after = contents(made.folder)
    assert {name: after[name] for name in before} == before  # what was compared stays comparable
    assert set(after) - set(before) == {"SHA256SUMS.sig", "provenance.dsse.json"}
    assert (made.folder / "image.raw").stat().st_ino == disk  # not copied
    assert [path.name for path in made.folder.parent.iterdir()] == [made.folder.name]
    words: list[str | Path] = ["pkeyutl", "-verify", "-pubin", "-inkey", keys.public, "-rawin"]
    sums: list[str | Path] = ["-in", made.folder / "SHA256SUMS", "-sigfile", made.folder / "SHA256SUMS.sig"]
    assert b"Verified Successfully" in openssl(*words, *sums).stdout
    # As DSSE's protocol says it is to be done.
    envelope = json.loads(after["provenance.dsse.json"])
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    assert (payload, kind) == (before["provenance.json"], b"application/vnd.in-toto+json")
    (one,) = envelope["signatures"]
    message = b"DSSEv1 " + b" ".join([str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])
    public = load_pem_public_key(keys.public.read_bytes())
    public.verify(base64.b64decode(one["sig"]), message)  # type: ignore[union-attr,call-arg]
    der = openssl("pkey", "-pubin", "-in", keys.public, "-outform", "DER").stdout
    assert one["keyid"] == signed.key_id == digest_bytes(der)


def test_the_same_key_gives_the_same_signature_and_another_one_replaces_it(
    made: MadeImage, keys: Keys, tmp_path: Path
) -> None:
    sign(made.workbench, "small", key=keys.private)
    first = contents(made.folder)
    sign(made.workbench, "small", key=keys.private)
    assert contents(made.folder) == first
    other = make_keys(tmp_path / "other")
    sign(made.workbench, "small", key=other.private)
    assert inspect_image(made.folder, other.public).signature.state == "good"
    assert inspect_image(made.folder, keys.public).signature.state == "bad"


def refusal(path: Path, *forbidden: Path) -> tuple[str, str]:
    with pytest.raises(InputError) as caught:
        read_signer(path, forbidden)
    (problem,) = caught.value.problems
    assert problem.where == str(path)
    return problem.why, problem.remedy


def test_keys_that_others_can_read(keys: Keys) -> None:
    for mode in (0o644, 0o640, 0o604, 0o620):
        keys.private.chmod(mode)
        why, remedy = refusal(keys.private)
        assert why == f"its permissions are {mode:04o}: others on this machine can use it"
        assert remedy == f"run `chmod 600 {keys.private}`"
    keys.private.chmod(0o400)
    assert read_signer(keys.private, []).key_id == key_id(read_public_key(keys.public))


def test_keys_where_they_would_be_published(made: MadeImage, keys: Keys, tmp_path: Path) -> None:
    link = tmp_path / "link.pem"
    for folder in (made.workbench.project.root, made.folder, made.workbench.cache.root):
        folder.mkdir(exist_ok=True, parents=True)
        inside = folder / "key.pem"
        inside.write_bytes(keys.private.read_bytes())
        inside.chmod(0o600)
        link.symlink_to(inside)
        for path in (inside, link):
            with pytest.raises(InputError) as caught:
                sign(made.workbench, "small", key=path)
            assert caught.value.problems[0].why.startswith("it lies in ")
        link.unlink()
        inside.unlink()
    assert not (made.folder / "SHA256SUMS.sig").exists()


def test_keys_of_other_kinds(keys: Keys, tmp_path: Path) -> None:
    rsa = make_keys(tmp_path / "rsa", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
    assert refusal(rsa.private)[0] == "it is no Ed25519 key"
    assert "openssl genpkey -algorithm ed25519" in refusal(rsa.private)[1]
    encrypted = tmp_path / "encrypted.pem"
    openssl("pkey", "-in", keys.private, "-aes256", "-passout", "pass:secret", "-out", encrypted)
    encrypted.chmod(0o600)
    why, remedy = refusal(encrypted)
    assert why == "it is encrypted, and nobody is asked for a passphrase"
    assert "systemd credential" in remedy
    keys.public.chmod(0o600)
    assert refusal(keys.public)[0] == "it holds no private key in PEM form"
    empty = tmp_path / "empty.pem"
    empty.touch(0o600)
    assert refusal(empty)[0] == "it holds no private key in PEM form"
    assert refusal(tmp_path / "missing.pem")[0] == "No such file or directory"
    assert refusal(tmp_path)[0] == "Is a directory"
    with pytest.raises(InputError) as caught:
        read_public_key(rsa.public)
    assert caught.value.problems[0].what == "this is no Ed25519 key"
    with pytest.raises(InputError) as caught:
        read_public_key(keys.private)
    assert caught.value.problems[0].what == "this is no public key in PEM form"


def test_changed_image_is_not_signed(made: MadeImage, keys: Keys) -> None:
    (made.folder / "image.raw").write_bytes(b"DISK")  # of the same size
    (made.folder / "more").touch()
    with pytest.raises(LichenError) as caught:
        sign(made.workbench, "small", key=keys.private)
    assert [problem.what for problem in caught.value.problems] == ["a file was changed", "a file is not listed"]
    assert not (made.folder / "SHA256SUMS.sig").exists()


def test_no_room_for_signatures(made: MadeImage, keys: Keys, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """On a full disk the folder stays as it was."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip(f"mounting is not allowed here: {capfd.readouterr().err.strip()}")
    try:
        folder = disk / "image"
        folder.mkdir()
        for name, data in contents(made.folder).items():
            (folder / name).write_bytes(data)
        before = contents(folder)
        signer = read_signer(keys.private, [])
        sign_folder(folder, signer)  # fits
        for name in ("SHA256SUMS.sig", "provenance.dsse.json"):
            (folder / name).unlink()
        room = shutil.disk_usage(disk).free
        (disk / "rest").write_bytes(bytes(room // 4096 * 4096))
        with pytest.raises(LichenError) as caught:
            sign_folder(folder, signer)
        assert caught.value.problems[0].what == "the disk is full"
        assert contents(folder) == before
        assert sorted(path.name for path in disk.iterdir()) == ["image", "rest"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_command(made: MadeImage, keys: Keys, lichen: Lichen, tmp_path: Path) -> None:
    project = ("--project", str(made.workbench.project.root), "--cache", str(made.workbench.cache.root))
    said = lichen("sign", "small", "--key", str(keys.private), *project)
    assert (said.code, said.out) == (0, f"{made.folder}\n")
    assert "signed with the key " in said.err
    assert "-rawin -in SHA256SUMS -sigfile SHA256SUMS.sig" in said.err
    assert lichen("sign", "small", "--key", str(keys.private), *project, "--json").json["folder"] == str(made.folder)
    said = lichen("sign", "small", "--key", str(tmp_path / "none"), *project)
    assert said.code == EXIT_BAD_INPUT
    assert "the key cannot be read" in said.err
    (made.folder / "image.efi").write_bytes(b"KERNEL"[:6])
    assert lichen("sign", "small", "--key", str(keys.private), *project).code == EXIT_FAILED


def test_no_key_leaks(
    made: MadeImage, keys: Keys, lichen: Lichen, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A canary: after success and failures alike, nothing of the key is in any file or on any screen."""
    caplog.set_level(logging.DEBUG)
    pem = keys.private.read_bytes()
    key = load_pem_private_key(pem, None)
    seed = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    body = b"".join(pem.splitlines()[1:-1])
    traces = [seed, body, seed.hex().encode(), base64.b64encode(seed), base64.b64decode(body)]
    project = ("--project", str(made.workbench.project.root), "--cache", str(made.workbench.cache.root), "--verbose")
    broken = tmp_path / "keys" / "broken.pem"
    broken.write_bytes(pem.replace(b"PRIVATE", b"PRIVAT"))
    broken.chmod(0o600)
    screen = b""
    for path in (keys.private, broken):
        for more in ((), ("--json",)):
            said = lichen("sign", "small", "--key", str(path), *project, *more)
            screen += f"{said.out}{said.err}".encode()
    screen += repr(read_signer(keys.private, [])).encode() + caplog.text.encode()
    assert b"signed with the key" in screen
    assert b"it holds no private key" in screen
    places = [made.workbench.project.root, made.workbench.cache.root]
    files = {path: path.read_bytes() for place in places for path in place.rglob("*") if path.is_file()}
    assert made.folder / "SHA256SUMS.sig" in files
    for trace in traces:
        assert trace not in screen
        assert [path for path, data in files.items() if trace in data] == []
