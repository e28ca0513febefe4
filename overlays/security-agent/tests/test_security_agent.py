"""The agent in a booted image: it sees, tells, defends itself, and comes back."""

import json
import urllib.parse

import guest_agent
import pytest
from guest_agent import PYTHON, wait_for

UNIT = "lichen-guard.service"
RULES = "/etc/lichen/guard/rules"
STAGE = "/var/tmp/lichen-guard-stage"
STAGE_RULE = f"""\
- rule: Stage of the tests
  desc: something was written below {STAGE}
  condition: evt.type in (open, openat, openat2) and evt.is_open_write = true and fd.name startswith {STAGE}/
  output: written %fd.name by %proc.cmdline
  priority: WARNING
"""


def status(host):
    return guest_agent.status(host, "lichen-guard")


def shown(host, name):
    return guest_agent.shown(host, UNIT, name)


def alerts(host, rule):
    lines = host.check_output("lichen-guard events --json --rule %s", rule).splitlines()
    return [json.loads(line) for line in lines]


def journal(host, rule):
    lines = host.check_output("journalctl --boot --output json --no-pager LICHEN_RULE=%s", rule).splitlines()
    return [json.loads(line) for line in lines]


def write(host, name, text):
    host.check_output("mkdir -p %s && printf %%s %s > %s", RULES, text, f"{RULES}/{name}")


@pytest.fixture
def stage(host):
    """A folder below which everything that is written is told."""
    write(host, "zz-stage.yaml", STAGE_RULE)
    host.check_output(f"mkdir -p {STAGE} && systemctl reload {UNIT}")
    assert "Stage of the tests" in status(host)["rules"]["loaded"]
    yield STAGE
    host.check_output(f"rm -rf {STAGE} {RULES}/zz-stage.yaml && systemctl reload {UNIT}")


def test_service_runs_and_feeds_its_watchdog(host):
    assert shown(host, "WatchdogUSec") == "2min"
    guest_agent.feeds_its_watchdog(host, UNIT)


def test_service_has_few_rights(host):
    status(host)
    guest_agent.has_few_rights(host, UNIT)


def test_systemd_thinks_well_of_it(host):
    """At most 2.5 of 10, the lower the better."""
    done = host.run(f"systemd-analyze security --no-pager --threshold=25 {UNIT}")
    assert done.rc == 0, done.stdout


def test_sensor_is_attached(host):
    hooks = status(host)["hooks"]
    for hook in ("tp_btf/sched_process_exec", "lsm/file_open", "lsm/socket_connect", "lsm/bprm_check_security"):
        assert hooks[hook] == "attached"


def test_rules_of_the_image_are_in_force(host):
    rules = status(host)["rules"]
    assert rules["refused"] == []
    assert "Self-test of lichen-guard" in rules["loaded"]
    assert host.run("lichen-guard test --rules /usr/share/lichen/guard/rules/*.yaml").rc == 0


def test_harmless_attack_is_seen(host):
    status(host)
    told = host.check_output("lichen-guard test --timeout 300")
    assert told.startswith("seen: the alert came after "), told


def test_status_is_for_people_too(host):
    status(host)
    told = host.check_output("lichen-guard status")
    assert "hooks: " in told
    assert "rules: " in told


def test_metrics_answer_on_this_machine_only(host, options):
    status(host)
    code = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
    text = host.check_output("/usr/bin/python3 -I -c %s %s", code, f"http://127.0.0.1:{options['port']}/metrics")
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    assert float(samples['lichen_guard_events_total{kind="exec"}']) > 0
    assert "lichen_guard_latency_seconds_count" in samples
    assert not host.socket(f"tcp://0.0.0.0:{options['port']}").is_listening


def test_alert_is_in_log_and_journal(host, stage):
    host.check_output(f"touch {stage}/plain")
    wanted = f"{stage}/plain"
    told = wait_for(lambda: [a for a in alerts(host, "Stage of the tests") if a["fields"]["fd.name"] == wanted])
    assert told[0]["priority"] == "warning"
    (entry,) = [e for e in journal(host, "Stage of the tests") if e["LICHEN_NUMBER"] == str(told[0]["number"])]
    assert (entry["PRIORITY"], entry["LICHEN_SOURCE"], entry["SYSLOG_IDENTIFIER"]) == ("4", "rules", "lichen-guard")
    assert entry["LICHEN_FD_NAME"] == wanted
    assert "proc.cmdline = " in host.check_output("lichen-guard explain %s", str(told[0]["number"]))


