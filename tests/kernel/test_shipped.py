"""The shipped fragments, by the Kconfig of the kernel that images boot."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from builder.data.fragment import Setting, config_text, merge_fragments, parse_config, parse_fragment
from builder.data.kconfig import judge
from builder.data.profile import Architecture
from builder.data.toolchain import Suite
from builder.foundation.place import Cache
from builder.foundation.process import Runner
from builder.foundation.progress import Quiet
from builder.foundation.store import Store
from builder.steps.apt import apt_root
from builder.steps.fetch import Sources, fetch
from builder.steps.mirrors import debian_mirrors
from tests.conftest import REPOSITORY
from tests.kernel.conftest import ARCHITECTURES, KernelToolchain

FOLDER = REPOSITORY.root / "kernel-configs"
CLASSROOM = "base virt-guest server bpf-security sched-ext container-host hardening observability"
# Of amd64; what profiles of other architectures name is judged by their own compilers, when a kernel is built.
COMBINATIONS: dict[str, tuple[Architecture, str]] = {
    "classroom": ("amd64", CLASSROOM),
    "gpu": ("amd64", f"{CLASSROOM} gpu-host verity"),
    "gpu-low-latency": ("amd64", f"{CLASSROOM} gpu-host verity low-latency"),
    "gpu-realtime": ("amd64", f"{CLASSROOM} gpu-host verity realtime"),
    "camera": ("amd64", "base virt-guest realtime camera"),
    "readme": ("amd64", "base virt-guest server sched-ext"),
}
CHECKER = "kernel-hardening-checker"
CHECK = "from kernel_hardening_checker import main; main()"
# `#   SYMBOL SYMBOL: reason`, with more symbols or more of the reason in lines below.
DEVIATION = re.compile(r"^#   ((?:[A-Z0-9_]+\s+(?:#     )?)*[A-Z0-9_]+):", re.M)


def settings(names: Sequence[str], architecture: Architecture) -> tuple[Setting, ...]:
    fragments = [parse_fragment(name, (FOLDER / f"{name}.config").read_text(), f"{name}.config") for name in names]
    return merge_fragments(fragments, architecture)


@pytest.fixture(scope="session")
def classroom_config(kernel_toolchain: KernelToolchain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("classroom")
    kernel_toolchain.configure(work, config_text(settings(CLASSROOM.split(), "amd64")), "amd64")
    return work / "build/.config"


@pytest.fixture(scope="session")
def hardening_checker(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the checker's Python, which Debian has among what is ported back to this release only."""
    folder = tmp_path_factory.mktemp("checker")
    mirrors = debian_mirrors(Runner(), archives=("debian",))
    suite = Suite(archive="debian", name="trixie-backports")
    with apt_root(Runner(), folder, "amd64", [suite], mirrors) as apt:
        (deb,) = apt.download([CHECKER], "tools", {})
    store = Store(cache.store)
    fetch(store, [deb], Sources(mirrors), Quiet())
    Runner().run(["dpkg-deb", "--extract", store.path(deb.sha256), folder])
    return folder / "usr/lib/python3/dist-packages"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "classroom" else pytest.mark.long) for name in COMBINATIONS]
)
def test_shipped_fragments_pass_the_gate(kernel_toolchain: KernelToolchain, tmp_path: Path, name: str) -> None:
    architecture, names = COMBINATIONS[name]
    asked = settings(names.split(), architecture)
    final, answers = kernel_toolchain.configure(tmp_path, config_text(asked), architecture)
    assert not judge(asked, parse_config(final), answers, name).problems


def test_every_symbol_exists_somewhere(kernel_toolchain: KernelToolchain, tmp_path: Path) -> None:
    """What is switched off may exist for some architectures only; what exists for none is a slip of the pen."""
    names = sorted(path.stem for path in FOLDER.glob("*.config"))
    fragments = [parse_fragment(name, (FOLDER / f"{name}.config").read_text(), f"{name}.config") for name in names]
    asked = {item.symbol: replace(item, value="y") for fragment in fragments for item in fragment.settings}
    unknown = set(asked)
    for architecture in ARCHITECTURES:
        (work := tmp_path / architecture).mkdir()
        _, answers = kernel_toolchain.configure(work, config_text(asked.values()), architecture)
        lines = [json.loads(line) for line in answers.splitlines()]
        unknown &= {line["symbol"] for line in lines if line.get("state") == "undefined"}
    assert not unknown


def test_deviations_from_the_hardening_checker_are_those_listed(
    classroom_config: Path, hardening_checker: Path
) -> None:
    command = ["python3", "-c", CHECK, "-c", str(classroom_config), "-m", "json"]
    report = json.loads(Runner().run(command, cwd=hardening_checker).stdout)
    failed = {item["option_name"] for item in report if item["check_result_bool"] is False}
    listed = DEVIATION.findall((FOLDER / "hardening.config").read_text())
    assert failed == {f"CONFIG_{symbol}" for text in listed for symbol in re.findall(r"[A-Z0-9_]+", text)}
