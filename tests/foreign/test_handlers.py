"""Programs of another architecture: a build registers their emulator for itself, or relies on the host's handler."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from builder.data.handler import complaint, handles, rule
from builder.foundation.errors import LichenError
from builder.foundation.process import Runner
from builder.foundation.userns import entered, handled
from builder.steps.emulation import find_emulation, require_emulation
from builder.steps.machine.guest import wait_until
from tests.foreign.conftest import MAGIC, SHOWN

root = pytest.mark.skipif(os.geteuid() != 0, reason="maps every user of this machine")
PATIENCE = 60.0
HANDLERS = Path("/proc/sys/fs/binfmt_misc")


def foreign_program(architecture: str) -> bytes:
    """The header of an executable; enough for the kernel to choose a handler, which here is no emulator."""
    return bytes.fromhex(MAGIC[architecture]) + bytes(100)


def test_rule_is_what_debian_registers() -> None:
    """Taken from Debian's qemu-user-binfmt, but for the name."""
    assert rule("arm64", "/usr/bin/qemu-aarch64") == (
        r":lichen-arm64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
        r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
        ":/usr/bin/qemu-aarch64:POCF"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SHOWN.format(name="q", flags="POCF", magic=MAGIC["riscv64"]), ""),
        (SHOWN.format(name="q", flags="OC", magic=MAGIC["riscv64"]), "has the flags OC, not F"),
        (SHOWN.format(name="q", flags="", magic=MAGIC["riscv64"]), "has the flags none, not F"),
        (SHOWN.format(name="q", flags="F", magic=MAGIC["riscv64"]).replace("enabled", "disabled"), "is disabled"),
    ],
)
def test_handler_is_read_as_the_kernel_shows_it(text: str, said: str) -> None:
    assert handles(text, "riscv64")
    assert not handles(text, "arm64")
    assert complaint(text) == said


def test_native_programs_need_nothing(refusing: Runner, tmp_path: Path) -> None:
    assert find_emulation(refusing, "amd64", tmp_path).way == "native"


@pytest.mark.parametrize("architecture", ["arm64", "riscv64"])
def test_host_handlers_serve_where_a_build_cannot_have_its_own(refusing: Runner, proc: Path, architecture: str) -> None:
    found = require_emulation(refusing, architecture, proc)  # type: ignore[arg-type]
    assert found.way == "host"
    assert found.ours is None
    assert "the host's handler qemu-" in found.found


@pytest.mark.parametrize(
    ("fault", "why", "remedy"),
    [
        ("absent", "no handler for arm64 is registered", "`apt-get install qemu-user-static"),
        ("flags", "qemu-aarch64 has the flags OC, not F", "`apt-get install qemu-user-static"),
        ("unmounted", "binfmt_misc is not mounted on", "`mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc, "),
    ],
)
def test_no_way_at_all_is_told_with_its_remedy(refusing: Runner, proc: Path, fault: str, why: str, remedy: str) -> None:
    file = proc / "sys/fs/binfmt_misc/qemu-aarch64"
    if fault == "flags":
        file.write_text(SHOWN.format(name="q", flags="OC", magic=MAGIC["arm64"]))
    else:
        file.unlink()
    if fault == "unmounted":
        (file.parent / "status").unlink()
    with pytest.raises(LichenError) as caught:
        require_emulation(refusing, "arm64", proc)
    (problem,) = caught.value.problems
    assert problem.what == "programs for arm64 do not run on this machine"
    assert "cannot register a handler for itself" in problem.why
    assert "No space left on device" in problem.why  # how the kernel refuses another user namespace
    assert why in problem.why
    assert "run Linux 6.7 or newer" in problem.remedy
    assert remedy in problem.remedy


