"""``lichen keys new``: all keys that a project can sign with, in a folder that nothing publishes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from builder.foundation.atomic import disk_error
from builder.foundation.errors import InputError, LichenError, Problem
from builder.foundation.making import alone, made_anew
from builder.foundation.place import Cache, find_project
from builder.steps.keymaking import key_set

# What each file is for, in the order in which one reads it: the key and what is published of it.
USES: Mapping[str, str] = {
    "secure-boot.key": "signs UKIs: --secure-boot-key, LICHEN_SECURE_BOOT_KEY",
    "secure-boot.pem": "copy it into the project and name it in a profile: image: {secure_boot: keys/secure-boot.pem}",
    "modules.key": "signs modules of own kernels: --module-key, LICHEN_MODULE_KEY",
    "modules.pem": "copy it into the project and name it in a profile: kernel: {certificate: keys/modules.pem}",
    "images.key": "signs checksums and provenance: lichen sign --key",
    "images.pem": "publish it: lichen inspect --key",
    "db.auth": "enroll first: firmware boots what secure-boot.key signed",
    "KEK.auth": "enroll second: exchange.key may change db from then on",
    "PK.auth": "enroll last: firmware enforces Secure Boot, and platform.key may change KEK, from then on",
    "secure-boot.cer": "for firmware that takes certificates instead of db.auth, beside the vendor's own",
    "exchange.key": "signs later changes of db; keep it where no machine builds",
    "exchange.pem": "certificate of exchange.key",
    "platform.key": "signs later changes of KEK and PK; keep it where no machine builds",
    "platform.pem": "certificate of platform.key",
}


@dataclass(frozen=True)
class NewKeys:
    """A set of keys: its folder, and what each file in it is for."""

    folder: Path
    uses: Mapping[str, str]


def new_keys(folder: Path, cache: Cache, moment: datetime) -> NewKeys:
    """Make a set of keys in a new folder that only its owner can enter, complete or absent.

    Args:
        cache: shared and exported, so no place for keys.
        moment: now.

    Raises:
        InputError: something is there already, or the folder would lie where things are published from.
        LichenError: the folder cannot be written.
    """
    _require_private(folder.resolve(), cache)
    try:
        with alone(folder):
            if os.path.lexists(folder):
                why = "keys that were lost cannot be made again"
                raise InputError(Problem("something is there already", str(folder), why, "name a folder that is new"))
            with made_anew(folder) as aside:
                aside.chmod(0o700)
                for name, file in key_set(moment).items():
                    descriptor = os.open(aside / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                    with os.fdopen(descriptor, "wb") as stream:
                        stream.write(file.content)
                    (aside / name).chmod(0o600 if file.secret else 0o644)
    except OSError as error:
        raise disk_error(error, folder) from error
    return NewKeys(folder, USES)


def _require_private(folder: Path, cache: Cache) -> None:
    """Refuse a folder in a git work tree, a project or the cache.

    Raises:
        InputError: it lies in one.
    """
    remedy = "name a folder elsewhere: what is there is committed, published or shared"
    what = "keys must not lie there"
    for parent in folder.parents:
        if (parent / ".git").exists():
            raise InputError(Problem(what, str(folder), f"{parent} is a git work tree", remedy))
    try:
        project = find_project(folder)
    except LichenError:
        project = None
    if project:
        raise InputError(Problem(what, str(folder), f"{project.root} is a Lichen project", remedy))
    if folder.is_relative_to(cache.root.resolve()):
        raise InputError(Problem(what, str(folder), f"{cache.root} is a cache", remedy))
