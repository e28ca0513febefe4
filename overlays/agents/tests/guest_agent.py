"""What tests of every agent ask the guest; they import it by this name."""

import json
import time

# Seconds. A slow emulated machine takes minutes to start Python with all that an agent needs.
PATIENCE = 600.0
# An agent's Python, as its service has it; `%s` is the code.
PYTHON = "PYTHONPATH=/usr/lib/lichen/python /usr/bin/python3 -B -c %s"


def wait_for(look, patience=PATIENCE):
    """The first true answer."""
    deadline = time.monotonic() + patience
    while not (found := look()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(1)
    return found


def status(host, command):
    """What an agent says of itself, once it answers."""

    def ask():
        done = host.run(f"{command} status --json")
        return json.loads(done.stdout) if done.rc == 0 else None

    return wait_for(ask)


def shown(host, unit, name):
    """A property of a unit."""
    return host.check_output("systemctl show %s -p %s --value", unit, name)


def feeds_its_watchdog(host, unit):
    """Wait until a unit runs, and has told systemd so once more."""
    wait_for(lambda: shown(host, unit, "ActiveState") == "active")
    before = int(shown(host, unit, "WatchdogTimestampMonotonic"))
    wait_for(lambda: int(shown(host, unit, "WatchdogTimestampMonotonic")) > before)


def has_few_rights(host, unit):
    """CAP_DAC_READ_SEARCH alone, by which the names of cgroups are found; the others went when all was loaded."""
    text = host.check_output(f"cat /proc/{shown(host, unit, 'MainPID')}/status")
    fields = dict(line.split(":\t", 1) for line in text.splitlines())
    assert fields["CapEff"] == fields["CapPrm"] == f"{1 << 2:016x}"
    assert fields["CapAmb"] == "0" * 16
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    assert fields["Uid"].split()[0] != "0"
