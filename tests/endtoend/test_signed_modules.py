"""A kernel that trusts the project's key alone: an image with it boots, loads signed modules, refuses all others."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
import zstandard

from builder.foundation.place import Cache, Project
from builder.foundation.process import Runner
from builder.foundation.workbench import Workbench
from builder.steps.machine import Machine
from builder.steps.profiles import load_recipe
from builder.verbs.boot import Request, acceleration, specify
from builder.verbs.build import build, provide_component, provide_toolbox
from builder.verbs.lock import lock
from tests.conftest import CLASSROOM, REPOSITORY
from tests.endtoend.conftest import Spoken
from tests.kernel.test_signatures import make_pair

NAME = "signed"
SIGNER = "modules"
MODULE = "kernel/net/sched/sch_fq.ko"
MARK = b"~Module signature appended~\n"


@dataclass(frozen=True)
class Booted:
    """A machine of the image, and the folder with its kernel's modules as they were compiled: not signed yet."""

    machine: Machine
    compiled: Path

    def insert(self, name: str, module: bytes) -> str:
        """What ``insmod`` says to a module; nothing when the kernel takes it."""
        packed = base64.b64encode(module).decode()
        done = self.machine.run(f"echo {packed} | base64 -d > /tmp/{name}.ko; insmod /tmp/{name}.ko", check=False)
        assert (done.returncode == 0) == (not done.stderr), done
        return done.stderr

    def signed(self) -> bytes:
        """The module as the image has it, unpacked."""
        release = self.compiled.name
        packed = self.machine.run(f"base64 /usr/lib/modules/{release}/{MODULE}.zst").stdout
        return zstandard.ZstdDecompressor().decompressobj().decompress(base64.b64decode(packed))


@pytest.fixture(scope="module")
def booted(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    folder = tmp_path_factory.mktemp("signed")
    pair = make_pair(folder)
    project = Project(pair.file.parent)
    for part in ("overlays", "kernel-configs"):
        shutil.copytree(REPOSITORY.root / part, project.root / part, symlinks=True)
    project.profiles.mkdir()
    classroom = load_recipe(REPOSITORY, CLASSROOM).profile.kernel
    profile = {
        "description": "A machine that loads modules of one signer only.",
        "architectures": ["amd64"],
        "image": {"hostname": NAME, "root_size": "1536M"},
        # The classroom's settings: ccache has nearly all of its objects.
        "kernel": {
            "source": classroom.source,
            "fragments": list(classroom.fragments or ()),
            "certificate": pair.file.name,
            "command_line": ["console=ttyS0"],
        },
        "overlays": ["base-system", "ssh"],
    }
    (project.profiles / f"{NAME}.yaml").write_text(yaml.safe_dump(profile))
    bench = Workbench(project, cache, progress=Spoken())
    # mkosi comes from a rolling suite; a mirror that lags a week serves it expired.
    lock(bench, NAME, accept_expired=frozenset({"forky"}))
    bench = replace(bench, module_key=pair.key)
    image = build(bench, NAME)
    (compiled,) = (provide_component(bench, NAME, "kernel") / "kernel/image/usr/lib/modules").iterdir()
    toolbox = provide_toolbox(bench, NAME)
    kind = acceleration(bench, toolbox, "amd64", None).kind
    (folder / "machine").mkdir()
    spec = specify(image.folder, image.manifest, Request(), kind)
    with Machine(toolbox, spec, folder / "machine", runner=Runner()) as machine:
        machine.wait_for_ssh()
        assert machine.wait_booted() == "running"
        yield Booted(machine, compiled)


@pytest.mark.long
def test_modules_of_the_image_are_signed_and_load(booted: Booted) -> None:
    assert booted.machine.run("cat /sys/module/module/parameters/sig_enforce").stdout.strip() == "Y"
    assert booted.machine.run("modinfo -F signer sch_fq").stdout.strip() == SIGNER
    assert booted.signed().endswith(MARK)
    booted.machine.run("modprobe sch_fq && grep -q '^sch_fq ' /proc/modules && rmmod sch_fq")


@pytest.mark.long
def test_kernel_refuses_what_nobody_signed_and_what_was_changed(booted: Booted) -> None:
    unsigned = (booted.compiled / MODULE).read_bytes()
    assert not unsigned.endswith(MARK)
    # ENOKEY and EKEYREJECTED (module_sig_check in the kernel's source).
    assert "Key was rejected by service" in booted.insert("unsigned", unsigned)
    signed = booted.signed()
    assert signed.startswith(unsigned)
    at = signed.index(b"license=")
    changed = signed[:at] + b"Licence=" + signed[at + 8 :]
    assert "Key was rejected by service" in booted.insert("changed", changed)
    assert booted.insert("whole", signed) == ""
