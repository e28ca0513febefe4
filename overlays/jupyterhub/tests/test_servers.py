"""A student's server: it computes, it is limited, and it sees nothing that is not the student's."""

import pytest

UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
UNIT = "jupyter-anna-singleuser.service"


def size(text: str) -> int:
    return int(text[:-1]) * UNITS[text[-1]] if text[-1] in UNITS else int(text)


def shell(kernel, command: str) -> str:
    """Run a shell command as the student and return what it printed, errors included."""
    return kernel.run(
        f"import subprocess; print(subprocess.run({command!r}, shell=True, text=True, capture_output=True))"
    )


def test_kernel_adds(anna_kernel):
    assert anna_kernel.run("1+1") == "2"


def test_kernel_fits_a_model(anna_kernel):
    code = """
from sklearn.linear_model import LinearRegression
import numpy as np
x = np.arange(10.0)[:, None]
model = LinearRegression().fit(x, 3 * x[:, 0] - 2)
print(round(float(model.coef_[0]), 6), round(float(model.intercept_), 6))
"""
    assert anna_kernel.run(code) == "3.0 -2.0"


@pytest.mark.long
def test_kernel_has_keras_on_torch(anna_kernel):
    # Where Matplotlib takes its time to look at the fonts, it says so before.
    assert anna_kernel.run("import keras; print(keras.backend.backend())").splitlines()[-1] == "torch"


def test_limits_are_the_declared_ones(host, anna, options):
    def shown(name: str) -> str:
        return host.check_output(f"systemctl show --property {name} --value {UNIT}")

    assert int(shown("MemoryMax")) == size(options["memory_limit"])
    seconds = float(shown("CPUQuotaPerSecUSec").removesuffix("s").replace("ms", "e-3"))
    assert seconds == pytest.approx(options["cpu_limit"])
    assert shown("Slice") == "classroom.slice"


def test_limits_are_in_the_kernel(host, anna, options):
    group = "/sys/fs/cgroup" + host.check_output(f"systemctl show --property ControlGroup --value {UNIT}")
    assert int(host.check_output(f"cat {group}/memory.max")) == size(options["memory_limit"])
    assert host.check_output(f"cat {group}/memory.swap.max") == "0"
    quota, period = map(int, host.check_output(f"cat {group}/cpu.max").split())
    assert quota / period == pytest.approx(options["cpu_limit"])


def test_kernel_runs_inside_the_limits(host, anna_kernel):
    assert UNIT in anna_kernel.run("print(open('/proc/self/cgroup').read())")


def story(host) -> str:
    """How the student's server ended, for a report: its unit, its last words, what the kernel killed."""
    unit = f"systemctl show {UNIT} --property Result,ExecMainCode,ExecMainStatus"
    words = f"journalctl --no-pager --lines 12 --unit {UNIT}"
    kernel = "journalctl --no-pager --dmesg --grep 'Killed process|segfault|traps:|invalid opcode' | tail --lines 6"
    return host.run(f"{unit}; {kernel}; {words}").stdout


def test_too_much_memory_costs_the_kernel_not_the_server(host, anna, options):
    """A kernel that outgrows the limit dies; the student's server answers as before."""
    greedy = anna.start_kernel()
    pid = int(greedy.run("import os; print(os.getpid())"))
    greedy.send(f"hoard = b'x' * {size(options['memory_limit']) + 2**28}")
    killed = f"for i in $(seq 300); do test -d /proc/{pid} || exit 0; sleep 1; done; exit 1"
    # The server starts a new process for the kernel; the old one must be gone.
    assert host.run(killed).rc == 0
    assert host.run(f"systemctl is-active {UNIT}").rc == 0, story(host)
    assert anna.server_api("GET", "status").ok
    events = "/sys/fs/cgroup" + host.check_output(f"systemctl show --property ControlGroup --value {UNIT}")
    assert "oom_kill 0" not in host.check_output(f"cat {events}/memory.events").splitlines()


def test_student_is_no_one_special(host, anna_kernel):
    assert anna_kernel.run("import os; print(os.getuid() >= 20000, os.getuid() == os.getgid(), os.getgroups())") in {
        f"True True [{(uid := host.check_output('id -u anna'))}]",
        "True True []",
        f"True True [{uid}, {uid}]",
    }
    status = anna_kernel.run("print(open('/proc/self/status').read())")
    assert "NoNewPrivs:\t1" in status
    assert "CapEff:\t0000000000000000" in status


