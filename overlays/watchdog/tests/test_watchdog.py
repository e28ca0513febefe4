"""The watchdog is there, is systemd's, and has the time that was asked for. That it bites is a test of its own."""


def test_manager_has_the_times_asked_for(host, options):
    place = "org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager"
    for name, option in (("RuntimeWatchdogUSec", "timeout"), ("RebootWatchdogUSec", "reboot_timeout")):
        assert host.check_output(f"busctl get-property {place} {name}") == f"t {options[option] * 1_000_000}"


def test_watchdog_runs_and_is_fed_by_systemd(host, options):
    """No more than its file being there would be true of any machine with the hardware."""
    # The kernel makes the older name first: a manager that wakes up between the two takes that.
    assert host.check_output("systemctl show -p WatchdogDevice --value") in ("/dev/watchdog0", "/dev/watchdog")
    files = host.check_output("find /proc/1/fd -printf '%l\\n'").splitlines()
    assert {"/dev/watchdog", "/dev/watchdog0"} & set(files)
    watchdog = "/sys/class/watchdog/watchdog0"
    assert host.file(f"{watchdog}/state").content_string == "active\n"
    assert int(host.file(f"{watchdog}/timeout").content_string) == options["timeout"]


def test_driver_is_the_first_that_serves(host, options):
    said = host.check_output("journalctl --boot --unit watchdog-driver.service --output cat --no-pager")
    identity = host.file("/sys/class/watchdog/watchdog0/identity").content_string.strip()
    assert f"watchdog: {identity}" in said.splitlines()


def test_panic_ends_in_a_restart(host):
    assert host.sysctl("kernel.panic") == 10
