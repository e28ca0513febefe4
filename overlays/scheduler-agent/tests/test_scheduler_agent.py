"""The scheduler's agent in a booted image: it observes, schedules where the kernel can, and returns to EEVDF."""

import json

import guest_agent
import pytest
from guest_agent import PYTHON, wait_for

UNIT = "lichen-sched.service"
SETTINGS = "/etc/lichen/sched.toml"
STATE = "/sys/kernel/sched_ext/state"


def status(host):
    return guest_agent.status(host, "lichen-sched")


def shown(host, name):
    return guest_agent.shown(host, UNIT, name)


def told(host, text):
    """Lines of the journal, of this boot, with a text."""
    return [line for line in host.check_output(f"journalctl -b -u {UNIT} -o cat").splitlines() if text in line]


def in_force(host):
    """Whether the kernel says that a scheduler of BPF programs decides."""
    return host.file(STATE).exists and host.file(STATE).content_string.strip() == "enabled"


@pytest.fixture(autouse=True, scope="module")
def observing(host, options):
    """Bursts are gathered whatever the image's setting is; where that is off, the agent does not even run before."""
    if options["mode"] == "off":
        assert json.loads(host.check_output("lichen-sched status --json"))["mode"] == "off"
        assert shown(host, "ActiveState") == "inactive"
    else:
        status(host)
    host.check_output("lichen-sched observe")
    yield
    host.check_output("lichen-sched configured")


@pytest.fixture
def able(host):
    """A kernel that can have our scheduler."""
    if not host.file("/sys/kernel/sched_ext").exists:
        pytest.skip("this kernel has no sched_ext")


@pytest.fixture
def active(host, able):
    """Our scheduler in force, by a person's wish; EEVDF, observed, afterwards."""
    host.check_output("lichen-sched on")

    def comes():
        now = status(host)
        # Students' servers that other tests have left have CPU quotas; beside them ours does not come into force.
        for cgroup in now["cpu_quotas"]:
            host.run("systemctl stop %s", cgroup.rsplit("/", 1)[1])
        return now["mode"] == "active"

    wait_for(comes)
    yield
    host.check_output("lichen-sched observe")


def test_service_runs_and_feeds_its_watchdog(host):
    guest_agent.feeds_its_watchdog(host, UNIT)


def test_service_has_few_rights(host):
    status(host)
    guest_agent.has_few_rights(host, UNIT)


def test_systemd_thinks_well_of_it(host):
    """At most 2.5 of 10, the lower the better."""
    done = host.run(f"systemd-analyze security --no-pager --threshold=25 {UNIT}")
    assert done.rc == 0, done.stdout


def test_watcher_does_not_wait_for_what_it_watches(host):
    """The loop is of a real-time class, which is above sched_ext; whatever it starts is not, and may hold the GIL."""
    status(host)
    lines = host.check_output(f"ps -L -o lwp=,cls= -p {shown(host, 'MainPID')}").splitlines()
    classes = {int(lwp): name for lwp, name in (line.split() for line in lines)}
    main = int(shown(host, "MainPID"))
    assert classes.pop(main) == "RR"
    assert set(classes.values()) == {"TS"}


def test_kernels_support_is_told_truthfully(host):
    support = status(host)["support"]
    if host.file("/sys/kernel/sched_ext").exists:
        assert support == ""
    else:
        assert "has no sched_ext" in support


def test_bursts_and_delays_are_seen(host):
    wait_for(lambda: status(host)["model"]["samples"] > 0 and status(host)["delays"]["counted"] > 0)
    now = status(host)
    assert now["counters"]["wakeups"] > 0
    assert now["not_understood"] == 0
    assert 0 < now["delays"]["p50"] <= now["delays"]["p99"] <= now["delays"]["longest"]


def test_status_is_for_people_too(host):
    status(host)
    text = host.check_output("lichen-sched status")
    assert text.startswith("mode ")
    assert "predictor: " in text


