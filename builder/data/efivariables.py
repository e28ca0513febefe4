"""Variables of UEFI firmware that say whom Secure Boot trusts: signature lists, updates of them, a store that has them.

Formats: UEFI Specification 2.10, 8.2 (authenticated variables) and 32.4.1 (signature lists); the store is that of EDK2,
MdeModulePkg/Include/Guid/VariableFormat.h. A store is laid out here because the library for it cannot be installed
without a compiler on Python 3.13.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

GLOBAL = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
DATABASE = uuid.UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")  # image security database
# Who may change what: the platform key the exchange keys, these the database of what may boot.
VENDORS: Mapping[str, uuid.UUID] = {"PK": GLOBAL, "KEK": GLOBAL, "db": DATABASE}
# Says in firmware's menus whose entry it is; grown from the name space of this project's other identifiers.
OWNER = uuid.UUID("81ed9bb9-4d1b-5a9c-ba76-60a6df81f45c")

_X509 = uuid.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
_PKCS7 = uuid.UUID("4aafd29d-68df-49ee-8aa9-347d375665a7")
# Non-volatile, seen by boot services and at run time, changed by whoever signs the change with its time.
_ATTRIBUTES = 0x01 | 0x02 | 0x04 | 0x20
_LIST = struct.Struct("<16sIII")  # type, size of all, of a header, of each signature with its owner
_TIME = struct.Struct("<HBBBBBxIhBx")
_CERTIFICATE = struct.Struct("<IHH16s")  # WIN_CERTIFICATE_UEFI_GUID
_REVISION, _GUID_TYPE = 0x0200, 0x0EF1

_VOLUME = uuid.UUID("fff12b8d-7696-4c8b-a985-2747075b4f50")
_STORE = uuid.UUID("aaf32c78-947b-439a-a180-2e144ec37792")
_STORE_HEADER = struct.Struct("<16sIBBHI")
_FORMATTED, _HEALTHY = 0x5A, 0xFE
_VARIABLE = struct.Struct("<HBxIQ16sIII16s")
_BEGIN, _ADDED = 0x55AA, 0x3F
_ERASED = b"\xff"
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # any later update goes


def signature_list(certificate: bytes) -> bytes:
    """The signature list (ESL) with one certificate, given in DER form."""
    entry = OWNER.bytes_le + certificate
    return _LIST.pack(_X509.bytes_le, _LIST.size + len(entry), 0, len(entry)) + entry


def to_be_signed(name: str, moment: datetime, content: bytes) -> bytes:
    """What an update of the variable ``name`` to ``content`` is signed over."""
    return name.encode("utf-16-le") + VENDORS[name].bytes_le + struct.pack("<I", _ATTRIBUTES) + _time(moment) + content


def update(moment: datetime, content: bytes, signature: bytes) -> bytes:
    """A signed update of a variable, as ``.auth`` files hold it.

    Args:
        signature: PKCS#7 SignedData in DER form, of :func:`to_be_signed`.
    """
    head = _CERTIFICATE.pack(_CERTIFICATE.size + len(signature), _REVISION, _GUID_TYPE, _PKCS7.bytes_le)
    return _time(moment) + head + signature + content


def enrolled(template: bytes, certificate: bytes) -> bytes:
    """An empty store of variables with one certificate, in DER form, as platform key, exchange key and in the database.

    Firmware that finds a platform key enforces Secure Boot.

    Raises:
        ValueError: the template is no empty store, or too small.
    """
    content = signature_list(certificate)
    variables = b"".join(_variable(name, content) for name in VENDORS)
    start, end = _room(template)
    if len(variables) > end - start:
        raise ValueError(f"{len(variables)} bytes of variables do not fit into {end - start}")
    return template[:start] + variables + template[start + len(variables) :]


def _room(template: bytes) -> tuple[int, int]:
    """Where an empty store's variables begin, and where it ends."""
    if template[16:32] != _VOLUME.bytes_le:
        raise ValueError("this is no volume of variables")
    (header,) = struct.unpack_from("<H", template, 48)
    kind, size, formatted, healthy, _, _ = _STORE_HEADER.unpack_from(template, header)
    if (kind, formatted, healthy) != (_STORE.bytes_le, _FORMATTED, _HEALTHY):
        raise ValueError("this is no store of authenticated variables")
    start, end = header + _STORE_HEADER.size, header + size
    if template[start:end].strip(_ERASED):
        raise ValueError("the store is not empty")
    return start, end


def _variable(name: str, content: bytes) -> bytes:
    encoded = f"{name}\0".encode("utf-16-le")
    sizes = 0, len(encoded), len(content)  # the first one is of another way to authenticate
    head = _VARIABLE.pack(_BEGIN, _ADDED, _ATTRIBUTES, 0, _time(_EARLIEST), *sizes, VENDORS[name].bytes_le)
    whole = head + encoded + content
    return whole + _ERASED * (-len(whole) % 4)


def _time(moment: datetime) -> bytes:
    """EFI_TIME in UTC, seconds the smallest unit."""
    there = moment.astimezone(UTC)
    return _TIME.pack(there.year, there.month, there.day, there.hour, there.minute, there.second, 0, 0, 0)