def test_home_belongs_to_the_student_and_keeps_the_uid(host, anna):
    home = host.file("/srv/classroom/homes/anna")
    assert (home.user, home.group, home.mode) == ("anna", "anna", 0o700)
    assert host.check_output("getent passwd anna").split(":")[2] == str(home.uid)
    assert not host.file("/etc/passwd").contains("^anna:")


def test_students_cannot_see_each_other(anna_kernel, ben_kernel):
    assert anna_kernel.run("open('mine.txt', 'w').write('private')") == "7"
    assert ben_kernel.run("import os; print(os.listdir('/srv/classroom/homes'))") == "['ben']"
    assert "No such file" in shell(ben_kernel, "cat /srv/classroom/homes/anna/mine.txt")
    assert "/srv/classroom/homes/anna" not in ben_kernel.run("print(open('/proc/self/mountinfo').read())")
    assert "jupyter-anna" not in shell(ben_kernel, "cat /proc/[0-9]*/cmdline /proc/[0-9]*/cgroup")


def test_permissions_hold_without_the_sandbox(host, anna_kernel, ben_kernel):
    """Second line of defence: as ben, but with the whole file system in view."""
    attempt = host.run("setpriv --reuid ben --regid ben --init-groups cat /srv/classroom/homes/anna/mine.txt")
    assert "Permission denied" in attempt.stderr
    for folder in ("handin", "hub", "tls", "staff"):
        assert host.run(f"setpriv --reuid ben --regid ben --init-groups ls /srv/classroom/{folder}").rc != 0


def test_secrets_of_the_hub_are_out_of_sight(ben_kernel):
    assert ben_kernel.run("import os; print(sorted(os.listdir('/srv/classroom')))") == "['course', 'homes']"
    assert "Permission denied" in shell(ben_kernel, "cat /run/classroom/proxy.env")
    assert "Permission denied" in shell(ben_kernel, "cat /run/issue.d/60-classroom.issue")


def test_system_is_read_only(ben_kernel):
    result = shell(ben_kernel, "touch /usr/x /etc/x /var/x /srv/classroom/x; ls /root")
    assert result.count("Read-only file system") == 4
    assert "Permission denied" in result


def test_temporary_files_are_private(host, anna_kernel, ben_kernel):
    anna_kernel.run("open('/tmp/exam', 'w').write('x')")
    assert ben_kernel.run("import os; print(os.path.exists('/tmp/exam'))") == "False"


def test_course_folder_is_shared_and_read_only(host, anna_kernel):
    host.check_output("echo 'week one' > /srv/classroom/course/notes.txt")
    assert anna_kernel.run("print(open('course/notes.txt').read())") == "week one"
    attempts = ("echo x >> course/notes.txt", "touch course/new", "rm -f course/notes.txt")
    result = shell(anna_kernel, "; ".join(f"({attempt}) || echo refused" for attempt in attempts))
    assert result.count("refused\\n") == 3
    as_student = "setpriv --reuid anna --regid anna --init-groups touch /srv/classroom/course/new"
    assert "Permission denied" in host.run(as_student).stderr


def test_kernels_talk_in_private(anna_kernel):
    """Over TCP, every other student of the machine could subscribe to what this one's notebook prints."""
    code = "import json, ipykernel.connect as c; print(json.loads(c.get_connection_info())['transport'])"
    assert anna_kernel.run(code) == "ipc"


def test_teacher_fills_course_folder_and_course_file(teacher_kernel, anna_kernel):
    teacher_kernel.run("open('course/slides.md', 'w').write('# One')")
    assert anna_kernel.run("print(open('course/slides.md').read())") == "# One"
    teacher_kernel.run("open('staff/course.yaml', 'w').write('')")
    assert shell(anna_kernel, "ls /srv/classroom/staff").count("No such file") == 1
    teacher_kernel.run("import os; os.remove('staff/course.yaml')")


def test_idle_culler_runs_with_the_declared_timeout(host, anna, options):
    assert f"jupyterhub_idle_culler --timeout={options['idle_timeout']}" in host.check_output("ps -e -o args")