def test_metrics_answer_on_this_machine_only(host, options):
    status(host)
    code = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
    url = f"http://127.0.0.1:{options['port']}/metrics"

    def samples():
        text = host.check_output("/usr/bin/python3 -I -c %s %s", code, url)
        found = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        return found if 'lichen_sched_mode{mode="observe"}' in found else None

    found = wait_for(samples)
    assert float(found["lichen_sched_supported"]) == host.file("/sys/kernel/sched_ext").exists
    assert 'lichen_sched_delay_seconds{quantile="0.99"}' in found
    assert not host.socket(f"tcp://0.0.0.0:{options['port']}").is_listening


def test_only_root_asks(host):
    status(host)
    for order in ("status", "off", "on"):
        done = host.run(f"setpriv --reuid=65534 --regid=65534 --clear-groups lichen-sched {order}")
        assert done.rc in {1, 3}, order
    assert status(host)["wish"] == "observe"


def test_scheduler_comes_and_goes_by_command(host, active):
    assert in_force(host)
    assert "lichen" in host.file("/sys/kernel/sched_ext/root/ops").content_string
    host.check_output("lichen-sched observe")
    assert not in_force(host)
    assert status(host)["mode"] == "observe"


def test_threads_that_take_it_away_are_above_real_time_tasks(host, active):
    """A rule of udev's has seen to it; which threads these are, test_kernel.py shows."""
    code = """if True:
        import json, os
        from lichen_sched.threads import PRIORITY, needed
        wanted = (os.SCHED_FIFO, PRIORITY)
        of = lambda pid: (os.sched_getscheduler(pid), os.sched_getparam(pid).sched_priority)
        print(json.dumps({name: of(pid) == wanted for pid, name in needed().items()}))
    """

    def priorities():
        found = json.loads(host.check_output(PYTHON, code))
        return found if all(found.values()) else None

    names = wait_for(priorities)
    assert any(name.startswith("sched_ext_") for name in names)
    assert any(name in {"rcu_preempt", "rcu_sched"} for name in names)


def test_cpu_quota_brings_eevdf_back_while_it_is_set(host, active):
    """Ours would not keep it. A quota in force again is the kernel's: the unit gets what it says."""
    host.check_output("systemd-run --quiet --unit=quota --property=CPUQuota=20% sh -c 'while :; do :; done'")
    try:
        why = wait_for(lambda: (s := status(host))["mode"] == "observe" and s["why"])
        assert "CPU quotas are set" in why
        assert "/system.slice/quota.service" in why
        assert not in_force(host)
        assert "CPU quotas: of 1 cgroups" in host.check_output("lichen-sched status")
        throttled = "grep nr_throttled /sys/fs/cgroup/system.slice/quota.service/cpu.stat"
        wait_for(lambda: int(host.check_output(throttled).split()[1]) > 0)
    finally:
        host.check_output("systemctl stop quota.service")
    wait_for(lambda: status(host)["mode"] == "active")


def test_off_holds_over_a_restart(host):
    try:
        host.check_output("lichen-sched off")
        assert status(host)["mode"] == "off"
        host.check_output(f"systemctl restart {UNIT}")
        assert shown(host, "ActiveState") == "inactive"
        assert status(host)["wish"] == "off"
        assert not in_force(host)
        # It works without the agent, too.
        host.check_output(f"lichen-sched off && systemctl start {UNIT}")
        assert shown(host, "ActiveState") == "inactive"
    finally:
        host.check_output("lichen-sched observe")
    assert shown(host, "ActiveState") == "active"


def test_end_by_the_kernel_is_seen_told_and_waited_after(host, active):
    """The kernel's key against schedulers, SysRq S, ends ours as its watchdog does."""
    before = status(host)["returns"]["count"]
    host.check_output("echo S > /proc/sysrq-trigger")
    now = wait_for(lambda: (s := status(host))["mode"] == "observe" and s)
    assert now["returns"]["count"] == before + 1
    assert "the kernel ended our scheduler" in now["returns"]["reasons"][-1][1]
    assert "is tried again in" in now["why"]
    assert told(host, "back to EEVDF: the kernel ended our scheduler")
    assert not in_force(host)


