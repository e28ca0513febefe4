"""Podman reads what names the GPUs, and the linker in a container finds what was mounted. The GPUs are made up: their
device files are those of /dev/null, their libraries hold nothing but a name."""

import json
from pathlib import Path

import pytest

FAKE = (Path(__file__).parent / "fake_machine.py").read_text(encoding="utf-8")
TREE = "/run/gpu-test"
# Another kind than a real GPU's, so that both may be there. The paths are those of the folder.
MOVE = """
import json, sys
tree, source, target = sys.argv[1:]
told = json.load(open(source))
told["kind"] = "lichen.test/gpu"
for edits in [told["containerEdits"], *(device["containerEdits"] for device in told["devices"])]:
    for node in edits["deviceNodes"]:
        node["hostPath"] = tree + node["path"]
    for mount in edits.get("mounts", []):
        mount["hostPath"] = tree + mount["hostPath"]
json.dump(told, open(target, "w"))
"""
# The linker's own search, in an image that knows nothing of GPUs; then the way of NVIDIA's images.
LOAD = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1])._name)"


@pytest.fixture(scope="module")
def gpus(host):
    """Names for two GPUs that podman knows as lichen.test/gpu."""
    host.check_output("mkdir -p /run/cdi && python3 -c %s %s", FAKE, TREE)
    host.check_output("PYTHONPATH=/usr/lib/lichen/python python3 -m gpu_cdi --root %s", TREE)
    host.check_output("python3 -c %s %s %s/run/cdi/nvidia.yaml /run/cdi/lichen-test.json", MOVE, TREE, TREE)
    yield "lichen.test/gpu"
    host.check_output("rm -r %s /run/cdi/lichen-test.json", TREE)


def contained(host, device, *words, options=""):
    """What a command prints in a container that sees this machine's files, and keeps nothing of what it changes."""
    place = "--root /run/gpu-test-storage --runroot /run/gpu-test-run"
    line = f"podman {place} run --rm --network=none {options} --device {device} --rootfs /:O " + " ".join(
        "%s" for _ in words
    )
    return host.run(line, *words)


def has_gpu(host):
    return bool(host.run("ls /proc/driver/nvidia/gpus").stdout.split())


def test_service_told_what_there_is(host):
    shown = host.check_output("systemctl show gpu-cdi.service -p ActiveState -p Result")
    assert set(shown.splitlines()) == {"ActiveState=active", "Result=success"}
    said = host.check_output("systemctl status --no-pager --lines=50 gpu-cdi.service")
    assert ("GPUs for containers: nvidia.com/gpu=" if has_gpu(host) else "no GPU for containers: ") in said
    assert host.file("/run/cdi/nvidia.yaml").exists == has_gpu(host)


def test_names_are_there_before_anything_starts_containers(host):
    before = host.check_output("systemctl show gpu-cdi.service -p Before --value").split()
    assert {"podman.service", "network-online.target", "systemd-user-sessions.service"} <= set(before)
    assert "gpu-cdi.service" in host.check_output("systemctl list-dependencies --plain multi-user.target")
    # A circle would have been broken by leaving one of the units out.
    assert "ordering cycle" not in host.check_output("journalctl --boot --no-pager --output cat _PID=1")


def test_nothing_is_updated_unasked(host):
    for unit in ("podman-auto-update.service", "podman-auto-update.timer"):
        assert host.run(f"systemctl is-enabled {unit}").stdout == "disabled\n"
    assert "podman" not in host.check_output("systemctl list-units --failed --plain --no-legend")


def test_leftover_specification_goes(host):
    if has_gpu(host):
        return
    host.check_output("mkdir -p /run/cdi && echo {} > /run/cdi/nvidia.yaml")
    host.check_output("systemctl restart gpu-cdi.service")
    assert not host.file("/run/cdi/nvidia.yaml").exists


def test_container_without_name_gets_none_and_unknown_name_is_an_error(host):
    done = contained(host, "lichen.test/nothing=0", "true")
    assert done.rc != 0
    assert "unresolvable CDI devices lichen.test/nothing=0" in done.stderr


def test_container_gets_the_device_files_of_its_gpu(host, gpus):
    one = contained(host, f"{gpus}=1", "sh", "-c", "stat -c '%n %t:%T' /dev/nvidia*")
    assert one.rc == 0, one.stderr
    shared = {f"/dev/{name} 1:3" for name in ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")}
    assert set(one.stdout.splitlines()) == shared | {"/dev/nvidia1 1:3"}
    both = contained(host, f"{gpus}=all", "sh", "-c", "echo /dev/nvidia?; echo through > /dev/nvidia0")
    assert (both.rc, both.stdout) == (0, "/dev/nvidia0 /dev/nvidia1\n"), both.stderr


def test_linker_in_a_container_finds_the_libraries_without_a_hook(host, gpus):
    for name in ("libcuda.so.1", "libnvidia-ml.so.1", "libnvidia-ptxjitcompiler.so.1"):
        done = contained(host, f"{gpus}=0", "python3", "-c", LOAD, name)
        assert (done.rc, done.stdout) == (0, f"{name}\n"), done.stderr
    elsewhere = contained(
        host, f"{gpus}=0", "sh", "-c", "ls $LD_LIBRARY_PATH", options="--env LD_LIBRARY_PATH=/usr/local/nvidia/lib64"
    )
    assert "libcuda.so.1" in elsewhere.stdout.split(), elsewhere.stderr


def test_nothing_of_it_can_be_written_to(host, gpus):
    for path in ("/usr/bin/nvidia-smi", "/usr/local/nvidia/lib64/libcuda.so.1"):
        assert "Read-only file system" in contained(host, f"{gpus}=0", "sh", "-c", f"echo > {path}").stderr
    assert contained(host, f"{gpus}=0", "nvidia-smi").stdout == "fake\n"


def test_builds_and_runs_look_into_the_same_folders(host):
    """`podman build` has its own way to them (containers.conf(5), cdi_spec_dirs)."""
    told = json.loads(host.check_output("podman info --format json"))
    assert told["host"]["ociRuntime"]["name"] == "crun"
    assert (
        'cdi_spec_dirs = ["/etc/cdi", "/run/cdi"]'
        in host.file("/etc/containers/containers.conf.d/20-lichen.conf").content_string.splitlines()
    )


def test_storage_holds_images_and_what_containers_change(host):
    """In the place that Podman uses when nobody says anything, with the kernel's own overlays, on any layout."""
    told = json.loads(host.check_output("podman info --format json"))["store"]
    assert (told["graphDriverName"], told["graphStatus"]["Native Overlay Diff"]) == ("overlay", "true")
    name = "localhost/lichen-storage-test"
    host.check_output(
        "tar -C / -ch bin/sh bin/rm bin/ls $(ldd /bin/sh /bin/ls | grep -o '/lib[^ ]*' | sort -u) | "
        "podman import --quiet - %s",
        name,
    )
    try:
        # What is removed of a lower layer leaves a whiteout in the upper one.
        host.check_output(
            "podman run --name lichen-storage --network=none %s /bin/sh -c 'rm /bin/ls && echo kept > /note'", name
        )
        host.check_output("podman commit --quiet lichen-storage %s", f"{name}:changed")
        seen = host.run(
            "podman run --rm --network=none %s /bin/sh -c 'read note < /note; echo $note /bin/*'", f"{name}:changed"
        )
        assert (seen.rc, seen.stdout) == (0, "kept /bin/rm /bin/sh\n"), seen.stderr
    finally:
        host.check_output(
            "podman rm --force --ignore lichen-storage && podman rmi --force --ignore %s %s", f"{name}:changed", name
        )
