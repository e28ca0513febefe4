"""Real-time priority is honoured, and given to those who may have it.

An emulated machine's milliseconds say nothing: what is asserted is what one thread gets beside another on the same
processor at the same time.
"""

import json

import pytest

# An ordinary process that never sleeps and one of the given policy share the last processor for some seconds. Printed
# is the time that each had, in nanoseconds.
RACE = """
last=$(($(nproc) - 1))
spin() { exec taskset --cpu-list "$last" "$@" sh -c 'while :; do :; done'; }
spin nice -n 0 & other=$!
spin $0 & racer=$!
sleep 1
set -- $(cut -d' ' -f1 /proc/$other/schedstat /proc/$racer/schedstat)
sleep 5
set -- "$@" $(cut -d' ' -f1 /proc/$other/schedstat /proc/$racer/schedstat)
kill -9 $other $racer
echo $(($3 - $1)) $(($4 - $2))
"""
# A real-time thread that sleeps between its turns, an ordinary one that does the same, and four that never sleep.
BOTH = """
last=$(($(nproc) - 1))
for hog in 1 2 3 4; do taskset --cpu-list "$last" nice -n -10 sh -c 'while :; do :; done' & hogs="$hogs $!"; done
folder=$(mktemp --directory)
measure() { cyclictest --quiet --mlockall --affinity="$last" --threads=1 --interval=10000 --loops=500 "$@"; }
measure --policy=other --json="$folder/other" >&2 & ordinary=$!
measure --policy=fifo --priority=80 --json="$folder/fifo" >&2
wait $ordinary
kill -9 $hogs
cat "$folder/fifo" && echo ---- && cat "$folder/other"
rm -r "$folder"
"""
# A person whose group it is, known for this boot only: nothing is written to /etc.
PERSON = """
mkdir -p /run/userdb
gid=$(getent group realtime | cut -d: -f3)
cat > /run/userdb/timely.user <<END
{"userName": "timely", "uid": 64321, "gid": $gid, "disposition": "regular"}
END
ln -sf timely.user /run/userdb/64321.user
"""


@pytest.fixture
def person(host):
    host.check_output("sh -c %s", PERSON)
    yield "timely"
    host.check_output("rm -r /run/userdb")


def test_tuning_is_applied(host):
    assert host.sysctl("vm.stat_interval") == 10
    assert host.sysctl("kernel.timer_migration") == 0


def race(host, policy: str) -> float:
    """Share of the time of both that the ordinary process got."""
    other, racer = map(int, host.check_output("sh -c %s %s", RACE, policy).split())
    return other / (other + racer)


def test_realtime_thread_goes_first_and_leaves_the_others_a_rest(host):
    """Two ordinary ones share evenly; beside a real-time one the ordinary one starves but for a twentieth."""
    assert race(host, "nice -n 0") == pytest.approx(0.5, abs=0.15)
    rest = race(host, "chrt --fifo 10")
    assert 0 < rest < 0.15


def test_realtime_thread_wakes_up_sooner_under_load(host, artifacts):
    fifo, ordinary = host.check_output("sh -c %s", BOTH).split("----")
    (artifacts / "cyclictest-fifo.json").write_text(fifo, encoding="utf-8")
    (artifacts / "cyclictest-other.json").write_text(ordinary, encoding="utf-8")
    first, second = (json.loads(text)["thread"]["0"] for text in (fifo, ordinary))
    assert first["cycles"] == second["cycles"] == 500
    assert first["avg"] < second["avg"]


def test_interrupts_have_threads_with_priority(host):
    """On a real-time kernel; on others only drivers that want it have such threads."""
    if "PREEMPT_RT" not in host.check_output("uname -v").split():
        return
    lines = [line.split() for line in host.check_output("ps -e -o cls=,rtprio=,comm=").splitlines()]
    handlers = [(policy, priority) for policy, priority, name, *_ in lines if name.startswith("irq/")]
    assert len(handlers) > 3
    # Some handlers step back a little to let others through; none is ordinary.
    assert {policy for policy, _ in handlers} == {"FF"}
    assert ("FF", "50") in handlers


def test_group_may_ask_for_priority_and_nobody_else(host, options, person):
    def asks(name: str, priority: int) -> bool:
        return host.run(f"runuser -u {name} -- chrt --fifo {priority} true").rc == 0

    assert host.check_output(f"id -nG {person}") == "realtime"
    assert asks(person, options["priority"])
    assert not asks(person, options["priority"] + 1)
    assert not asks("nobody", 1)
    assert host.check_output(f"runuser -u {person} -- sh -c 'ulimit -l'") == "unlimited"
