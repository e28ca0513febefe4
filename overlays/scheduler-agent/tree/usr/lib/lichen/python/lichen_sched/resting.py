"""Ends with 1 when there is nothing to do for the agent: a machine that does not use it pays nothing for it."""

from __future__ import annotations

import sys

from lichen_agent.settings import SettingsError

from .memory import rests
from .settings import CONFIGURATION, STATE, load_settings


def main() -> None:
    """Run as systemd's ExecCondition."""
    try:
        sys.exit(rests(STATE, load_settings(CONFIGURATION).mode))
    except SettingsError:
        sys.exit(0)  # the agent tells what is wrong with them


if __name__ == "__main__":
    main()
