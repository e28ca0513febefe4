"""`lichen keys new`: where a set may lie, who can read it, and that what is in it fits together."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from builder.data.certificate import Certificate
from builder.data.efivariables import VENDORS, enrolled, signature_list, to_be_signed
from builder.foundation.errors import EXIT_BAD_INPUT
from builder.foundation.toolbox import Toolbox
from builder.steps.kernels import read_module_signer
from builder.steps.secureboot import der, require_boot_key
from builder.steps.signing import read_public_key, read_signer, verifies
from builder.verbs.keys import USES
from tests.cli.conftest import Lichen
from tests.secureboot.conftest import MOMENT, Keys

PAIRS = ("secure-boot", "exchange", "platform", "modules")


def test_only_the_owner_reads_the_keys_whatever_the_umask(tmp_path: Path, lichen: Lichen) -> None:
    before = os.umask(0)
    try:
        said = lichen("keys", "new", str(tmp_path / "set"), "--json")
    finally:
        os.umask(before)
    assert said.code == 0
    assert set(said.json["files"]) == {path.name for path in (tmp_path / "set").iterdir()} == set(USES)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "set").iterdir()}
    assert {mode for name, mode in modes.items() if name.endswith(".key")} == {0o600}
    assert {mode for name, mode in modes.items() if not name.endswith(".key")} == {0o644}
    assert stat.S_IMODE((tmp_path / "set").stat().st_mode) == 0o700
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
    private = [name for name in modes if b"PRIVATE KEY" in (tmp_path / "set" / name).read_bytes()]
    assert {name for name in modes if name.endswith(".key")} == set(private)


def test_keys_are_not_made_where_things_are_published(
    tmp_path: Path, lichen: Lichen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LICHEN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tree/.git").mkdir(parents=True)
    for name in ("profiles", "overlays"):
        (tmp_path / "project" / name).mkdir(parents=True)
    (tmp_path / "cache").mkdir()
    (tmp_path / "link").symlink_to("tree")
    (tmp_path / "taken").mkdir()
    for place, why in (
        ("tree/sub/keys", "is a git work tree"),
        ("link/keys", "is a git work tree"),
        ("project/keys", "is a Lichen project"),
        ("cache/keys", "is a cache"),
        ("taken", "keys that were lost cannot be made again"),
    ):
        said = lichen("keys", "new", str(tmp_path / place), "--json")
        assert said.code == EXIT_BAD_INPUT, place
        assert why in said.json["error"][0]["why"]
    assert not list(tmp_path.rglob("*.key"))


def test_each_file_is_what_its_option_takes(keys: Keys) -> None:
    for name, bits in (*dict.fromkeys(PAIRS[:3], 2048).items(), ("modules", 4096)):
        certificate = x509.load_pem_x509_certificate(keys.pem(name))
        public = certificate.public_key()
        assert isinstance(public, RSAPublicKey)
        assert public.key_size == bits
        certificate.verify_directly_issued_by(certificate)
        # Neither a clock that stands still nor one that runs ahead.
        assert (certificate.not_valid_before_utc.year, certificate.not_valid_after_utc.year) == (2000, 2099)
    require_boot_key(keys / "secure-boot.key", Certificate(keys.pem("secure-boot"), "here"), [])
    read_module_signer(keys / "modules.key", Certificate(keys.pem("modules"), "here"), [])
    signer = read_signer(keys / "images.key", [])
    assert verifies(read_public_key(keys / "images.pem"), signer.sign(b"sums"), b"sums")
    assert (keys / "secure-boot.cer").read_bytes() == der(keys.pem("secure-boot"))


@pytest.mark.parametrize(
    ("variable", "content", "signer"),
    [("PK", "platform", "platform"), ("KEK", "exchange", "platform"), ("db", "secure-boot", "exchange")],
)
def test_update_of_a_variable_is_signed_by_the_key_above(
    keys: Keys, tmp_path: Path, variable: str, content: str, signer: str
) -> None:
    update = (keys / f"{variable}.auth").read_bytes()
    # EFI_VARIABLE_AUTHENTICATION_2: a time, a length that counts itself, revision and type, a GUID, the signature.
    size = int.from_bytes(update[16:20], "little")
    listed = update[16 + size :]
    assert listed == signature_list(der(keys.pem(content)))
    signed = tmp_path / "signed"
    signed.write_bytes(to_be_signed(variable, MOMENT, listed))
    assert signed.read_bytes().startswith(variable.encode("utf-16-le") + VENDORS[variable].bytes_le)
    assert verified_by_openssl(update[40 : 16 + size], signed, keys / f"{signer}.pem")
    signed.write_bytes(to_be_signed(variable, MOMENT, listed[:-1] + b"\0"))
    assert not verified_by_openssl(update[40 : 16 + size], signed, keys / f"{signer}.pem")


def verified_by_openssl(signed_data: bytes, content: Path, certificate: Path) -> bool:
    """Firmware takes SignedData alone; OpenSSL wants it within a message."""
    identifier = bytes.fromhex("06092a864886f70d010702")
    body = identifier + b"\xa0\x82" + len(signed_data).to_bytes(2) + signed_data
    message = content.with_suffix(".p7")
    message.write_bytes(b"\x30\x82" + len(body).to_bytes(2) + body)
    words: list[str | Path] = ["openssl", "smime", "-verify", "-binary", "-inform", "DER", "-in", message]
    words += ["-content", content, "-CAfile", certificate, "-purpose", "any", "-out", "/dev/null"]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


def test_store_of_variables_has_room_and_is_taken_only_when_empty(toolbox: Toolbox, keys: Keys) -> None:
    template = (toolbox.tree / "usr/share/OVMF/OVMF_VARS_4M.fd").read_bytes()
    store = enrolled(template, der(keys.pem("secure-boot")))
    assert len(store) == len(template)
    assert store.count(der(keys.pem("secure-boot"))) == len(VENDORS)
    with pytest.raises(ValueError, match="the store is not empty"):
        enrolled(store, der(keys.pem("secure-boot")))
    with pytest.raises(ValueError, match="no volume of variables"):
        enrolled(template[4096:], der(keys.pem("secure-boot")))
