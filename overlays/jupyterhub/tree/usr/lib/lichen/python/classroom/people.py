"""Unix accounts for people of the class.

The home directories are the truth: their owners are the uids. The accounts themselves are user records below /run,
served by nss-systemd, so /etc/passwd never changes and a fresh image with the old data partition gives everybody
their files back.
"""

import grp
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from . import layout

FIRST_UID, LAST_UID = 20000, 59999
USER_RECORDS = Path("/run/userdb")
# In each home, so that nobody has to know the layout. The value is a path below DATA.
LINKS = {"course": layout.COURSE}
STAFF_LINKS = {"course": layout.COURSE, "handin": layout.HANDIN, "staff": layout.STAFF}
REMOVED = ".removed-"


def is_person(uid: int) -> bool:
    """Whether a uid is one of ours."""
    return FIRST_UID <= uid <= LAST_UID


def home_of(name: str) -> Path:
    """The home directory of a person; the name must have been validated."""
    return layout.HOMES / name


def free_uid() -> int:
    """The uid after the highest one ever given; homes of removed people keep theirs reserved."""
    used = (entry.lstat().st_uid for entry in layout.HOMES.iterdir())
    uid = max((uid for uid in used if is_person(uid)), default=FIRST_UID - 1) + 1
    if not is_person(uid):
        raise RuntimeError(f"{layout.HOMES}: all {LAST_UID - FIRST_UID + 1} user ids are used up")
    return uid


def make_home(name: str) -> int:
    """Make a home directory, complete or not at all, and return its owner."""
    uid = free_uid()
    fresh = layout.HOMES / f".new-{name}"
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir(mode=0o700)
    os.chown(fresh, uid, uid)
    fresh.rename(home_of(name))
    return uid


def add_links(home: Path, *, staff: bool) -> None:
    """Put the shared folders into a home, beside whatever has such a name already. Making a link never follows one."""
    for name, target in (STAFF_LINKS if staff else LINKS).items():
        with suppress(FileExistsError):
            (home / name).symlink_to(target)


def ensure_person(name: str, *, staff: bool) -> int:
    """Make sure that a person has a home and a Unix account; return the uid."""
    try:
        uid = home_of(name).lstat().st_uid
    except FileNotFoundError:
        uid = make_home(name)
    if not is_person(uid):
        raise RuntimeError(f"{home_of(name)} belongs to uid {uid}, which is no person of the class")
    add_links(home_of(name), staff=staff)
    publish(name, uid)
    return uid


def publish(name: str, uid: int) -> None:
    """Announce user and group to nss-systemd. The account is locked: there is no login but the hub's."""
    user: dict[str, str | int] = {
        "userName": name,
        "uid": uid,
        "gid": uid,
        "homeDirectory": str(home_of(name)),
        "shell": "/bin/bash",
        "disposition": "regular",
        "locked": True,
    }
    USER_RECORDS.mkdir(exist_ok=True)
    # Everybody looks names up; the hub's own umask is strict.
    USER_RECORDS.chmod(0o755)
    write_record(f"{name}.user", user, alias=f"{uid}.user")
    write_record(f"{name}.group", {"groupName": name, "gid": uid, "disposition": "regular"}, alias=f"{uid}.group")


def write_record(file_name: str, record: Mapping[str, str | int], alias: str) -> None:
    """Write a user record and the link by which it is found by number."""
    fresh = USER_RECORDS / f".{file_name}"
    fresh.write_text(json.dumps(record), encoding="utf-8")
    fresh.chmod(0o644)
    fresh.replace(USER_RECORDS / file_name)
    link = USER_RECORDS / alias
    if not link.is_symlink():
        link.symlink_to(file_name)


def retire(name: str) -> None:
    """Withdraw an account and set its home aside, so that a namesake does not inherit the files."""
    home = home_of(name)
    if home.exists():
        uid = home.lstat().st_uid
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        home.rename(layout.HOMES / f"{REMOVED}{name}-{stamp}")
        for record in (f"{uid}.user", f"{uid}.group"):
            (USER_RECORDS / record).unlink(missing_ok=True)
    for record in (f"{name}.user", f"{name}.group"):
        (USER_RECORDS / record).unlink(missing_ok=True)


def staff_gid() -> int:
    """The group of the teachers."""
    return grp.getgrnam(layout.STAFF_GROUP).gr_gid