def test_agents_own_watchdog_returns_to_eevdf(host, active):
    """With limits that no machine keeps."""
    host.check_output(
        f"cp {SETTINGS} /run/sched.toml && sed -i 's/^longest_wait_ms = .*/longest_wait_ms = 10/' {SETTINGS}"
    )
    work = "while :; do :; done"
    try:
        host.check_output(f"systemctl restart {UNIT}")
        for number in range(8):
            host.check_output(f"systemd-run --quiet --unit=hog{number} --property=RuntimeMaxSec=600 sh -c %s", work)
        assert wait_for(lambda: told(host, "back to EEVDF: a task waited up to"))
        assert "for a processor, the limit is 0.01 s" in status(host)["returns"]["reasons"][-1][1]
    finally:
        host.run("systemctl stop 'hog*.service'")
        host.check_output(f"cp /run/sched.toml {SETTINGS} && systemctl restart {UNIT}")
        status(host)


def test_killed_agent_takes_its_scheduler_with_it(host, active):
    main = shown(host, "MainPID")
    host.check_output(f"kill -9 {main}")
    wait_for(lambda: shown(host, "MainPID") not in {main, "0"})
    assert "had ended while our scheduler was in force" in status(host)["returns"]["reasons"][-1][1]
    assert not in_force(host)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("slice_min_us = -5", "slice_min_us = -5: is to be from 100"),
        ('mode = "\\u001b[31m"', "mode = "),
        ("latency_factor = nan", "latency_factor = nan"),
    ],
)
def test_hostile_settings_are_refused_with_their_place(host, line, complaint):
    name = line.split(" ", maxsplit=1)[0]
    host.check_output(f"cp {SETTINGS} /run/sched.toml && sed -i '/^{name} = /d' {SETTINGS}")
    host.check_output("printf '%%s\\n' %s >> " + SETTINGS, line)
    try:
        done = host.run("PYTHONPATH=/usr/lib/lichen/python /usr/bin/python3 -B -m lichen_sched.service")
        assert done.rc == 1
        assert done.stderr.startswith(f"lichen-sched: {SETTINGS}: {complaint}"), done.stderr
        assert "\x1b" not in done.stderr
    finally:
        host.check_output(f"cp /run/sched.toml {SETTINGS}")


def test_damaged_memory_is_told_and_means_eevdf(host, able):
    host.check_output(f"systemctl stop {UNIT} && echo rubbish > /var/lib/lichen-sched/state.json")
    host.check_output(f"systemctl start {UNIT}")
    status(host)
    assert told(host, "state.json is damaged")
    host.check_output("lichen-sched observe")


@pytest.mark.long
def test_model_is_learned_beside_the_agent(host):
    """By the image's own scikit-learn, in a process that ends; in fixed point it predicts what scikit-learn does."""
    code = """if True:
        import numpy as np
        from sklearn.ensemble import GradientBoostingRegressor
        from lichen_sched.ensemble import exported
        from lichen_sched.layout import FEATURES, LEAST, MOST
        chance = np.random.default_rng(0)
        x = chance.integers(0, 6000, (500, FEATURES))
        y = 12 + (x[:, 0] > 3000) * 8 + chance.normal(0, 0.1, 500)
        fitted = GradientBoostingRegressor(n_estimators=32, max_depth=5).fit(x, y)
        theirs = np.clip(fitted.predict(x) * 256, LEAST, MOST)
        print(float(np.abs(exported(fitted).predict(x) - theirs).max()))
    """
    assert float(host.check_output(PYTHON, code)) <= 16.5


def test_audit_names_users_and_cgroups(host):
    wait_for(lambda: json.loads(host.check_output("lichen-sched audit --json"))["cgroups"])
    report = json.loads(host.check_output("lichen-sched audit --json"))
    assert any(row["cgroup"].startswith("/system.slice/") for row in report["cgroups"])
    assert any(row["uid"] == 0 for row in report["users"])
    assert "predicted differently" in host.check_output("lichen-sched audit")


def test_memory_stays_below_its_bound(host):
    status(host)
    assert int(shown(host, "MemoryPeak")) < int(shown(host, "MemoryMax"))
