"""An action of an attacker, and what several modules of actions share."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Action:
    """An action of an attacker.

    Attributes:
        name: of the action, as the field calls it.
        technique: MITRE ATT&CK or ATLAS number.
        expected: rules, one of which must tell.
        script: for /bin/sh.
        needs: command for /bin/sh that fails where the action cannot be done; ``why`` says what is missing then.
    """

    name: str
    technique: str
    expected: tuple[str, ...]
    script: str
    needs: str = "true"
    why: str = ""


def python(code: str, arguments: str = "") -> str:
    """A script that runs Python code; ``arguments`` follow it on the command line."""
    return f"python3 - {arguments} <<'CODE'\n{code}\nCODE"


CONNECT = """
import socket, sys
with socket.socket() as connection:
    connection.settimeout(1)
    try:
        connection.connect((sys.argv[1], int(sys.argv[2])))
    except OSError:
        pass
"""


def in_unit(unit: str, script: str) -> str:
    """Runs a script within a transient unit of that name."""
    quoted = script.replace("'", "'\\''")
    return f"systemd-run --quiet --wait --collect --unit={unit} --setenv=WORK=\"$WORK\" sh -c '{quoted}'"


def renamed(name: str, arguments: str) -> str:
    """Runs a shell under another program's name."""
    return f'cp /usr/bin/dash "$WORK/{name}" && "$WORK/{name}" {arguments}'
