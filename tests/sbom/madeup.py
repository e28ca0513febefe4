"""A made-up tree as dpkg, uv, overlays and scripts leave it, and an image folder finished from such a tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from builder.data.contents import FileEntry, read_contents
from builder.data.lock import Deb, Lock, Wheel, read_lock
from builder.data.manifest import Manifest
from builder.foundation.process import Runner
from builder.foundation.progress import Quiet
from builder.foundation.store import Store
from builder.foundation.workbench import Workbench
from builder.steps.contents import INVENTORY
from builder.steps.finish import Papers, finish_image
from builder.steps.profiles import load_buildable
from builder.verbs.lock import _resolution, lock
from builder.verbs.papers import Writer
from builder.verbs.plan import plan_image
from tests.conftest import CLASSROOM, REPOSITORY
from tests.profiles.sample import Sample

SCRIPT = REPOSITORY.root / "builder/templates/image/inventory.finalize"
MODEL = f"""\
models:
  tiny: {{source: "https://models.example.test/tiny", sha256: "{"4" * 64}", size: 7, target: /opt/models/tiny.bin}}
"""
SITE = "opt/ai/lib/python3.13/site-packages"
RECORD = """\
tool/__init__.py,sha256=x,0
"tool/a, b.txt",sha256=x,0
../../../bin/tool,sha256=x,2
Some_Tool-1.0.post1.dist-info/METADATA,,
"""
STATUS = """\
Package: one
Status: install ok installed
Architecture: amd64
Version: 1:2.0-3
Description: first of two
 Source: nobody

Package: two3.13
Status: install ok installed
Architecture: amd64
Source: two (3.1)
Version: 3.1+b1
"""
COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: one

Files: *
Copyright: nobody
License: Expat
 Any text.

Files: debian/*
Copyright: nobody
License: GPL-2+ or Own~Words

License: GPL-2+
 The text.
"""


def put(root: Path, name: str, text: str = "", mode: int = 0o644) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


def make_tree(root: Path) -> Path:
    """With a diversion, merged /usr, byte code, what scripts made, and the copyright file of another package."""
    for folder in ("usr/lib", "usr/bin", "proc/1", "boot/loader", "var/tmp/left", "work/src"):
        (root / folder).mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    info = "var/lib/dpkg/info"
    put(root, "usr/bin/sudo", "root's", 0o4755)
    put(root, "usr/lib/libone.so", "one")
    put(root, "usr/lib/libone.so.real", "two")
    put(root, "usr/lib/python3/mod.py", "pass")
    put(root, "usr/lib/python3/__pycache__/mod.cpython-313.pyc", "code")
    put(root, "usr/share/doc/one/copyright", COPYRIGHT)
    (root / "usr/share/doc/two3.13").symlink_to("one")
    put(root, "etc/ld.so.cache", "made by a script")
    put(root, "etc/motd", "an overlay's")
    put(root, f"{info}/one.list", "/.\n/usr\n/lib/libone.so\n/usr/bin/sudo\n")
    put(root, f"{info}/two3.13:amd64.list", "/usr\n/lib/libone.so\n/usr/lib/python3/mod.py\n/etc/motd\n/gone\n")
    put(root, f"{info}/two3.13:amd64.postinst")
    put(root, f"{info}/format", "1")
    put(root, "var/lib/dpkg/diversions", "/lib/libone.so\n/usr/lib/libone.so.real\none\n")
    put(root, "var/lib/dpkg/status", STATUS)
    put(root, f"{SITE}/tool/__init__.py")
    put(root, f"{SITE}/tool/__pycache__/__init__.cpython-313.pyc")
    metadata = "Metadata-Version: 2.4\nName: Some.Tool\nVersion: 1.0.post1\nLicense-Expression: MIT OR Apache-2.0\n"
    put(root, f"{SITE}/Some_Tool-1.0.post1.dist-info/METADATA", metadata)
    put(root, f"{SITE}/Some_Tool-1.0.post1.dist-info/RECORD", RECORD)
    put(root, "opt/ai/bin/tool", "#!", 0o755)
    put(root, "opt/ai/pyvenv.cfg")
    put(root, "opt/models/tiny.bin", "weights")
    return root


def inventory(root: Path, output: Path) -> list[FileEntry]:
    """What the template's own script finds in a tree."""
    output.mkdir(exist_ok=True)
    environment = {**os.environ, "BUILDROOT": str(root), "OUTPUTDIR": str(output), "LC_ALL": "C"}
    subprocess.run([sys.executable, SCRIPT], env=environment, check=True)
    return list(read_contents(output / INVENTORY))


@dataclass(frozen=True)
class MadeImage:
    """An image folder of the profile ``small``, where `lichen build` would have put it."""

    workbench: Workbench
    folder: Path
    manifest: Manifest
    lock: Lock


def make_lock(bench: Workbench) -> Lock:
    """A current lock of two packages and one wheel that nobody resolved."""
    real = read_lock(REPOSITORY.lock(CLASSROOM, "amd64"))
    tools = tuple(deb for deb in real.debs if "mkosi" in deb.uses)
    uv = tuple(wheel for wheel in real.wheels if "tools" in wheel.uses)
    one = Deb(
        name="one",
        version="1:2.0-3",
        architecture="amd64",
        archive="debian",
        path="pool/main/o/one/one.deb",
        size=1,
        sha256="1" * 64,
        uses=("image", "initrd"),
    )
    two = one.model_copy(update={"name": "two3.13", "version": "3.1+b1", "sha256": "2" * 64, "uses": ("image",)})
    wheel = Wheel(
        name="some-tool",
        version="1.0.post1",
        filename="some_tool-1.0.post1-py3-none-any.whl",
        size=1,
        sha256="3" * 64,
        uses=("image",),
    )
    with (bench.project.profiles / "small.yaml").open("a") as profile:
        profile.write(MODEL)
    recipe = load_buildable(bench.project, "small")
    changes = {
        "profile": "small",
        "resolution": _resolution(recipe, "amd64"),
        "debs": (one, two, *tools),
        "wheels": (wheel, *uv),
    }
    path = bench.project.lock("small", "amd64")
    path.parent.mkdir(parents=True)
    path.write_text(real.model_copy(update=changes).text())
    lock(bench, "small")  # stamps it, without network
    return read_lock(path)


def make_image(root: Path) -> MadeImage:
    """As a build ends: everything is real but what mkosi and the packages would have brought."""
    bench = Sample(root / "project").workbench()
    made = make_lock(bench)
    recipe = load_buildable(bench.project, "small")
    plan = plan_image(bench, recipe, made)
    base = make_tree(root / "base")
    shutil.copytree(base, root / "final", symlinks=True)
    put(root / "final", "var/www/index.html", "Hello\n")
    output = root / "output"
    inventory(root / "final", output)
    put(output, "image.raw", "disk")
    put(output, "image.efi", "kernel")
    log = put(root, "mkosi.log", "built\n")
    writer = Writer(Runner(), Store(bench.cache.store), recipe, made, plan, {"base": base, "python": base}, Quiet())
    folder = bench.project.image("small", "amd64", made.digest)
    papers = Papers(lambda artefacts: writer.describe(output, artefacts, root / "scratch"), writer.attest)
    folder.parent.mkdir()
    manifest = finish_image(recipe, made, plan.component("image").key, base, output, papers, log, folder)
    return MadeImage(bench, folder, manifest, made)
