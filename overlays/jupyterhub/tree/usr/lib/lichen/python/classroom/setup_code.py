"""The one-time code with which the first administrator sets a password. It is shown on the console and nowhere else.

Whoever can read the console of a machine owns it anyway. Only a hash is kept, in memory, so a reboot makes a new code.
"""

import hashlib
import hmac
import json
import os
import secrets
import subprocess
import time
from pathlib import Path

from . import layout
from .settings import Settings

# Without letters and digits that look alike; twelve of them are 57 bits.
ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ3456789"
LIFETIME = 24 * 3600
ATTEMPTS = 20

STATE = layout.RUN / "setup-code.json"
ISSUE = Path("/run/issue.d/60-classroom.issue")


def digest(code: str) -> str:
    """What is kept of a code, however it was typed."""
    return hashlib.sha256("".join(filter(str.isalnum, code.upper())).encode()).hexdigest()


def write_private(path: Path, text: str) -> None:
    """Replace a file that only root may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)


def make(now: float | None = None) -> str:
    """Make a code; any earlier one is void."""
    letters = "".join(secrets.choice(ALPHABET) for _ in range(12))
    code = "-".join((letters[:4], letters[4:8], letters[8:]))
    expires = (time.time() if now is None else now) + LIFETIME
    write_private(STATE, json.dumps({"digest": digest(code), "expires": expires, "attempts": ATTEMPTS}))
    return code


def redeem(code: str, now: float | None = None) -> bool:
    """Use the code up; false if it is wrong, expired, used or was guessed at too often."""
    try:
        state = json.loads(STATE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    if state["attempts"] <= 0 or state["expires"] < (time.time() if now is None else now):
        return False
    if not hmac.compare_digest(digest(code), state["digest"]):
        write_private(STATE, json.dumps({**state, "attempts": state["attempts"] - 1}))
        return False
    STATE.unlink()
    return True


def announce(settings: Settings, code: str | None) -> None:
    r"""Show on every console how to reach the classroom, above the login prompt; agetty replaces \4 by the address."""
    address = r"https://\4" + ("" if settings.port == 443 else f":{settings.port}")
    title = settings.title.replace("\\", "\\\\")
    lines = [f"{title}: {address}/"]
    if code:
        lines += [f"To set it up, open {address}/hub/setup", f"and enter the code  {code}  (works once, for 24 hours)."]
    write_private(ISSUE, "\n".join(lines) + "\n\n")
    subprocess.run(["/usr/sbin/agetty", "--reload"], check=False)
