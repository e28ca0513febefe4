"""Each examination against a machine that lacks something: what is found, and the remedy."""

from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from builder.foundation.process import Runner
from builder.foundation.toolbox import Toolbox
from builder.verbs import doctor
from builder.verbs.doctor import Finding, Host, examine
from tests.foreign.conftest import MAGIC, SHOWN

GIB = 1 << 30


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A healthy host without a tools tree, whose /proc is a folder."""
    proc = tmp_path / "proc"
    handlers = proc / "sys/fs/binfmt_misc"
    handlers.mkdir(parents=True)
    (handlers / "status").write_text("enabled\n")
    (handlers / "qemu-riscv64").write_text(SHOWN.format(name="riscv64", flags="OCF", magic=MAGIC["riscv64"]))
    (proc / "meminfo").write_text("MemTotal: 33554432 kB\nMemAvailable:   16777216 kB\n")
    (proc / "mounts").write_text(f"/dev/vda / ext4 rw 0 0\ntmpfs {tmp_path}/shm tmpfs rw 0 0\n")
    suite = tmp_path / "mirror/dists/trixie"
    suite.mkdir(parents=True)
    (suite / "InRelease").write_text("Codename: trixie\n")
    return Host(
        cache=tmp_path / "not/made/yet",
        output=tmp_path,
        workspace=tmp_path / "shm",
        mirrors={"debian": [(tmp_path / "mirror").as_uri()]},
        proc=proc,
        kvm=tmp_path / "kvm",
        machine="x86_64",
    )


@pytest.fixture(autouse=True)
def _roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine's disks hold, the examined one has room."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100 * GIB))


def only(findings: Iterator[Finding], name: str) -> Finding:
    (found,) = (finding for finding in findings if finding.name == name)
    return found


def lacks(finding: Finding, ok: bool | None, found: str, remedy: str) -> None:
    """Assert that a lack is told together with its remedy."""
    assert finding.ok is ok
    assert found in finding.found
    assert remedy in finding.remedy


def test_healthy_host_lacks_only_the_tools_tree(host: Host) -> None:
    findings = examine(host)
    assert [finding.name for finding in findings if finding.ok is False and finding.name != "sandbox"] == []
    unsure = [finding for finding in findings if finding.ok is None]
    assert [finding.name for finding in unsure] == ["acceleration", "machines for arm64", "machines for riscv64"]
    assert all("lichen build" in finding.remedy for finding in unsure)
    assert all(finding.remedy == "" for finding in findings if finding.ok)


def test_real_tools_tree_runs_a_guest(host: Host, toolbox: Toolbox) -> None:
    host = replace(host, toolboxes={"amd64": toolbox})
    assert only(doctor.rights(host), "sandbox").ok
    # No such device: emulation runs the guest, which is slower, not wrong.
    lacks(only(doctor.acceleration(host), "acceleration"), None, "software emulation", "virtualisation")


def test_broken_tools_tree_is_a_finding_and_the_rest_goes_on(host: Host, tmp_path: Path) -> None:
    findings = examine(replace(host, toolboxes={"amd64": Toolbox(tmp_path / "gone", tmp_path / "gone")}))
    assert {finding.name for finding in findings if finding.ok is False} == {"sandbox", "acceleration"}
    assert findings[-1].name == "mirror of debian"


def test_missing_program_names_its_package(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None if program == "ssh-keygen" else f"/usr/bin/{program}")
    lacks(only(doctor.programs(host), "ssh-keygen"), False, "not installed", "apt-get install openssh-client")


@pytest.mark.parametrize(
    ("setting", "value", "remedy"),
    [
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
        ("user/max_user_namespaces", "100", "CAP_SYS_ADMIN"),
    ],
)
def test_namespace_remedy_names_the_setting(host: Host, setting: str, value: str, remedy: str) -> None:
    file = host.proc / "sys" / setting
    file.parent.mkdir(parents=True)
    file.write_text(f"{value}\n")
    assert remedy in doctor.namespace_remedy(host.proc)


def test_full_disks_are_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=GIB))
    findings = list(doctor.room(host))
    lacks(findings[0], False, "1.0 GiB free", "lichen clean")
    lacks(findings[1], False, "8.0 GiB wanted", "out/")
    lacks(findings[2], None, "1.0 GiB free", "remount")


def test_workspace_on_disk_is_slower_only(host: Host, tmp_path: Path) -> None:
    finding = only(doctor.room(replace(host, workspace=tmp_path / "elsewhere")), "workspace")
    lacks(finding, None, "is no tmpfs (ext4)", "slower")


def test_little_memory_is_told(host: Host) -> None:
    (host.proc / "meminfo").write_text("MemAvailable: 1048576 kB\n")
    lacks(only(doctor.memory(host), "memory"), False, "1.0 GiB available", "--memory")


def test_unreadable_memory_is_a_finding(host: Host) -> None:
    (host.proc / "meminfo").write_text("")
    lacks(only(iter(examine(host)), "memory"), False, "could not be examined", "")


def test_foreign_programs_are_told_as_a_build_finds_them(host: Host, refusing: Runner) -> None:
    """What else may be wrong with handlers is tested where they are looked for."""
    host = replace(host, runner=refusing)
    findings = list(doctor.foreign_architectures(host))
    assert [(item.name, item.ok) for item in findings] == [
        ("programs for amd64", True),
        ("programs for arm64", None),
        ("machines for arm64", None),
        ("programs for riscv64", True),
        ("machines for riscv64", None),
    ]
    lacks(findings[1], None, "no handler for arm64 is registered", "qemu-user-static")
    assert findings[3].found == "the host's handler qemu-riscv64"
    lacks(findings[4], None, "QEMU comes with the tools tree", "lichen build")


def test_no_mirror_is_told(host: Host) -> None:
    lacks(only(doctor.mirrors(replace(host, mirrors={"debian": []})), "mirrors"), False, "none known", "--mirror")


class _Answers(http.server.BaseHTTPRequestHandler):
    """A mirror with every fault that HTTP has, by the first part of the path."""

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        self.send_response(404 if kind == "absent" else 200)
        self.send_header("Content-Length", "20")
        self.end_headers()
        if kind == "portal":
            self.wfile.write(b"<html>Log in!</html>")
        elif kind == "short":
            self.wfile.write(b"Codename:")
        elif kind == "good":
            self.wfile.write(b"Codename: trixie\n...")
        elif kind == "silent":
            self.server.released.wait(30)  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def mirror() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        server.released = threading.Event()  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.released.set()  # type: ignore[attr-defined]
        server.shutdown()


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("absent", "HTTP 404"),
        ("portal", "no suite's index"),
        ("short", "broke off"),
        ("silent", "silent for 0.2 s"),
    ],
)
def test_faulty_mirror_is_told(host: Host, mirror: str, kind: str, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LIMITS", replace(doctor.LIMITS, silence=0.2))
    host = replace(host, mirrors={"debian": [f"{mirror}/{kind}", f"{mirror}/good/"]})
    faulty, good = doctor.mirrors(host)
    lacks(faulty, False, found, "--mirror debian=URL")
    assert good.ok


def test_security_mirror_is_asked_for_its_own_suite(host: Host, tmp_path: Path) -> None:
    host = replace(host, mirrors={"debian-security": [(tmp_path / "mirror").as_uri()]})
    lacks(next(doctor.mirrors(host)), False, "dists/trixie-security/InRelease", "--mirror")
