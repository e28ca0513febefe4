"""What containers get of a GPU, on machines that are folders: with GPUs, without, with a driver that tells nonsense."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import fake_machine
import gpu_cdi
import pytest
from fake_machine import VERSION, information, uuid

FIRST, SECOND = "0000:07:00.0", "0000:0f:00.0"
MULTIARCH = f"/usr/lib/{fake_machine.MULTIARCH}"
# SPEC.md, "Kind" and "CDI Devices"; podman's reader (pkg/parser) allows a colon besides.
KIND = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?")


def machine(root: Path, *gpus: tuple[str, str]) -> Path:
    """A machine with a driver and these GPUs: place on the bus, text of the file ``information``."""
    fake_machine.install(root)
    fake_machine.drive(root, dict(gpus))
    return root


@pytest.fixture
def two(tmp_path: Path) -> Path:
    return machine(tmp_path, (FIRST, information(FIRST, 0)), (SECOND, information(SECOND, 1)))


def path(root: Path) -> Path:
    return root / "run/cdi/nvidia.yaml"


def document(root: Path) -> dict[str, Any]:
    """The specification after a run, judged by the rules of the format."""
    gpu_cdi.refresh(root)
    told: dict[str, Any] = json.loads(path(root).read_text())
    judge(told)
    return told


def judge(told: dict[str, Any]) -> None:
    """schema.json, defs.json and SPEC.md of container-device-interface 0.5.0; unknown keys are errors to readers."""
    assert set(told) == {"cdiVersion", "kind", "devices", "containerEdits"}
    assert told["cdiVersion"] == "0.5.0"
    assert KIND.fullmatch(told["kind"])
    names = [device["name"] for device in told["devices"]]
    assert names
    assert len(set(names)) == len(names)
    for device in told["devices"]:
        assert set(device) == {"name", "containerEdits"}
        assert NAME.fullmatch(device["name"])
        # A device without an edit is an error (pkg/cdi/device.go).
        assert device["containerEdits"]["deviceNodes"]
        judge_edits(device["containerEdits"])
    judge_edits(told["containerEdits"])


def judge_edits(edits: dict[str, Any]) -> None:
    assert set(edits) <= {"deviceNodes", "mounts"}
    for node in edits.get("deviceNodes", []):
        assert set(node) == {"path", "permissions"}
        assert re.fullmatch(r"/dev/nvidia[a-z0-9-]+", node["path"])
        assert set(node["permissions"]) <= set("rwm")
    places = [mount["containerPath"] for mount in edits.get("mounts", [])]
    assert len(set(places)) == len(places)
    for mount in edits.get("mounts", []):
        assert set(mount) == {"hostPath", "containerPath", "options"}
        assert mount["hostPath"].startswith("/")
        assert mount["containerPath"].startswith("/")
        assert {"ro", "nosuid", "nodev"} <= set(mount["options"])


def nodes(edits: dict[str, Any]) -> list[str]:
    return [node["path"] for node in edits["deviceNodes"]]


def devices(told: dict[str, Any]) -> dict[str, list[str]]:
    return {device["name"]: nodes(device["containerEdits"]) for device in told["devices"]}


def run(root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """The program as the service starts it."""
    words = [sys.executable, gpu_cdi.__file__, "--root", str(root), *more]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_machine_without_driver_gets_no_specification_and_no_failure(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "no GPU for containers: NVIDIA's driver is not loaded\n",
        "",
    )
    assert not path(tmp_path).exists()


def test_driver_without_gpu_gets_no_specification_and_no_failure(tmp_path: Path) -> None:
    done = run(machine(tmp_path))
    assert (done.returncode, done.stdout) == (0, f"no GPU for containers: driver {VERSION} has none\n")
    assert not path(tmp_path).exists()


@pytest.mark.skipif(Path("/proc/driver/nvidia").exists(), reason="this machine has NVIDIA's driver")
def test_this_machine_has_no_driver() -> None:
    """With the machine's own root; there is nothing to write."""
    assert gpu_cdi.driver_version(Path("/")) is None
    assert gpu_cdi.find_gpus(Path("/")) == ()


