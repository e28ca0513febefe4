"""The agent in a booted image: it sees pressure, moves values through systemd, tells why, and gives everything back."""

import json
import shlex
import time

import guest_agent
import pytest
from guest_agent import wait_for

UNIT = "lichen-resources.service"
WAITING, BATCH = "inference.slice", "batch.slice"
SPIN = "while :; do :; done"
PROPERTIES = ("CPUWeight", "IOWeight", "MemoryHigh")
OOMD = ("ManagedOOMSwap", "ManagedOOMMemoryPressure", "ManagedOOMMemoryPressureLimit", "ManagedOOMPreference")


def status(host):
    """What the agent says of itself, once it has looked."""

    def ask():
        told = guest_agent.status(host, "lichen-resources")
        return told if told["mode"] else None

    return wait_for(ask)


def of_unit(host, name):
    return next(unit for unit in status(host)["units"] if unit["unit"] == name)


def shown(host, name, unit=UNIT):
    return guest_agent.shown(host, unit, name)


def weight(host, name):
    return int(host.check_output("cat /sys/fs/cgroup/%s/cpu.weight", name))


def log(host):
    return [json.loads(line) for line in host.check_output("lichen-resources log --json").splitlines()]


def drop_ins(host):
    """Runtime properties of both units."""
    found = host.run("ls -d /run/systemd/system.control/*/50-*.conf").stdout.split()
    return [path for path in found if WAITING in path or BATCH in path]


@pytest.fixture
def crowded(host):
    """Both slices want all processors, so that the one somebody waits for has to wait."""
    status(host)
    count = int(host.check_output("nproc"))
    names = []
    for unit in (WAITING, BATCH):
        for number in range(count):
            names.append(f"crowd-{unit.partition('.')[0]}-{number}.service")
            told = f"systemd-run --quiet --unit={names[-1]} --slice={unit} /bin/sh -c {shlex.quote(SPIN)}"
            host.check_output(told)
    yield
    host.run(f"systemctl stop {' '.join(names)}")
    host.check_output("systemctl restart %s", UNIT)
    status(host)
    host.check_output("lichen-resources on")


def raised(host):
    return wait_for(lambda: (now := weight(host, WAITING)) > 100 and now)


def test_service_runs_and_feeds_its_watchdog(host):
    assert shown(host, "WatchdogUSec") == "2min"
    guest_agent.feeds_its_watchdog(host, UNIT)


def test_service_has_no_rights(host):
    status(host)
    fields = dict(
        line.split(":\t", 1) for line in host.check_output(f"cat /proc/{shown(host, 'MainPID')}/status").splitlines()
    )
    assert fields["CapEff"] == fields["CapPrm"] == fields["CapBnd"] == "0" * 16
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")


def test_systemd_thinks_well_of_it(host):
    """At most 2.5 of 10, the lower the better."""
    done = host.run(f"systemd-analyze security --no-pager --threshold=25 {UNIT}")
    assert done.rc == 0, done.stdout


def test_memory_stays_below_its_bound(host):
    status(host)
    assert int(shown(host, "MemoryPeak")) < int(shown(host, "MemoryMax"))


def test_declared_units_are_told(host, options):
    told = status(host)
    assert told["mode"] == "adjusting"
    assert {f"{unit['role']} {unit['unit']}" for unit in told["units"]} == {
        " ".join(line.split()[:2]) for line in options["units"]
    }
    assert "mode: adjusting" in host.check_output("lichen-resources status")


def test_metrics_answer_on_this_machine_only(host, options):
    status(host)
    code = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
    text = host.check_output("/usr/bin/python3 -I -c %s %s", code, f"http://127.0.0.1:{options['port']}/metrics")
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    assert float(samples["lichen_resources_adjusting"]) == 1
    assert float(samples["lichen_resources_process_cpu_seconds_total"]) > 0
    assert not host.socket(f"tcp://0.0.0.0:{options['port']}").is_listening


def test_net_below_is_there(host):
    assert shown(host, "ActiveState", "systemd-oomd.service") == "active"
    assert shown(host, "ManagedOOMMemoryPressure", BATCH) == "kill"


