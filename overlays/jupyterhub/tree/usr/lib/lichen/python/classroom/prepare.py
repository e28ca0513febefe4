"""Makes the classroom ready at every boot. Whatever exists on the data partition is left as it is."""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from . import layout, people, setup_code
from .accounts import Accounts
from .enrolment import LONGEST_PASSWORD, name_is_valid
from .settings import Settings, SettingsError, load_settings

TEN_YEARS = "3650"


def make_folders() -> None:
    """Make the folders and set their owners: ids may be new to this image, the data may be old."""
    staff = people.staff_gid()
    handin = pwd.getpwnam(layout.HANDIN_USER).pw_uid
    for path, mode, uid, gid in (
        (layout.DATA, 0o755, 0, 0),
        (layout.HOMES, 0o711, 0, 0),
        (layout.COURSE, 0o2775, 0, staff),
        (layout.STAFF, 0o2770, 0, staff),
        (layout.HANDIN, 0o2750, handin, staff),
        (layout.HUB, 0o700, 0, 0),
        (layout.TLS, 0o700, 0, 0),
        (layout.RUN, 0o700, 0, 0),
    ):
        path.mkdir(exist_ok=True)
        os.chown(path, uid, gid)
        path.chmod(mode)
    for leftover in layout.HANDIN.glob(".incoming-*"):
        shutil.rmtree(leftover)


def make_certificate() -> None:
    """Sign our own certificate unless there is one; teachers with a real one put it in its place."""
    key, certificate = layout.TLS / "key.pem", layout.TLS / "cert.pem"
    if key.exists() and certificate.exists():
        return
    host = socket.gethostname()
    fresh_key, fresh_certificate = key.with_suffix(".new"), certificate.with_suffix(".new")
    subprocess.run(
        ["openssl", "req", "-x509", "-noenc", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-days", TEN_YEARS, "-subj", f"/CN={host}",
         "-addext", f"subjectAltName=DNS:{host},DNS:{host}.local,DNS:localhost,IP:127.0.0.1",
         # Whoever imports it trusts it for this machine, not for signing others.
         "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth",
         "-keyout", str(fresh_key), "-out", str(fresh_certificate)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    fresh_key.replace(key)
    fresh_certificate.replace(certificate)


def read_credential(name: str) -> str | None:
    """A credential that the machine was started with."""
    path = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nonexistent")) / name
    return path.read_text(encoding="utf-8").rstrip("\n") if path.exists() else None


def make_admin(settings: Settings, accounts: Accounts) -> str | None:
    """See to it that somebody can administer the classroom; return the set-up code if a person has to do it."""
    if any(account.admin for account in accounts.read().values()):
        return None
    password = read_credential("classroom.admin_password")
    if password is None:
        return setup_code.make()
    name = read_credential("classroom.admin") or settings.admin
    if not name_is_valid(name):
        raise SettingsError(f"credential classroom.admin: {name!r} is no valid user name")
    if not settings.minimum_password_length <= len(password) <= LONGEST_PASSWORD:
        raise SettingsError(
            f"credential classroom.admin_password: it must have {settings.minimum_password_length} to"
            f" {LONGEST_PASSWORD} characters"
        )
    if not accounts.add(name, password, approved=True, admin=True):
        raise SettingsError(f"credential classroom.admin: {name!r} is a student")
    return None


def publish_people(accounts: Accounts) -> None:
    """Give everybody who has a home their Unix account back."""
    for name, account in accounts.read().items():
        if people.home_of(name).exists():
            people.ensure_person(name, staff=account.admin)


def write_proxy_environment(settings: Settings) -> None:
    """The port, and a secret that hub and proxy share; both restart when this service does."""
    token = secrets.token_hex(32)
    setup_code.write_private(layout.RUN / "proxy.env", f"CONFIGPROXY_AUTH_TOKEN={token}\nPORT={settings.port}\n")


def main() -> str | None:
    """Do it all; return what went wrong."""
    if not layout.DATA.is_mount():
        return f"{layout.DATA} is not mounted; the classroom does not keep its data in the image"
    try:
        settings = load_settings()
        make_folders()
        make_certificate()
        accounts = Accounts()
        code = make_admin(settings, accounts)
        publish_people(accounts)
        write_proxy_environment(settings)
        setup_code.announce(settings, code)
    except SettingsError as error:
        return str(error)
    except subprocess.CalledProcessError as error:
        return f"{error.cmd[0]}: {error.stderr.strip()}"
    return None


if __name__ == "__main__":
    sys.exit(main())
