"""Who may sign up, and under which name. Names come from the web and end up in paths, unit names and user records."""

import grp
import hmac
import pwd
import re
from enum import Enum, auto

from . import people
from .settings import Course, Registration, Settings

NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*", re.ASCII)
SHORTEST_NAME, LONGEST_NAME = 2, 24
# scrypt takes any length, but hashing megabytes for strangers is not our business.
LONGEST_PASSWORD = 256


class Decision(Enum):
    """What becomes of a sign-up."""

    ADMIT = auto()
    WAIT = auto()


class Refused(Exception):
    """The sign-up cannot be accepted; the message is for the person at the form."""


def name_is_valid(name: str) -> bool:
    """Whether a name has the one form that is safe everywhere it is used."""
    return SHORTEST_NAME <= len(name) <= LONGEST_NAME and NAME.fullmatch(name) is not None


def name_belongs_to_the_system(name: str) -> bool:
    """Whether Debian already has a user or group of this name (root, games, ...)."""
    try:
        if not people.is_person(pwd.getpwnam(name).pw_uid):
            return True
    except KeyError:
        pass
    try:
        return not people.is_person(grp.getgrnam(name).gr_gid)
    except KeyError:
        return False


def check_password(password: str, confirmation: str, settings: Settings) -> None:
    """Refuse passwords that are too short, too long or mistyped."""
    if password != confirmation:
        raise Refused("The two passwords differ.")
    if not settings.minimum_password_length <= len(password) <= LONGEST_PASSWORD:
        raise Refused(f"The password must have at least {settings.minimum_password_length} characters.")


def decide(name: str, join_code: str, settings: Settings, course: Course) -> Decision:
    """Apply the registration policy to a new name."""
    if not name_is_valid(name):
        raise Refused(
            f"A user name has {SHORTEST_NAME} to {LONGEST_NAME} small letters a-z, digits and single hyphens,"
            " and begins with a letter."
        )
    # The administrator's name is taken even before the account exists: nobody may get there first.
    if name == settings.admin or name_belongs_to_the_system(name):
        raise Refused("This user name is taken.")
    if course.join_code is not None and not hmac.compare_digest(join_code.strip().encode(), course.join_code.encode()):
        raise Refused("The join code is wrong. Ask your teacher.")
    if name in course.students or settings.registration is Registration.OPEN:
        return Decision.ADMIT
    if settings.registration is Registration.CLOSED:
        raise Refused("Only students listed by the teacher can sign up.")
    return Decision.WAIT
