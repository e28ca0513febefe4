"""The command camera-detector."""

import argparse
import json
import sys

from .settings import STATUS
from .status import status_text


def main() -> None:
    """Tell what the service saw last."""
    parser = argparse.ArgumentParser(prog="camera-detector", description="What the camera detector sees.")
    commands = parser.add_subparsers(required=True)
    status = commands.add_parser("status", help="the last picture and what was found in it")
    status.add_argument("--json", action="store_true", help="as the service wrote it")
    arguments = parser.parse_args()
    try:
        text = STATUS.read_text(encoding="utf-8")
    except FileNotFoundError:
        sys.exit("camera-detector: no picture was looked at yet; see journalctl --unit camera-detector.service")
    print(text if arguments.json else status_text(json.loads(text)))


if __name__ == "__main__":
    main()
