"""What tools print, as they printed it in a guest."""

from __future__ import annotations

import pytest
from sched_bench import outputs
from sched_bench.counters import Counts, between, switches, waits

HACKBENCH = """\
Running in process mode with 2 groups using 10 file descriptors each (== 20 tasks)
Each sender will pass 100 messages of 100 bytes
Time: 1.943
"""
STRESS = """\
stress-ng: info:  [311] defaulting to a 1 day run per stressor
stress-ng: info:  [311] dispatching hogs: 2 cpu, 2 switch, 2 pipe
stress-ng: warn:  [314] switch: WARNING: finished prematurely after just 2.94 secs
stress-ng: metrc: [311] stressor       bogo ops real time  usr time  sys time   bogo ops/s     bogo ops/s
stress-ng: metrc: [311]                           (secs)    (secs)    (secs)   (real time) (usr+sys time)
stress-ng: metrc: [311] cpu                  15      2.72      1.76      0.41         5.52           6.92
stress-ng: metrc: [311] switch             1307      2.25      0.19      1.59       579.98         734.61
stress-ng: metrc: [311] pipe               1814      2.33      0.13      1.51       779.05        1106.30
stress-ng: info:  [311] skipped: 0
stress-ng: info:  [311] successful run completed in 3.25 secs
"""
STAT = """\
cpu  1990 0 8669 8310 66 0 454 0 0 0
cpu0 911 0 4960 3492 40 0 242 0 0 0
intr 12 0 0
ctxt 37586
btime 1795750600
procs_running 2
"""
SCHEDSTAT = """\
version 17
timestamp 4294927638
cpu0 0 0 0 0 0 0 106106101016 195515513283 13861
domain0 MC 3 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
cpu1 0 0 0 0 0 0 90992307727 199558952646 17001
"""


def test_hackbench() -> None:
    assert outputs.hackbench(HACKBENCH, 1943)["throughput"] == pytest.approx(1000)


def test_perf_bench() -> None:
    assert outputs.perf_simple("5.209\n", 5209)["throughput"] == pytest.approx(1000)


def test_stress_ng() -> None:
    found = outputs.stress_ng(STRESS)
    assert found["throughput"] == pytest.approx((5.52 * 579.98 * 779.05) ** (1 / 3))
    assert (found["cpu_rate"], found["switch_rate"], found["pipe_rate"]) == (5.52, 579.98, 779.05)


def test_own_programs() -> None:
    assert outputs.own('a warning\n{"throughput": 3}\n') == {"throughput": 3}


@pytest.mark.parametrize("text", ["", "Time:\n", "Time: 0.000\n", "Time: 1.2.3\n", "hackbench: fork failed\n"])
def test_hackbench_without_a_time_is_refused(text: str) -> None:
    with pytest.raises(outputs.OutputError, match="hackbench"):
        outputs.hackbench(text, 10)


@pytest.mark.parametrize("text", ["", "0.000", "nan", "killed"])
def test_perf_without_a_time_is_refused(text: str) -> None:
    with pytest.raises(outputs.OutputError, match="perf bench"):
        outputs.perf_simple(text, 10)


def test_stress_ng_that_did_nothing_is_refused() -> None:
    with pytest.raises(outputs.OutputError, match="no metrics"):
        outputs.stress_ng("stress-ng: info:  [1] passed: 0\n")
    with pytest.raises(outputs.OutputError, match="pipe did nothing"):
        outputs.stress_ng(STRESS.replace("779.05", "  0.00"))


@pytest.mark.parametrize("text", ["", "Traceback", "[1]", "3"])
def test_own_program_without_a_result_is_refused(text: str) -> None:
    with pytest.raises(outputs.OutputError, match="result"):
        outputs.own(text)


def test_counts_of_the_machine() -> None:
    assert switches(STAT) == 37586
    assert waits(SCHEDSTAT) == (195515513283 + 199558952646, 13861 + 17001)


def test_what_the_machine_does_not_tell_is_no_value() -> None:
    before, after = Counts(10, -1, -1, -1), Counts(30, -1, -1, -1)
    assert between(before, after) == {"switches": 20}
    assert between(Counts(0, 0, 0, 0), Counts(5, 8000, 2, 1)) == {"switches": 5, "migrations": 1, "wait_mean_us": 4.0}