def test_two_gpus_have_numbers_uuids_and_a_name_for_both(two: Path) -> None:
    told = document(two)
    assert told["kind"] == "nvidia.com/gpu"
    assert devices(told) == {
        "0": ["/dev/nvidia0"],
        uuid(0): ["/dev/nvidia0"],
        "1": ["/dev/nvidia1"],
        uuid(1): ["/dev/nvidia1"],
        "all": ["/dev/nvidia0", "/dev/nvidia1"],
    }
    common = ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools", "/dev/nvidia-modeset"]
    assert nodes(told["containerEdits"]) == common


def test_program_says_what_it_named(two: Path) -> None:
    done = run(two)
    assert (done.returncode, done.stderr) == (0, "")
    names = " ".join(f"nvidia.com/gpu={name}" for name in ("0", uuid(0), "1", uuid(1), "all"))
    assert done.stdout == f"driver {VERSION}, GPUs for containers: {names}\n"


def test_libraries_are_where_debians_linker_and_nvidias_images_look(two: Path) -> None:
    mounts = {mount["containerPath"]: mount["hostPath"] for mount in document(two)["containerEdits"]["mounts"]}
    real = f"{MULTIARCH}/nvidia/current"
    files = {soname: f"{real}/{stem}.{VERSION}" for soname, stem in fake_machine.LIBRARIES.items()}
    assert mounts == {
        **{f"{MULTIARCH}/{soname}": file for soname, file in files.items()},
        **{f"/usr/local/nvidia/lib64/{soname}": file for soname, file in files.items()},
        "/usr/bin/nvidia-smi": f"{real}/nvidia-smi",
    }
    for file in mounts.values():
        assert stat.S_ISREG((two / file.lstrip("/")).lstat().st_mode)


def test_persistence_daemon_is_reached_where_it_runs(two: Path) -> None:
    socket = "/run/nvidia-persistenced/socket"
    (two / socket.lstrip("/")).parent.mkdir(parents=True)
    (two / socket.lstrip("/")).touch()
    (mount,) = [m for m in document(two)["containerEdits"]["mounts"] if m["hostPath"] == socket]
    assert mount["containerPath"] == socket
    assert "noexec" in mount["options"]


def test_number_is_the_place_on_the_bus_and_not_the_minor(tmp_path: Path) -> None:
    """Domains are hexadecimal, and of more than four digits behind some host bridges: 10000 comes after ffff."""
    before, after = "ffff:01:00.0", "10000:01:00.0"
    told = devices(document(machine(tmp_path, (after, information(after, 0)), (before, information(before, 1)))))
    assert told["0"] == ["/dev/nvidia1"]
    assert told["1"] == ["/dev/nvidia0"]


def test_excluded_gpu_has_no_name_and_does_not_count(tmp_path: Path) -> None:
    """As nvidia-smi does."""
    root = machine(tmp_path, (FIRST, information(FIRST, 0, excluded="Yes")), (SECOND, information(SECOND, 1)))
    assert devices(document(root)) == {"0": ["/dev/nvidia1"], uuid(1): ["/dev/nvidia1"], "all": ["/dev/nvidia1"]}


def test_gpu_that_was_never_opened_has_a_number_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unknown = information(FIRST, 0).replace(uuid(0), "GPU-????????-????-????-????-????????????")
    assert devices(document(machine(tmp_path, (FIRST, unknown)))) == {"0": ["/dev/nvidia0"], "all": ["/dev/nvidia0"]}
    assert "has no UUID of its own ('GPU-????????" in capsys.readouterr().err


