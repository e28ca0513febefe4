"""Signatures of modules: what the kernel reads, made and checked by OpenSSL; keys that must not be used."""

from __future__ import annotations

import hashlib
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.data.certificate import Certificate, read_certificate
from builder.foundation.errors import InputError
from builder.steps.kernels import read_module_signer, sign_modules

MARK = b"~Module signature appended~\n"
MODULE = b"\x7fELF, and what else a module is made of"


@dataclass(frozen=True)
class Pair:
    """A key outside of a project and the certificate within."""

    key: Path
    file: Path
    certificate: Certificate


def make_pair(folder: Path, kind: tuple[str, ...] = ("-newkey", "rsa:2048")) -> Pair:
    project = folder / "project"
    project.mkdir(parents=True)
    key, file = folder / "key.pem", project / "modules.pem"
    words: list[str | Path] = [
        "openssl",
        "req",
        "-x509",
        *kind,
        "-noenc",
        "-days",
        "2",
        "-subj",
        "/CN=modules",
        "-keyout",
        key,
    ]
    subprocess.run([*words, "-out", file], check=True, capture_output=True)
    key.chmod(0o600)
    certificate = read_certificate(project, "modules.pem", "profile.yaml:1", "the modules' key")
    return Pair(key, file, certificate)


def test_openssl_finds_the_module_signed_and_a_changed_one_not(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    signer = read_module_signer(pair.key, pair.certificate, [tmp_path / "project"])
    trailer = signer.trailer(MODULE)
    assert trailer == signer.trailer(MODULE)
    assert trailer.endswith(MARK)
    # struct module_signature: PKCS#7 is the second kind; only the length is not zero besides.
    info = trailer[-len(MARK) - 12 : -len(MARK)]
    *small, size = struct.unpack(">BBBBB3xI", info)
    assert small == [0, 0, 2, 0, 0]
    assert size == len(trailer) - len(MARK) - 12
    signature, module = tmp_path / "signature", tmp_path / "module"
    signature.write_bytes(trailer[:size])
    words: list[str | Path] = [
        "openssl",
        "cms",
        "-verify",
        "-binary",
        "-inform",
        "DER",
        "-in",
        signature,
        "-content",
        module,
    ]
    words += ["-certfile", pair.file, "-noverify", "-out", tmp_path / "out"]
    for content, accepted in ((MODULE, True), (MODULE[:-1], False)):
        module.write_bytes(content)
        done = subprocess.run(words, check=False, capture_output=True)
        assert (done.returncode == 0) is accepted, done.stderr


def test_each_module_gets_a_signature_beside_the_tree(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    signer = read_module_signer(pair.key, pair.certificate, [])
    folder = tmp_path / "image/usr/lib/modules/6.12-own/kernel/fs"
    folder.mkdir(parents=True)
    (folder / "ext4.ko").write_bytes(MODULE)
    (folder.parent / "readme").write_bytes(MODULE)
    sign_modules(tmp_path / "image", signer, tmp_path / "signatures")
    assert [path.name for path in (tmp_path / "signatures").rglob("*.sig")] == ["ext4.ko.sig"]
    assert (tmp_path / "signatures/kernel/fs/ext4.ko.sig").read_bytes() == signer.trailer(MODULE)
    assert hashlib.sha256((folder / "ext4.ko").read_bytes()).digest() == hashlib.sha256(MODULE).digest()


def test_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    one, other = make_pair(tmp_path / "one"), make_pair(tmp_path / "other")
    with pytest.raises(InputError) as caught:
        read_module_signer(other.key, one.certificate, [])
    (problem,) = caught.value.problems
    assert (problem.where, problem.why) == (str(other.key), "the certificate is of another one")


def test_key_in_the_project_or_open_to_others_is_refused(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    with pytest.raises(InputError, match="it lies in"):
        read_module_signer(pair.key, pair.certificate, [tmp_path])
    pair.key.chmod(0o644)
    with pytest.raises(InputError, match="others on this machine can use it"):
        read_module_signer(pair.key, pair.certificate, [])
    pair.key.chmod(0o600)
    pair.key.write_text("nonsense")
    with pytest.raises(InputError, match="no plain private key"):
        read_module_signer(pair.key, pair.certificate, [])


def test_certificate_of_another_kind_of_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its key is not RSA"):
        make_pair(tmp_path, ("-newkey", "ed25519"))


def test_signer_shows_no_key(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)
    signer = read_module_signer(pair.key, pair.certificate, [])
    shown = repr(signer)
    secret = pair.key.read_text().splitlines()[1]
    assert secret not in shown
