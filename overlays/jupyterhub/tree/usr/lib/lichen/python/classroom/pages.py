"""The web pages: sign up, set up, change the password, and the teacher's list of students.

JupyterHub's base handler rejects every POST without a valid cross-site token before these methods run.
"""

import asyncio
from typing import Any

from jupyterhub.handlers import BaseHandler
from tornado import web

from . import people, setup_code
from .enrolment import Decision, Refused, check_password, decide, name_belongs_to_the_system, name_is_valid
from .settings import SettingsError, load_course, load_settings

# Hashing is deliberately slow, and strangers can ask for it.
HASHING = asyncio.Semaphore(2)


class FormPage(BaseHandler):
    """A page with one form, shown again with what came of it."""

    template = ""

    async def show(self, *, error: str = "", message: str = "", status: int = 200, **values: Any) -> None:
        """Render the page."""
        self.set_status(status)
        self.finish(await self.render_template(self.template, error=error, message=message, **values))

    def field(self, name: str, *, strip: bool = True) -> str:
        """A field of the form, empty if it was not sent."""
        return str(self.get_body_argument(name, "", strip=strip))

    def new_password(self) -> str:
        """The new password, checked."""
        password = self.field("password", strip=False)
        check_password(password, self.field("confirmation", strip=False), load_settings())
        return password


class SignUpPage(FormPage):
    """Where students make their account."""

    template = "signup.html"

    async def get(self) -> None:
        """Show the empty form."""
        await self.show(needs_code=self.needs_code())

    async def post(self) -> None:
        """Make an account, approved or waiting."""
        name = self.field("username").lower()
        try:
            decision = decide(name, self.field("join_code"), load_settings(), load_course())
            password = self.new_password()
            async with HASHING:
                approved = decision is Decision.ADMIT
                added = await asyncio.to_thread(self.authenticator.accounts.add, name, password, approved=approved)
            if not added:
                raise Refused("This user name is taken.")
        except Refused as refusal:
            await self.show(error=str(refusal), status=400, username=name, needs_code=self.needs_code())
            return
        except SettingsError as error:
            self.log.error("sign-up is closed: %s", error)
            await self.show(error="The course file has a fault. Tell your teacher.", status=503)
            return
        self.log.info("%s signed up, %s", name, "approved" if approved else "waiting for approval")
        if approved:
            await self.show(message="Your account is ready. You can sign in now.")
        else:
            await self.show(message="Your teacher has to approve your account before you can sign in.")

    def needs_code(self) -> bool:
        """Whether the course asks for a join code."""
        try:
            return load_course().join_code is not None
        except SettingsError:
            return False


class SetupPage(FormPage):
    """Where the first administrator sets a password with the code from the console."""

    template = "setup.html"

    async def get(self) -> None:
        """Show the form, unless somebody was faster."""
        if any(account.admin for account in self.authenticator.accounts.read().values()):
            raise web.HTTPError(404)
        await self.show()

    async def post(self) -> None:
        """Make the administrator. The password is checked first: a typing error must not use the code up."""
        settings = load_settings()
        try:
            password = self.new_password()
        except Refused as refusal:
            await self.show(error=str(refusal), status=400)
            return
        if not setup_code.redeem(self.field("code")):
            self.log.warning("wrong or expired set-up code from %s", self.request.remote_ip)
            await self.show(error="The code is wrong or has expired. A restart makes a new one.", status=403)
            return
        async with HASHING:
            await asyncio.to_thread(
                self.authenticator.accounts.add, settings.admin, password, approved=True, admin=True
            )
        setup_code.announce(settings, None)
        await self.show(message=f"Your user name is {settings.admin}. You can sign in now.")


class PasswordPage(FormPage):
    """Where everybody changes their own password."""

    template = "password.html"

    @web.authenticated
    async def get(self) -> None:
        """Show the form."""
        await self.show()

    @web.authenticated
    async def post(self) -> None:
        """Change the password, if the present one is right."""
        name = self.current_user.name
        if (
            await self.authenticator.authenticate(self, {"username": name, "password": self.field("old", strip=False)})
            is None
        ):
            await self.show(error="The present password is wrong.", status=403)
            return
        try:
            password = self.new_password()
        except Refused as refusal:
            await self.show(error=str(refusal), status=400)
            return
        await asyncio.to_thread(self.authenticator.accounts.set_password, name, password)
        await self.show(message="Your password is changed.")


class StudentsPage(FormPage):
    """Where teachers see accounts, approve them and turn them away."""

    template = "students.html"

    @web.authenticated
    async def get(self) -> None:
        """List the accounts, those that wait first."""
        self.require_admin()
        await self.list_accounts()

    @web.authenticated
    async def post(self) -> None:
        """Approve or turn away one account."""
        self.require_admin()
        name, action = self.field("username"), self.field("action")
        accounts = self.authenticator.accounts
        account = accounts.read().get(name) if name_is_valid(name) else None
        if account is None or account.admin or name_belongs_to_the_system(name):
            await self.list_accounts(error="There is no such student.", status=404)
        elif action == "approve":
            accounts.approve(name)
            await self.list_accounts(message=f"{name} can sign in now.")
        elif action == "suspend":
            accounts.approve(name, approved=False)
            await self.list_accounts(message=f"{name} can no longer sign in. Files and hand-ins are kept.")
        elif action == "remove" and not account.approved:
            accounts.remove(name)
            people.retire(name)
            await self.list_accounts(message=f"The account {name} is removed.")
        else:
            raise web.HTTPError(400, "unknown action")

    async def list_accounts(self, *, error: str = "", message: str = "", status: int = 200) -> None:
        """Render the list, with the course file's fault if it has one."""
        try:
            load_course()
        except SettingsError as fault:
            error = error or str(fault)
        accounts = self.authenticator.accounts.read()
        ordered = sorted(accounts.items(), key=lambda item: (item[1].approved, item[0]))
        await self.show(error=error, message=message, status=status, accounts=ordered)

    def require_admin(self) -> None:
        """Let nobody but teachers pass."""
        if not self.current_user.admin:
            raise web.HTTPError(403)
