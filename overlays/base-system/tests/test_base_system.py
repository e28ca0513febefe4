"""What every image owes its owner: it boots whole, without passwords, and leftovers of the build are gone."""

import time

LEFTOVERS = ("/var/log/alternatives.log", "/var/log/dpkg.log", "/var/log/apt/history.log", "/var/lib/dpkg/status-old")


def wait_until_booted(host) -> str:
    """Return the manager's state once the boot has finished; an emulated machine may need minutes."""
    deadline = time.monotonic() + 900
    while (state := host.run("systemctl is-system-running").stdout.strip()) in {"initializing", "starting"}:
        assert time.monotonic() < deadline, f"still {state}: " + host.run("systemctl list-jobs --no-pager").stdout
        time.sleep(5)
    return state


def test_boot_finishes_without_a_failed_unit(host):
    state = wait_until_booted(host)
    failed = host.run("systemctl --failed --no-legend --plain --no-pager").stdout
    assert (failed, state) == ("", "running")


def test_no_account_has_a_usable_password(host):
    hashes = dict(line.split(":")[:2] for line in host.check_output("cat /etc/shadow").splitlines())
    usable = {name for name, field in hashes.items() if not field.startswith(("!", "*"))}
    assert "root" in hashes
    assert usable == set()


def test_only_root_is_uid_zero(host):
    accounts = [line.split(":") for line in host.check_output("cat /etc/passwd").splitlines()]
    assert [fields[0] for fields in accounts if fields[2] == "0"] == ["root"]


def test_root_file_system_is_the_declared_one(host, image):
    assert host.check_output("findmnt -n -o FSTYPE /") == image["root_filesystem"]


def test_host_name_is_the_declared_one(host, image):
    assert host.check_output("hostnamectl hostname") == image["hostname"]


def test_time_synchronisation_is_on_and_has_servers(host, options):
    assert host.service("systemd-timesyncd").is_running
    assert host.check_output("timedatectl show -p NTP --value") == "yes"
    servers = host.check_output("timedatectl show-timesync -p SystemNTPServers -p LinkNTPServers -p FallbackNTPServers")
    assert [value for line in servers.splitlines() if (value := line.partition("=")[2])]
    for server in options["ntp_servers"]:
        assert server in servers


def test_clock_runs_in_utc(host):
    assert host.check_output("timedatectl show -p Timezone --value") in {"UTC", "Etc/UTC"}


def test_locale_is_c_utf8(host):
    assert "LANG=C.UTF-8" in host.check_output("systemctl show-environment").splitlines()


def test_resolver_stub_answers(host):
    assert host.file("/etc/resolv.conf").linked_to == "/run/systemd/resolve/stub-resolv.conf"
    assert "127.0.0.1" in host.check_output("resolvectl query --legend=no -4 localhost")


def test_gateway_given_by_dhcp_has_a_name(host):
    gateway = host.check_output("ip -4 route show default").split()[2]
    assert gateway in host.check_output("resolvectl query --legend=no -4 _gateway")
    assert gateway in host.check_output("getent ahostsv4 _gateway")


def test_journal_survives_a_reboot(host):
    boots = host.check_output("journalctl --no-pager -q --header")
    assert "/var/log/journal/" in boots
    assert "/run/log/journal/" not in boots


def test_machine_id_was_made_here(host):
    machine_id = host.file("/etc/machine-id")
    assert len(machine_id.content_string.strip()) == 32
    assert host.run("mountpoint -q /etc/machine-id").rc != 0, "machine id is not committed to the disk"
    assert machine_id.mode & 0o022 == 0


def test_nothing_in_etc_is_world_writable(host):
    assert host.check_output("find /etc -xdev -perm -0002 ! -type l") == ""


def test_build_left_nothing_behind(host):
    assert [path for path in LEFTOVERS if host.file(path).exists] == []
    assert host.check_output("find /var/cache/apt/archives /var/lib/apt/lists -type f ! -name lock") == ""


def test_apt_database_is_sound(host):
    assert host.check_output("dpkg --audit") == ""
    host.check_output("apt-get check -q")