def test_hostile_names_come_out_escaped(host, stage):
    """ESC, bytes that are no UTF-8, marks that turn the writing direction, the longest name and a path of 4 KB."""
    names = [b"esc-\x1b]0;owned\x07", b"bytes-\xff\xfe", "turned-\u202eexe.txt".encode(), b"line-\nfeed", b"n" * 255]
    quoted = " ".join(map(urllib.parse.quote, names))
    code = f"""if True:
        import os, urllib.parse
        os.chdir({stage!r})
        for name in {quoted!r}.split():
            open(urllib.parse.unquote_to_bytes(name), "w").close()
        for step in range(15):
            os.mkdir("d" * 250)
            os.chdir("d" * 250)
        open("deep", "w").close()
    """
    host.check_output("/usr/bin/python3 -I -c %s", code)
    seen = wait_for(
        lambda: (
            (found := {a["fields"]["fd.name"] for a in alerts(host, "Stage of the tests")})
            and any(name.startswith(f"{stage}/ddd") for name in found)
            and found
        )
    )
    for name in ("esc-\\x1b]0;owned\\x07", "bytes-\\xff\\xfe", "turned-\\u202eexe.txt", "line-\\x0afeed", "n" * 255):
        assert f"{stage}/{name}" in seen
    for line in host.check_output("lichen-guard events").splitlines():
        assert line.isprintable()
    for entry in journal(host, "Stage of the tests"):
        # What does not print would be told as a list of bytes.
        assert isinstance(entry["MESSAGE"], str)
        assert entry["MESSAGE"].isprintable()


def test_malformed_rules_are_refused_with_their_place_and_the_old_ones_stay(host, stage):
    broken = STAGE_RULE.replace("Stage of the tests", "Broken").replace("evt.type in", "evt.type in in")
    write(host, "zz-broken.yaml", broken)
    file = f"{RULES}/zz-broken.yaml"
    try:
        checked = host.run("lichen-guard test --rules %s", file)
        assert checked.rc == 2
        assert checked.stderr.startswith(f"{file}:3:"), checked.stderr
        host.check_output(f"systemctl reload {UNIT}")
        told = status(host)
        assert told["rules"]["refused"][0].startswith(f"{file}:3:")
        assert "Stage of the tests" in told["rules"]["loaded"]
        assert any(f"{file}:3:" in entry["MESSAGE"] for entry in journal(host, "Rules refused"))
        host.check_output(f"touch {stage}/still")
        wait_for(lambda: any(a["fields"]["fd.name"] == f"{stage}/still" for a in alerts(host, "Stage of the tests")))
    finally:
        host.check_output(f"rm {file} && systemctl reload {UNIT}")
    assert status(host)["rules"]["refused"] == []


@pytest.mark.long
def test_model_is_learned_beside_the_agent(host):
    """By the image's own scikit-learn, in a process that ends; the agent's scores are scikit-learn's."""
    code = """if True:
        import time
        import numpy as np
        from sklearn.ensemble import IsolationForest
        from lichen_guard.features import NAMES
        from lichen_guard.forest import exported
        from lichen_guard.learning import Learning
        rows = np.random.default_rng(0).normal(size=(200, len(NAMES))).astype(np.float32)
        learning = Learning(rows, 0.02, 0)
        while not (model := learning.result()):
            time.sleep(0.5)
        fitted = IsolationForest(n_estimators=20, random_state=0).fit(rows)
        print(model.windows, float(np.abs(exported(fitted).scores(rows) + fitted.score_samples(rows)).max()))
    """
    windows, difference = host.check_output(PYTHON, code).split()
    assert windows == "200"
    assert float(difference) < 1e-9


def test_model_learns_first(host, options):
    told = status(host)["model"]
    assert told["state"] in ({"learning", "judging"} if options["model"] else {"off"})


def test_memory_stays_below_its_bound(host):
    status(host)
    assert int(shown(host, "MemoryPeak")) < int(shown(host, "MemoryMax"))


def test_killed_agent_comes_back_and_both_are_told(host):
    status(host)
    before = shown(host, "MainPID")
    ends, returns = len(journal(host, "Sensor detached")), len(journal(host, "Sensor was detached"))
    host.check_output(f"kill -9 {before}")
    wait_for(lambda: shown(host, "MainPID") not in {before, "0"} and shown(host, "ActiveState") == "active")
    assert "signal" in wait_for(lambda: journal(host, "Sensor detached")[ends:])[0]["MESSAGE"]
    wait_for(lambda: journal(host, "Sensor was detached")[returns:])
    assert host.run("lichen-guard test --timeout 300").rc == 0


def test_stop_is_told_and_nobody_answers_then(host):
    status(host)
    before = len(alerts(host, "Agent stopped"))
    try:
        host.check_output(f"systemctl stop {UNIT}")
        assert len(alerts(host, "Agent stopped")) == before + 1
        assert host.run("lichen-guard status").rc == 3
    finally:
        host.check_output(f"systemctl start {UNIT}")
    assert status(host)["hooks"]


def test_only_root_looks_in(host):
    status(host)
    done = host.run("setpriv --reuid=65534 --regid=65534 --clear-groups lichen-guard status")
    assert done.rc == 3
    assert "only root" in done.stderr
    assert host.file("/etc/lichen/guard.toml").mode == 0o600
