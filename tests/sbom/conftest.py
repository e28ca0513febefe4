from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from builder.data.contents import FileEntry, read_contents
from builder.steps.contents import INVENTORY
from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY.root / "builder/templates/image/inventory.finalize"
SITE = "opt/ai/lib/python3.13/site-packages"


def put(root: Path, name: str, text: str = "", mode: int = 0o644) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def inventory(root: Path, output: Path) -> list[FileEntry]:
    """What the template's own script finds in a tree."""
    output.mkdir(exist_ok=True)
    environment = {**os.environ, "BUILDROOT": str(root), "OUTPUTDIR": str(output), "LC_ALL": "C"}
    subprocess.run([sys.executable, SCRIPT], env=environment, check=True)
    return list(read_contents(output / INVENTORY))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree as dpkg and uv leave it, with a diversion, merged /usr, byte code and what scripts made."""
    root = tmp_path / "root"
    for folder in ("usr/lib", "usr/bin", "proc/1", "var/tmp/left", "work/src"):
        (root / folder).mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    info = "var/lib/dpkg/info"
    put(root, "usr/bin/sudo", "root's", 0o4755)
    put(root, "usr/lib/libone.so", "one")
    put(root, "usr/lib/libone.so.real", "two")
    put(root, "usr/lib/python3/mod.py", "pass")
    put(root, "usr/lib/python3/__pycache__/mod.cpython-313.pyc", "code")
    put(root, "etc/ld.so.cache", "made by a script")
    put(root, "etc/motd", "an overlay's")
    put(root, f"{info}/one.list", "/.\n/usr\n/lib/libone.so\n/usr/bin/sudo\n")
    put(
        root,
        f"{info}/two3.13:amd64.list",
        "/usr\n/lib/libone.so\n/usr/lib/python3/mod.py\n/etc/motd\n/usr/share/gone\n",
    )
    put(root, f"{info}/two3.13:amd64.postinst")
    put(root, f"{info}/format", "1")
    put(root, "var/lib/dpkg/diversions", "/lib/libone.so\n/usr/lib/libone.so.real\none\n")
    put(root, "var/lib/dpkg/status", "Package: one\n")
    put(root, f"{SITE}/tool/__init__.py")
    put(root, f"{SITE}/tool/__pycache__/__init__.cpython-313.pyc")
    put(root, f"{SITE}/Some_Tool-1.0.post1.dist-info/METADATA")
    put(root, f"{SITE}/Some_Tool-1.0.post1.dist-info/RECORD", RECORD)
    put(root, "opt/ai/bin/tool", "#!", 0o755)
    put(root, "opt/ai/pyvenv.cfg")
    put(root, "opt/models/tiny.bin", "weights")
    return root


RECORD = """\
tool/__init__.py,sha256=x,0
"tool/a, b.txt",sha256=x,0
../../../bin/tool,sha256=x,2
Some_Tool-1.0.post1.dist-info/METADATA,,
"""