HOSTILE = {
    "empty": "",
    "binary": "\x00\x1b[2J\x7f" * 100,
    "no colon": "Device Minor 0\n",
    "no minor": information(FIRST, 0).replace("Device Minor", "Device Major"),
    "path as minor": information(FIRST, 0).replace("Device Minor: \t 0", "Device Minor: \t 0/../../sda"),
    "negative minor": information(FIRST, 0).replace("Device Minor: \t 0", "Device Minor: \t -1"),
    "huge minor": information(FIRST, 0).replace("Device Minor: \t 0", "Device Minor: \t 99999999999999999999"),
    "other digits": information(FIRST, 0).replace("Device Minor: \t 0", "Device Minor: \t \u0660"),
    "minor of a neighbour": information(FIRST, 1),
    "minor far behind": "x" * 10_000_000 + information(FIRST, 0),
    "no file of that minor": information(FIRST, 77),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_gpu_with_nonsense_is_left_out_with_a_word(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others keep their numbers; of two with one minor the first on the bus has it."""
    root = machine(tmp_path, (FIRST, text), (SECOND, information(SECOND, 1)))
    left = {name: found for name, found in devices(document(root)).items() if found != ["/dev/nvidia1"]}
    assert left == {}
    assert "left out" in (said := capsys.readouterr().err)
    assert len(said) < 500


def test_uuid_that_two_gpus_have_names_one_of_them(tmp_path: Path) -> None:
    """Two devices of one name make readers refuse the whole file. The first has it."""
    twin = information(SECOND, 1).replace(uuid(1), uuid(0))
    told = devices(document(machine(tmp_path, (FIRST, information(FIRST, 0)), (SECOND, twin))))
    assert set(told) == {"0", "1", uuid(0), "all"}
    assert told[uuid(0)] == ["/dev/nvidia0"]


@pytest.mark.parametrize("name", ["all", "GPU-1;rm -rf", "GPU-" + "a" * 36, uuid(0xAB).upper(), uuid(0) + "\u0301"])
def test_uuid_is_a_name_only_if_it_is_one(tmp_path: Path, name: str) -> None:
    told = document(machine(tmp_path, (FIRST, information(FIRST, 0).replace(uuid(0), name))))
    assert set(devices(told)) == {"0", "all"}


def test_odd_folders_are_left_out_with_a_word(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpus = two / "proc/driver/nvidia/gpus"
    for name in ("all", "0000:07:00.8", "0000:07:00.0 ", "0000:07", "\udcff:00:00.0", ".hidden"):
        (gpus / name).mkdir()
        (gpus / name / "information").write_text(information(FIRST, 0))
    assert set(devices(document(two))) == {"0", "1", uuid(0), uuid(1), "all"}
    assert capsys.readouterr().err.count("is no place on the PCI bus") == 6


def test_folder_without_information_is_left_out_with_a_word(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (two / f"proc/driver/nvidia/gpus/{FIRST}/information").unlink()
    assert set(devices(document(two))) == {"1", uuid(1), "all"}
    assert f"{FIRST}: [Errno 2]" in capsys.readouterr().err


def test_divided_gpu_is_told(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(devices(document(two))) == {"0", "1", uuid(0), uuid(1), "all"}
    assert "MIG" not in capsys.readouterr().err
    (two / "proc/driver/nvidia/capabilities/gpu1/mig/gi7").mkdir(parents=True)
    document(two)
    assert f"GPU 1 at {SECOND} is divided (MIG)" in capsys.readouterr().err


def fails(root: Path, why: str) -> None:
    """The service fails and says why; a specification of better days is gone."""
    path(root).parent.mkdir(parents=True, exist_ok=True)
    path(root).write_text("{}")
    done = run(root)
    assert done.returncode == 1
    assert why in done.stderr
    assert "Traceback" not in done.stderr
    assert not path(root).exists()


@pytest.mark.parametrize("missing", gpu_cdi.NEEDED_LIBRARIES)
def test_missing_library_fails(tmp_path: Path, missing: str) -> None:
    fake_machine.install(tmp_path, libraries={k: v for k, v in fake_machine.LIBRARIES.items() if k != missing})
    fake_machine.drive(tmp_path, {FIRST: information(FIRST, 0)})
    fails(tmp_path, f"{missing} is not in the linker's cache: is the user space of driver {VERSION} installed?")


def test_library_that_cuda_can_do_without_is_just_not_there(tmp_path: Path) -> None:
    needed = {name: fake_machine.LIBRARIES[name] for name in gpu_cdi.NEEDED_LIBRARIES}
    fake_machine.install(tmp_path, libraries=needed)
    fake_machine.drive(tmp_path, {FIRST: information(FIRST, 0)})
    places = [mount["containerPath"] for mount in document(tmp_path)["containerEdits"]["mounts"]]
    assert [place for place in places if "ptxjitcompiler" in place] == []


def test_user_space_of_another_version_fails(tmp_path: Path) -> None:
    fake_machine.install(tmp_path, version="535.216.01")
    fake_machine.drive(tmp_path, {FIRST: information(FIRST, 0)})
    fails(tmp_path, f"the module is of driver {VERSION}, libcuda.so.1 is {MULTIARCH}/nvidia/current/libcuda.so.535")


def test_library_of_another_version_stays_outside(two: Path) -> None:
    """What happens to be called like one of the driver's and is not."""
    folder = two / MULTIARCH.lstrip("/")
    (folder / "libnvidia-egl-wayland.so.1.1.13").write_bytes(fake_machine.library("libnvidia-egl-wayland.so.1"))
    (folder / "libnvidia-egl-wayland.so.1").symlink_to("libnvidia-egl-wayland.so.1.1.13")
    fake_machine.remember(two)
    cache = subprocess.run(
        ["/sbin/ldconfig", "-C", two / "etc/ld.so.cache", "-p"], capture_output=True, text=True, check=True
    )
    assert "libnvidia-egl-wayland.so.1" in cache.stdout
    assert "wayland" not in json.dumps(document(two))


def test_cache_that_is_missing_or_none_fails(two: Path) -> None:
    (two / "etc/ld.so.cache").write_text("nothing of the kind")
    fails(two, "the linker's cache cannot be read")
    (two / "etc/ld.so.cache").unlink()
    fails(two, "the linker's cache cannot be read")


def test_links_in_a_circle_fail(two: Path) -> None:
    link = two / f"etc/alternatives/nvidia--libcuda.so.1-{fake_machine.MULTIARCH}"
    link.unlink()
    link.symlink_to(f"/etc/alternatives/{link.name}")
    fails(two, "too many symbolic links")


@pytest.mark.parametrize("missing", gpu_cdi.NEEDED_NODES)
@pytest.mark.parametrize("instead", [None, "file"])
def test_missing_device_file_fails(two: Path, missing: str, instead: str | None) -> None:
    (two / missing.lstrip("/")).unlink()
    if instead:
        (two / missing.lstrip("/")).write_text("no device")
    fails(two, f"no {missing}")


def test_gpu_without_a_device_file_is_left_out_and_none_at_all_fails(two: Path) -> None:
    (two / "dev/nvidia0").unlink()
    assert set(devices(document(two))) == {"1", uuid(1), "all"}
    (two / "dev/nvidia1").unlink()
    fails(two, "none of the GPUs has a device file")


def test_gpus_that_tell_nothing_fail(tmp_path: Path) -> None:
    fails(machine(tmp_path, (FIRST, "")), "nonsense about all of its GPUs")


@pytest.mark.parametrize("text", ["", "NVRM version:\n", "GCC version:  gcc version 14.2.0 (Debian)\n"])
def test_driver_that_tells_no_version_fails(two: Path, text: str) -> None:
    (two / "proc/driver/nvidia/version").write_text(text)
    fails(two, "tells no version")


def test_proprietary_module_tells_its_version_too(two: Path) -> None:
    told = f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {VERSION}  Thu Dec 28 15:37:48 UTC 2023\n"
    (two / "proc/driver/nvidia/version").write_text(told)
    assert gpu_cdi.driver_version(two) == VERSION


def test_missing_program_is_told_and_nothing_more(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (two / "usr/bin/nvidia-smi").unlink()
    assert "nvidia-smi" not in json.dumps(document(two))
    assert "no /usr/bin/nvidia-smi for containers" in capsys.readouterr().err


def test_specification_goes_with_the_gpus(two: Path) -> None:
    document(two)
    for folder in sorted((two / "proc/driver/nvidia").rglob("*"), reverse=True):
        folder.rmdir() if folder.is_dir() else folder.unlink()
    (two / "proc/driver/nvidia").rmdir()
    done = run(two)
    assert (done.returncode, done.stdout) == (0, "no GPU for containers: NVIDIA's driver is not loaded\n")
    assert list(path(two).parent.iterdir()) == []


def test_file_is_whole_and_everybodys_to_read_under_any_umask(two: Path) -> None:
    before = os.umask(0o077)
    try:
        document(two)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path(two).stat().st_mode) == 0o644
    assert list(path(two).parent.iterdir()) == [path(two)]


def test_reader_gets_the_old_file_or_the_new_one(two: Path) -> None:
    """A reader that opened the old one keeps it: it is replaced, not written over."""
    document(two)
    with path(two).open() as old:
        (two / "dev/nvidia1").unlink()
        document(two)
        assert "/dev/nvidia1" in old.read()
    assert "/dev/nvidia1" not in path(two).read_text()


def test_full_disk_leaves_the_old_file(two: Path) -> None:
    document(two)
    before = path(two).read_text()
    path(two).with_suffix(".new").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        gpu_cdi.refresh(two)
    assert path(two).read_text() == before
