"""Who may log in: one JSON file with hashed passwords.

Hub and command line edit it at the same time, hence the lock. It is replaced, never rewritten in place, so a power
failure leaves either the old or the new one.
"""

import base64
import fcntl
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import layout

# 16 MiB and some 50 ms for each guess.
SCRYPT = {"n": 2**14, "r": 8, "p": 1}


@dataclass(frozen=True)
class Account:
    """One person. Without approval the account cannot log in."""

    password: str
    approved: bool
    admin: bool = False
    created: str = ""


def hash_password(password: str) -> str:
    """Hash with a fresh salt."""
    salt = secrets.token_bytes(16)
    digest = hashlib.scrypt(password.encode(), salt=salt, **SCRYPT)
    return f"scrypt${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


# Checked when the account does not exist, so that an unknown name takes as long as a wrong password.
NOBODY = hash_password(secrets.token_hex())


def password_matches(password: str, stored: str) -> bool:
    """Compare in constant time."""
    _, salt, digest = stored.split("$")
    guess = hashlib.scrypt(password.encode(), salt=base64.b64decode(salt), **SCRYPT)
    return hmac.compare_digest(guess, base64.b64decode(digest))


class Accounts:
    """The file of accounts."""

    def __init__(self, path: Path = layout.HUB / "accounts.json") -> None:
        self.path = path

    def read(self) -> dict[str, Account]:
        """All accounts by name."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        return {name: Account(**fields) for name, fields in json.loads(text).items()}

    @contextmanager
    def edit(self) -> Iterator[dict[str, Account]]:
        """Change accounts under a lock; nothing is written if the block raises."""
        with os.fdopen(os.open(self.path.with_suffix(".lock"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            accounts = self.read()
            yield accounts
            self._write(accounts)

    def _write(self, accounts: dict[str, Account]) -> None:
        fresh = self.path.with_suffix(".new")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump({name: asdict(account) for name, account in sorted(accounts.items())}, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.path)

    def add(self, name: str, password: str, *, approved: bool, admin: bool = False) -> bool:
        """Make an account; false if the name is taken."""
        account = Account(hash_password(password), approved, admin, datetime.now(UTC).isoformat(timespec="seconds"))
        with self.edit() as accounts:
            return accounts.setdefault(name, account) is account

    def approve(self, name: str, *, approved: bool = True) -> bool:
        """Let somebody in, or shut them out again; false if there is no such account."""
        return self._change(name, approved=approved)

    def promote(self, name: str) -> bool:
        """Make somebody a teacher; false if there is no such account."""
        return self._change(name, approved=True, admin=True)

    def set_password(self, name: str, password: str) -> bool:
        """Replace a password; false if there is no such account."""
        return self._change(name, password=hash_password(password))

    def _change(self, name: str, **changes: Any) -> bool:
        with self.edit() as accounts:
            if name not in accounts:
                return False
            accounts[name] = replace(accounts[name], **changes)
            return True

    def remove(self, name: str) -> bool:
        """Forget an account; false if there is none."""
        with self.edit() as accounts:
            return accounts.pop(name, None) is not None

    def check(self, name: str, password: str) -> Account | None:
        """The account that this password opens."""
        account = self.read().get(name)
        matches = password_matches(password, account.password if account else NOBODY)
        return account if account and account.approved and matches else None
