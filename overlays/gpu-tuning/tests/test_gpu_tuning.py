"""Settings are those of the running kernel, not only of files.

What this machine's kernel or hardware lacks is not asked.
"""

import json

import pytest

RULES = "/usr/lib/udev/rules.d/60-nvme-scheduler.rules"
LARGEST = 256 << 20


def listed(host, pattern):
    """Files that match, none if there are none."""
    return host.check_output(f"ls -d {pattern} 2>/dev/null || true").split()


@pytest.mark.parametrize("name", ["net.core.rmem_max", "net.core.wmem_max"])
def test_programs_may_ask_for_large_buffers(host, name):
    assert host.sysctl(name) == LARGEST


def test_buffers_of_connections_start_small_and_grow_large(host):
    for name, first in (("net.ipv4.tcp_rmem", "131072"), ("net.ipv4.tcp_wmem", "16384")):
        assert host.check_output(f"sysctl -n {name}").split() == ["4096", first, str(LARGEST)]


def test_memory_stays_where_it_is_and_may_be_mapped_often(host):
    assert host.sysctl("vm.max_map_count") == 1048576
    assert host.sysctl("net.ipv4.tcp_mtu_probing") == 1
    if listed(host, "/proc/sys/kernel/numa_balancing"):
        assert host.sysctl("kernel.numa_balancing") == 0


def test_no_setting_was_refused(host):
    for unit in ("systemd-sysctl.service", "systemd-tmpfiles-setup.service"):
        assert host.check_output(f"systemctl show {unit} -p Result --value") == "success"
        said = host.check_output(f"journalctl --boot --unit {unit} --output cat --no-pager")
        assert not [line for line in said.splitlines() if "Couldn't write" in line or "Failed to write" in line]


def test_huge_pages_are_for_those_who_ask(host):
    for path in listed(host, "/sys/kernel/mm/transparent_hugepage/enabled"):
        assert "[madvise]" in host.file(path).content_string.split()


@pytest.mark.parametrize(("option", "size"), [("huge_pages_2m", 2048), ("huge_pages_1g", 1048576)])
def test_huge_pages_are_set_aside(host, options, option, size):
    if options[option]:
        path = f"/sys/kernel/mm/hugepages/hugepages-{size}kB/nr_hugepages"
        assert int(host.file(path).content_string) == options[option]


def test_processors_run_at_full_speed_where_that_can_be_chosen(host):
    shown = host.check_output("systemctl show cpu-governor.service -p ActiveState -p Result")
    assert set(shown.splitlines()) == {"ActiveState=active", "Result=success"}
    for path in listed(host, "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor"):
        assert host.file(path).content_string == "performance\n"


def test_nvme_disks_have_no_scheduler(host):
    host.check_output(f"udevadm verify --no-summary {RULES}")
    for path in listed(host, "/sys/block/nvme*/queue/scheduler"):
        assert "[none]" in host.file(path).content_string


def test_everybody_may_lock_memory(host):
    login = "sh -c 'ulimit -S -l; ulimit -H -l'"
    for name in ("nobody", "root"):
        assert host.check_output(f"runuser -u {name} -- {login}").split() == ["unlimited"] * 2
    service = host.check_output(f"systemd-run --quiet --pipe --wait --property=DynamicUser=yes {login}")
    assert service.split() == ["unlimited"] * 2


def test_errors_of_memory_and_buses_are_listened_to(host):
    assert host.service("rasdaemon.service").is_running
    assert host.service("rasdaemon.service").is_enabled
    assert host.check_output("ls /sys/kernel/tracing/instances/rasdaemon/events/ras")
    assert "ras" not in host.check_output("systemctl list-units --failed --plain --no-legend")


def test_perf_measures_this_kernel(host):
    done = host.run("perf stat --event task-clock --json true")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("{")]
    assert json.loads(line)["event"].startswith("task-clock")
    assert float(json.loads(line)["counter-value"]) > 0


def test_tools_answer(host):
    assert "available: " in host.check_output("numactl --hardware")
    assert host.check_output("nvme version").startswith("nvme version ")
    assert "Host bridge" in host.check_output("lspci") or not listed(host, "/sys/bus/pci/devices/*")
    (card,) = [name for name in host.check_output("ls /sys/class/net").split() if name != "lo"][:1]
    assert f"Settings for {card}:" in host.check_output(f"ethtool {card}")