@root
def test_own_handler_runs_programs_from_any_root_folder_and_is_gone_afterwards(tmp_path: Path) -> None:
    if find_emulation(Runner(), "riscv64").way != "own":
        pytest.skip("this kernel (before 6.7) has one set of handlers for all")
    before = sorted(os.listdir(HANDLERS))
    jail = tmp_path / "jail"
    jail.mkdir()
    (jail / "program").write_bytes(foreign_program("riscv64"))
    (jail / "program").chmod(0o755)
    # The emulator's part is played by a program that needs no library: inside the jail there is none.
    emulator = static_echo(tmp_path)
    words = ["chroot", str(jail), "/program", "one", "two"]
    words = handled(rule("riscv64", str(emulator)), tmp_path / "handlers", words)
    done = Runner().run(entered(["unshare", "--mount", "--propagation", "private", *words]))
    assert done.stdout.split("\0") == [str(emulator), "/program", "/program", "one", "two", ""]
    assert sorted(os.listdir(HANDLERS)) == before
    with pytest.raises(OSError, match="Exec format error"):
        subprocess.run([jail / "program"], check=True)


def static_echo(folder: Path) -> Path:
    """A program without libraries that prints its arguments, each with the NUL that ends it: argv lies together."""
    code = bytes.fromhex(
        # mov rsi,[rsp+8]; mov rcx,[rsp]; mov rdx,[rsp+8*rcx] (last argument); find its end; write(1, first, end-first)
        "488b742408" "488b0c24" "488b14cc" "48ffc2" "803a00" "75f8" "48ffc2"
        "4829f2" "bf01000000" "b801000000" "0f05" "31ff" "b83c000000" "0f05"
    )  # fmt: skip
    start, size = 0x400000, 120 + len(code)
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little") + (62).to_bytes(2, "little")
    header += (1).to_bytes(4, "little") + (start + 120).to_bytes(8, "little") + (64).to_bytes(8, "little")
    header += bytes(8) + bytes(4) + b"".join(n.to_bytes(2, "little") for n in (64, 56, 1, 0, 0, 0))
    program = (1).to_bytes(4, "little") + (5).to_bytes(4, "little") + bytes(8)
    program += start.to_bytes(8, "little") * 2 + size.to_bytes(8, "little") * 2 + (0x1000).to_bytes(8, "little")
    path = folder / "echo"
    path.write_bytes(header + program + code)
    path.chmod(0o755)
    return path


@root
def test_command_in_a_namespace_of_its_own_is_every_user() -> None:
    done = Runner().run(entered(["cat", "/proc/self/uid_map", "/proc/self/gid_map"]))
    assert [line.split() for line in done.stdout.splitlines()] == [["0", "0", "4294967295"]] * 2
    assert Runner().run(entered(["sh", "-c", "exit 7"]), check=False).returncode == 7
    owner = Path("/etc/gshadow").stat()
    done = Runner().run(entered(["stat", "-c", "%u %g", "/etc/gshadow"]))
    assert done.stdout.split() == [str(owner.st_uid), str(owner.st_gid)]


BUILDER = """
import sys
from builder.foundation.process import Runner
from builder.foundation.userns import entered
inside = ["unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--"]
script = 'echo "$1" > "$1"; sleep 1000; :'
Runner().run(entered([*inside, "sh", "-c", script, "lichen", sys.argv[1]]))
"""


@root
def test_command_in_a_namespace_of_its_own_dies_with_us(tmp_path: Path) -> None:
    """The kernel ends it when we are killed: entering another user namespace does not untie it."""
    mark = tmp_path / "a name that occurs nowhere else"
    with subprocess.Popen([sys.executable, "-c", BUILDER, mark]) as builder:
        assert wait_until(mark.exists, PATIENCE)
        assert running(mark)
        builder.kill()
    assert wait_until(lambda: not running(mark), PATIENCE)


def running(mark: Path) -> list[str]:
    """Process ids of the shells that have been given ``mark``."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if line.read_bytes().split(b"\0")[-2:] == [str(mark).encode(), b""]:
                found.append(line.parent.name)
    return found
