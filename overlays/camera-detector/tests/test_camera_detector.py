"""The way from pictures to what is in them: what is found is where GStreamer's test picture has it."""

import json
import math
import time

import pytest

RADIUS = 20  # pixels; videotestsrc's ball


def ball(number: int, width: int, height: int) -> tuple[float, float]:
    """Middle of the ball in picture ``number``; gstvideotestsrc's motion "wavy" (gst/videotestsrc/videotestsrc.c)."""
    x = RADIUS + (0.5 + 0.5 * math.sin(2 * math.pi * number / 200)) * (width - 2 * RADIUS)
    y = RADIUS + (0.5 + 0.5 * math.sin(2 * math.pi * math.sqrt(2) * number / 200)) * (height - 2 * RADIUS)
    return x, y


def status(host):
    return json.loads(host.check_output("camera-detector status --json"))


def samples(host, options):
    """Metrics by name and labels."""
    code = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
    text = host.check_output("/usr/bin/python3 -I -c %s %s", code, f"http://127.0.0.1:{options['port']}/metrics")
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def wait_for(host, wanted, patience: float = 300.0):
    """The first status that is as wanted. While the service starts there is none."""
    deadline = time.monotonic() + patience
    while True:
        done = host.run("camera-detector status --json")
        if done.rc == 0 and wanted(told := json.loads(done.stdout)):
            return told
        assert time.monotonic() < deadline, done.stdout + done.stderr
        time.sleep(1)


def main_process(host):
    return host.check_output("systemctl show camera-detector.service -p MainPID --value")


@pytest.fixture
def on_test_picture(options, host):
    """These tests know the shipped network and the test picture; a profile with others has tests of its own."""
    if options["device"] == "auto" and not host.file("/dev/video0").exists:
        return options["model"].endswith("/ball.onnx")
    return options["device"] == "test" and options["model"].endswith("/ball.onnx")


def test_service_runs_and_feeds_its_watchdog(host):
    shown = host.check_output("systemctl show camera-detector.service -p ActiveState -p WatchdogUSec -p NRestarts")
    assert set(shown.splitlines()) == {"ActiveState=active", "WatchdogUSec=1min", "NRestarts=0"}


def test_journal_is_not_flooded(host):
    """ONNX Runtime has a thousand lines to say at each start that help nobody."""
    said = host.check_output("journalctl --boot --unit camera-detector.service --output cat --no-pager").splitlines()
    assert len(said) < 50 * len([line for line in said if line.startswith("Started")]), said[:50]


def test_pictures_keep_coming(host):
    first = status(host)
    wait_for(host, lambda told: told["looked_at"] > first["looked_at"] + 2)
    assert "pictures looked at" in host.check_output("camera-detector status")


def test_ball_is_found_where_it_is(host, on_test_picture):
    """Five pictures, each at another place; a box's corner may be off by a cell of the network."""
    if not on_test_picture:
        return
    seen = {}
    deadline = time.monotonic() + 300
    while len(seen) < 5:
        assert time.monotonic() < deadline, seen
        told = status(host)
        seen[told["picture"]] = told
    for number, told in seen.items():
        x, y = ball(number, *told["size"])
        assert len(told["finds"]) == 1, told
        (find,) = told["finds"]
        assert find["box"] == pytest.approx([x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS], abs=4), told


def test_latency_is_in_the_histogram(host, options):
    before = samples(host, options)
    wait_for(host, lambda told: told["looked_at"] > before["camera_detector_latency_seconds_count"] + 2)
    after = samples(host, options)
    for part in ("latency", "inference"):
        name = f"camera_detector_{part}_seconds"
        buckets = [value for sample, value in after.items() if sample.startswith(f"{name}_bucket")]
        assert after[f"{name}_count"] > before[f"{name}_count"]
        assert buckets == sorted(buckets)
        assert buckets[-1] == after[f"{name}_count"]
    # The whole takes no less than its part.
    assert after["camera_detector_latency_seconds_sum"] >= after["camera_detector_inference_seconds_sum"]


def test_metrics_are_for_this_machine_only(host, options):
    assert host.socket(f"tcp://127.0.0.1:{options['port']}").is_listening
    assert not host.socket(f"tcp://0.0.0.0:{options['port']}").is_listening


def test_priority_is_the_one_asked_for(host, options):
    pid = main_process(host)
    policy, priority = host.check_output(f"ps -L -o cls=,rtprio= -p {pid} | sort -u").split()
    assert (policy, priority) == (("FF", str(options["priority"])) if options["priority"] else ("TS", "-"))


def test_service_has_few_rights(host):
    pid = main_process(host)
    fields = dict(line.split(":\t", 1) for line in host.check_output(f"cat /proc/{pid}/status").splitlines())
    assert fields["CapEff"] == "0" * 16
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"
    assert fields["Uid"].split()[0] != "0"


def test_service_that_hangs_is_started_anew(host):
    """A stopped process feeds its watchdog no more than one that waits for ever. The time is set shorter for this."""
    folder = "/run/systemd/system/camera-detector.service.d"
    host.check_output(f"mkdir -p {folder} && printf '[Service]\\nWatchdogSec=15\\n' > {folder}/test.conf")
    try:
        host.check_output("systemctl daemon-reload && systemctl restart camera-detector.service")
        before = main_process(host)
        host.check_output("systemctl kill --kill-whom=main --signal=STOP camera-detector.service")
        deadline = time.monotonic() + 300
        while main_process(host) in {before, "0"}:
            assert time.monotonic() < deadline
            time.sleep(1)
        wait_for(host, lambda told: told["looked_at"] > 2)
    finally:
        host.check_output(f"rm -r {folder} && systemctl daemon-reload && systemctl restart camera-detector.service")
    assert "Watchdog timeout" in host.check_output("journalctl --boot --unit camera-detector.service --no-pager")


def test_real_camera_takes_over_from_the_test_picture(host, options):
    """Where the kernel has its virtual camera: it is V4L2 as any other, and the service goes over to it by itself."""
    if options["device"] != "auto" or host.run("modinfo vivid").rc != 0 or host.file("/dev/video0").exists:
        return
    host.check_output("modprobe vivid n_devs=1 node_types=0x1")
    try:
        told = wait_for(host, lambda told: told["source"] == "/dev/video0")
        wait_for(host, lambda later: later["looked_at"] > told["looked_at"] + 2)
        assert samples(host, options)["camera_detector_test_picture"] == 0
    finally:
        host.check_output("systemctl stop camera-detector.service && rmmod vivid")
        host.check_output("systemctl start camera-detector.service")
    wait_for(host, lambda told: told["source"] == "test")