@pytest.mark.usefixtures("crowded")
def test_who_waits_gets_more_weight_and_the_log_says_why(host):
    before = {name: shown(host, name, BATCH) for name in OOMD}
    value = raised(host)
    assert int(shown(host, "CPUWeight", WAITING)) >= value
    change = next(row for row in log(host) if row["unit"] == WAITING and row["actor"] == "policy")
    assert (change["knob"], change["from"]) == ("cpu", "100")
    assert "cpu pressure of inference.slice" in change["reason"]
    assert change["pressure"]["cpu.some"] > 10
    assert {name: shown(host, name, BATCH) for name in OOMD} == before
    bounds = of_unit(host, WAITING)["knobs"]["cpu"]
    assert bounds["low"] <= value <= bounds["high"]


@pytest.mark.usefixtures("crowded")
def test_off_is_at_once_and_lasts(host):
    raised(host)
    host.check_output("lichen-resources off")
    assert (weight(host, WAITING), weight(host, BATCH)) == (100, 20)
    assert drop_ins(host) == []
    assert shown(host, "NeedDaemonReload", WAITING) == "no"
    host.check_output(f"systemctl restart {UNIT}")
    assert status(host)["mode"] == "off"
    time.sleep(30)
    assert weight(host, WAITING) == 100
    host.check_output("lichen-resources on")
    raised(host)


@pytest.mark.usefixtures("crowded")
@pytest.mark.parametrize("end", ["stop", "kill"])
def test_static_values_are_back_after_every_end(host, end):
    raised(host)
    if end == "stop":
        host.check_output(f"systemctl stop {UNIT}")
    else:
        host.check_output(f"kill -9 {shown(host, 'MainPID')}")
        wait_for(lambda: log(host)[-1]["actor"] == "after the end")
        host.check_output(f"systemctl stop {UNIT}")
    assert (weight(host, WAITING), weight(host, BATCH)) == (100, 20)
    assert drop_ins(host) == []
    assert host.run("lichen-resources status").rc == 3


@pytest.mark.usefixtures("crowded")
def test_value_that_an_administrator_sets_is_his(host):
    raised(host)
    host.check_output("systemctl set-property --runtime %s CPUWeight=123", WAITING)
    try:
        wait_for(lambda: of_unit(host, WAITING)["knobs"]["cpu"]["taken_over"])
        assert weight(host, WAITING) == 123
        host.check_output(f"systemctl stop {UNIT}")
        assert weight(host, WAITING) == 123
    finally:
        host.check_output("rm -r /run/systemd/system.control/%s.d && systemctl daemon-reload", WAITING)


@pytest.mark.usefixtures("crowded")
def test_comparison_measures_both(host):
    told = "lichen-resources compare --json --rounds 2 --seconds 5 --settle 5 --output /run/lichen-compare.json"
    rows = json.loads(host.check_output(told))
    found = {(row["unit"], row["measure"]): row for row in rows}
    assert found[WAITING, "stalled cpu some"]["static"] > 0.1
    assert found[WAITING, "lateness p99"]["adjusted"] >= 0
    raw = json.loads(host.check_output("cat /run/lichen-compare.json"))
    assert len(raw["phases"]) == 4
    assert status(host)["mode"] == "adjusting"


def test_malformed_settings_are_refused_with_their_place(host):
    file = "/etc/lichen/resources.toml"
    host.check_output("cp %s /run/resources.toml", file)
    try:
        host.check_output("sed -i 's/cpu=5-100/cpu=500-100/; s/^port = .*/port = 0/' %s", file)
        host.run(f"systemctl restart {UNIT}")
        wait_for(lambda: "exchange them" in host.check_output(f"journalctl --unit {UNIT} --output cat --lines 50"))
        assert "port = 0: is to be from 1 to 65535" in host.check_output(
            f"journalctl --unit {UNIT} --output cat --lines 50"
        )
    finally:
        host.check_output("cp /run/resources.toml %s && systemctl restart %s", file, UNIT)
    status(host)


def test_only_root_looks_in(host):
    status(host)
    done = host.run("setpriv --reuid=65534 --regid=65534 --clear-groups lichen-resources status")
    assert done.rc == 3
    assert "only root" in done.stderr


def test_shipped_values_lie_within_their_bounds(host):
    for unit in status(host)["units"]:
        assert not [note for note in unit["notes"] if "outside of" in note]
        for name in PROPERTIES if unit["there"] else ():
            assert shown(host, name, unit["unit"])
