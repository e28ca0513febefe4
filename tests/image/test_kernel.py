"""The kernel of the project's own is the one that was asked for, and keeps what it promises. Others promise nothing."""

from __future__ import annotations

from typing import Any

from testinfra.host import Host


def settings(manifest: dict[str, Any]) -> dict[str, str]:
    """What the fragments require; nothing for a kernel that Debian built."""
    found: dict[str, str] = manifest["kernel_settings"]
    return found


def test_configuration_is_what_was_asked_for(host: Host, manifest: dict[str, Any]) -> None:
    if not (wanted := settings(manifest)):
        return
    lines = host.check_output("zcat /proc/config.gz").splitlines()
    got = dict(line.removeprefix("CONFIG_").split("=", 1) for line in lines if line.startswith("CONFIG_"))
    wrong = {name: (value, got.get(name, "n")) for name, value in wanted.items()}
    assert {name: pair for name, pair in wrong.items() if pair[1] not in pair[0].split(" or ")} == {}


def test_modules_belong_to_the_running_kernel(host: Host, manifest: dict[str, Any]) -> None:
    loaded = host.check_output("lsmod").splitlines()[1:]
    assert loaded
    name = loaded[0].split()[0]
    assert host.check_output(f"modinfo --field vermagic {name}").split()[0] == manifest["kernel"]
    assert host.check_output("modprobe --dry-run --all --quiet $(lsmod | tail -n +2 | cut -d' ' -f1)") == ""


def test_package_is_registered_and_whole(host: Host, manifest: dict[str, Any]) -> None:
    package = f"linux-image-{manifest['kernel']}"
    assert host.package(package).is_installed
    # The kernel boots from the UKI, what packages lay into /boot stays out of the root file system; and no image has
    # documents.
    verified = host.run(f"dpkg --verify {package}").stdout.splitlines()
    assert [line for line in verified if " /boot/" not in line and " /usr/share/doc/" not in line] == []


def test_kernel_keeps_what_its_fragments_promise(host: Host, manifest: dict[str, Any]) -> None:
    wanted = settings(manifest)
    if wanted.get("DEBUG_INFO_BTF") == "y":
        assert host.file("/sys/kernel/btf/vmlinux").size > 1 << 20
    if wanted.get("SCHED_CLASS_EXT") == "y":
        assert host.file("/sys/kernel/sched_ext/state").content_string == "disabled\n"
    if wanted.get("BPF_LSM") == "y":
        assert "bpf" in host.file("/sys/kernel/security/lsm").content_string.split(",")
    if wanted.get("PSI") == "y":
        assert host.file("/proc/pressure/memory").content_string.startswith("some ")
    if wanted.get("LRU_GEN_ENABLED") == "y":
        assert int(host.file("/sys/kernel/mm/lru_gen/enabled").content_string, 16) & 1
    if wanted.get("PREEMPT_RT") == "y":
        assert "PREEMPT_RT" in host.check_output("uname -v").split()
    if wanted.get("SECURITY_DMESG_RESTRICT") == "y":
        assert host.sysctl("kernel.dmesg_restrict") == 1
    if wanted.get("USB_VIDEO_CLASS"):
        assert host.run("modinfo uvcvideo").rc == 0


# What firmware of the boards asks for, by the symbol that switches their family on.
DEVICE_TREES = {
    "ARCH_TEGRA_234_SOC": ["nvidia/tegra234-p3768-0000+p3767-0005.dtb", "nvidia/tegra234-p3737-0000+p3701-0000.dtb"],
    "ARCH_STARFIVE": ["starfive/jh7110-starfive-visionfive-2-v1.3b.dtb", "starfive/jh7110-milkv-mars.dtb"],
    "ARCH_SIFIVE": ["sifive/hifive-unmatched-a00.dtb"],
}


def test_device_trees_of_the_boards_are_there(host: Host, manifest: dict[str, Any]) -> None:
    """Each is one: dtc's magic number stands at its beginning."""
    wanted = [path for symbol, paths in DEVICE_TREES.items() if settings(manifest).get(symbol) == "y" for path in paths]
    for path in wanted:
        tree = f"/usr/lib/linux-image-{manifest['kernel']}/{path}"
        assert host.check_output(f"head --bytes=4 {tree} | od --address-radix=n --format=x1") == " d0 0d fe ed"


def test_modules_are_signed_exactly_when_the_kernel_asks_for_it(host: Host, manifest: dict[str, Any]) -> None:
    if not settings(manifest):
        return
    forced = settings(manifest).get("MODULE_SIG_FORCE") == "y"
    modules = host.check_output("find /usr/lib/modules -name '*.ko.zst' | sort | head -n 5").splitlines()
    assert modules
    signers = [host.check_output(f"modinfo --field signer {path}") for path in modules]
    assert [bool(signer) for signer in signers] == [forced] * len(modules)
    enforced = host.file("/sys/module/module/parameters/sig_enforce").content_string
    assert enforced == ("Y\n" if forced else "N\n")


def test_uki_has_only_the_modules_that_an_initrd_needs(manifest: dict[str, Any]) -> None:
    """A UKI with all modules of a kernel takes more than 150 MB; Debian's kernels are larger by themselves."""
    if settings(manifest):
        assert manifest["artefacts"]["image.efi"]["size"] <= 40_000_000
