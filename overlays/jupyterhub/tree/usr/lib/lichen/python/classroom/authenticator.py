"""Logging in with the accounts of the class.

Why not nativeauthenticator: it needs a package that exists only as source, works on the hub's database in a way
JupyterHub has deprecated, approves students by a GET request (a link in a mail could do it for the teacher), and lets
the first comer sign up under an administrator's name.
"""

import asyncio
import time
from typing import Any

from jupyterhub.auth import Authenticator

from . import pages, people
from .accounts import Accounts
from .enrolment import LONGEST_PASSWORD, name_is_valid

FAILURES_ALLOWED = 5
LOCKED_SECONDS = 300.0


class Lockout:
    """Counts wrong passwords for each name and shuts the door for a while after too many."""

    def __init__(self) -> None:
        self._failures: dict[str, tuple[int, float]] = {}

    def is_locked(self, name: str) -> bool:
        """Whether the name must wait."""
        count, last = self._failures.get(name, (0, 0.0))
        if count and time.monotonic() - last > LOCKED_SECONDS:
            del self._failures[name]
            return False
        return count >= FAILURES_ALLOWED

    def failed(self, name: str) -> None:
        """Remember a wrong password."""
        count, _ = self._failures.get(name, (0, 0.0))
        self._failures[name] = (count + 1, time.monotonic())

    def succeeded(self, name: str) -> None:
        """Forget wrong passwords."""
        self._failures.pop(name, None)


class ClassroomAuthenticator(Authenticator):
    """Names and passwords from the account file; an account that waits for approval cannot log in."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.accounts = Accounts()
        self.lockout = Lockout()
        # Whoever passes authenticate() is approved; the hub keeps no second list.
        self.allow_all = True

    async def authenticate(self, handler: Any, data: dict[str, str]) -> dict[str, Any] | None:
        """Check a login form."""
        name = self.normalize_username(data.get("username", ""))
        password = data.get("password", "")
        # Unknown forms of names are not even counted: the memory for failures must not grow with nonsense.
        if not name_is_valid(name) or len(password) > LONGEST_PASSWORD or self.lockout.is_locked(name):
            return None
        account = await asyncio.to_thread(self.accounts.check, name, password)
        if account is None:
            self.lockout.failed(name)
            return None
        self.lockout.succeeded(name)
        return {"name": name, "admin": account.admin}

    def validate_username(self, username: str) -> bool:
        """Hold every name to the one safe form, also names that an administrator types into the hub's own pages."""
        return name_is_valid(username) and super().validate_username(username)

    async def refresh_user(self, user: Any, handler: Any = None) -> bool:
        """End the session of somebody whose account was removed or is no longer approved."""
        account = self.accounts.read().get(user.name)
        return account is not None and account.approved

    def delete_user(self, user: Any) -> None:
        """Remove the account too when the hub's admin page removes a user."""
        super().delete_user(user)
        self.accounts.remove(user.name)
        people.retire(user.name)

    def get_handlers(self, app: Any) -> list[tuple[str, type]]:
        """Pages of our own beside the hub's login page."""
        return [
            *super().get_handlers(app),
            (r"/signup", pages.SignUpPage),
            (r"/setup", pages.SetupPage),
            (r"/password", pages.PasswordPage),
            (r"/students", pages.StudentsPage),
        ]
