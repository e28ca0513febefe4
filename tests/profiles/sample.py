"""Small projects for tests, written file by file."""

from __future__ import annotations

from pathlib import Path

from builder.foundation.place import Cache, Project
from builder.foundation.workbench import Workbench

BASE = """\
description: the ground
abstract: true
architectures: [amd64]
image:
  hostname: ground
kernel:
  command_line: [quiet]
overlays: [core]
packages: [nano, less]
options:
  core:
    level: 3
"""

SMALL = """\
description: a small image
extends: [base]
image:
  hostname: small
overlays: [web]
packages: [vim, less]
options:
  web:
    title: Hello
    ports: [eighty]
"""

CORE = """\
description: the core
packages: [systemd]
services:
  enable: [a.service]
modes:
  etc/secret: "0600"
options:
  level: {type: integer, default: 1, minimum: 1, maximum: 9, description: how much}
  ratio: {type: number, default: 0.5, description: how many parts}
  room: {type: size, default: 200M, description: how big}
"""

WEB = """\
description: a web page
requires: [core]
python:
  requirements: ["requests>=2"]
options:
  title: {type: string, default: Untitled, description: what stands above, pattern: "[A-Za-z ]+"}
  ports: {type: list, default: [], description: which ports}
  colour: {type: string, default: red, choices: [red, green], description: which colour}
  open: {type: boolean, default: false, description: whether anybody may look}
"""


class Sample:
    """A project below a folder, with two profiles and two overlays that load."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.project = Project(root)
        self.write("profiles/base.yaml", BASE)
        self.write("profiles/small.yaml", SMALL)
        self.write("overlays/core/overlay.yaml", CORE)
        self.write("overlays/core/tree/etc/secret", "hidden\n")
        self.write("overlays/web/overlay.yaml", WEB)
        self.write("overlays/web/tree/var/www/index.html.j2", "{{ options.title }}\n")

    def write(self, name: str, text: str | bytes) -> Path:
        """Write one file, its folders too."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def add(self, name: str, text: str) -> Path:
        """Append lines to a file."""
        path = self.root / name
        path.write_text(path.read_text() + text)
        return path

    def swap(self, name: str, old: str, new: str) -> Path:
        """Replace a text that the file has exactly once."""
        path = self.root / name
        before = path.read_text()
        assert before.count(old) == 1, (old, before)
        path.write_text(before.replace(old, new))
        return path

    def at(self, name: str, text: str) -> str:
        """``PATH:LINE`` of the one line of a file that has ``text``."""
        path = self.root / name
        (line,) = (number for number, line in enumerate(path.read_text().splitlines(), start=1) if text in line)
        return f"{path}:{line}"

    def workbench(self) -> Workbench:
        """A workbench on this project with a cache of its own."""
        return Workbench(self.project, Cache(self.root / "cache"))
