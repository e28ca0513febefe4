from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

SHOWN = """\
enabled
interpreter /usr/libexec/qemu-binfmt/{name}
flags: {flags}
offset 0
magic {magic}
mask ffffffffffffff00fffffffffffffffffeffffff
"""
MAGIC: Mapping[str, str] = {
    "arm64": "7f454c460201010000000000000000000200b700",
    "riscv64": "7f454c460201010000000000000000000200f300",
}


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with handlers as Debian 13 registers them."""
    folder = tmp_path / "proc/sys/fs/binfmt_misc"
    folder.mkdir(parents=True)
    (folder / "status").write_text("enabled\n")
    (folder / "register").touch(0o200)
    for name, architecture in (("qemu-aarch64", "arm64"), ("qemu-riscv64", "riscv64")):
        (folder / name).write_text(SHOWN.format(name=name, flags="POCF", magic=MAGIC[architecture]))
    return tmp_path / "proc"
