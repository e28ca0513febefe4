"""Hand-ins: stored where students cannot reach them, kept every time, readable by the teacher."""

import pytest

HANDIN = "/srv/classroom/handin"


def shell(kernel, command: str) -> str:
    code = f"import subprocess; p = subprocess.run({command!r}, shell=True, text=True, capture_output=True)"
    return kernel.run(f"{code}; print(p.returncode, p.stdout, p.stderr)")


@pytest.fixture(scope="module")
def handed_in(anna_kernel) -> str:
    """A file and a folder, handed in once."""
    shell(anna_kernel, "mkdir -p work/data; echo answer > solution.txt; echo 1 > work/data/one.csv")
    result = shell(anna_kernel, "handin week-1 solution.txt work")
    assert result.startswith("0 Handed in: week-1, 2 files"), result
    return result


def test_teacher_finds_the_files(host, handed_in):
    files = host.check_output(f"find {HANDIN}/week-1/anna -type f -printf '%P\\n' | sort | cut -d/ -f2-").splitlines()
    assert files == ["solution.txt", "work/data/one.csv"]
    assert host.check_output(f"cat {HANDIN}/week-1/anna/*/solution.txt") == "answer"


def test_teachers_group_reads_what_nobody_else_can(host, handed_in):
    assert host.check_output(f"find {HANDIN} -perm /007") == ""
    assert host.check_output(f"find {HANDIN} ! -user classroom-handin") == ""
    as_staff = "setpriv --reuid nobody --regid classroom-staff --clear-groups"
    assert host.check_output(f"{as_staff} sh -c 'cat {HANDIN}/week-1/anna/*/solution.txt'") == "answer"
    assert host.run(f"{as_staff} touch {HANDIN}/week-1/x").rc != 0


def test_teacher_collects_in_the_notebook(teacher_kernel, handed_in):
    code = "import glob; print(open(glob.glob('handin/week-1/anna/*/solution.txt')[0]).read())"
    assert teacher_kernel.run(code) == "answer"
    assert "Read-only file system" in shell(teacher_kernel, "rm -r handin/week-1")


def test_earlier_handins_are_kept(host, anna_kernel, handed_in):
    shell(anna_kernel, "echo better > solution.txt; handin week-1 solution.txt")
    contents = host.check_output(f"cat {HANDIN}/week-1/anna/*/solution.txt").split()
    assert contents == ["answer", "better"]
    assert shell(anna_kernel, "handin").count("week-1\t") == 2


def test_students_see_only_their_own(ben_kernel, handed_in):
    assert "week-1" not in shell(ben_kernel, "handin")
    assert f"cannot access '{HANDIN}'" in shell(ben_kernel, f"ls {HANDIN}")


def test_links_are_not_followed(host, anna_kernel):
    """Neither out of the student's files, nor into somebody else's."""
    result = shell(
        anna_kernel, "mkdir -p bad; echo x > bad/x; ln -sf /etc/passwd bad/p; ln -sf /etc bad/d; handin week-2 bad"
    )
    assert "left out, not a regular file" in result
    assert host.check_output(f"find {HANDIN}/week-2/anna -type f -printf '%f\\n'") == "x"
    assert host.check_output(f"find {HANDIN} -type l") == ""


ATTACKS = {
    "absolute path": "i = tarfile.TarInfo('/tmp/evil'); i.size = 1; t.addfile(i, io.BytesIO(b'x'))",
    "parent folder": "i = tarfile.TarInfo('../../evil'); i.size = 1; t.addfile(i, io.BytesIO(b'x'))",
    "symbolic link": "i = tarfile.TarInfo('l'); i.type = tarfile.SYMTYPE; i.linkname = '/etc'; t.addfile(i)",
    "hard link": "i = tarfile.TarInfo('h'); i.type = tarfile.LNKTYPE; i.linkname = '/etc/passwd'; t.addfile(i)",
    "device": "i = tarfile.TarInfo('d'); i.type = tarfile.CHRTYPE; i.devmajor = 1; t.addfile(i)",
    "too large": "i = tarfile.TarInfo('big'); i.size = 2**50; t.fileobj.write(i.tobuf())",
    "nothing": "pass",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_forged_archives_are_refused(host, ben_kernel, attack):
    code = f"""
import io, json, socket, tarfile
s = socket.socket(socket.AF_UNIX); s.connect('/run/classroom-handin.sock')
s.sendall(b'{{"assignment": "week-9"}}\\n')
f = s.makefile('wb')
t = tarfile.open(fileobj=f, mode='w|')
{ATTACKS[attack]}
t.close() if {attack!r} != 'too large' else None
f.flush(); s.shutdown(socket.SHUT_WR)
print(s.makefile().readline())
"""
    assert '"error"' in ben_kernel.run(code)
    assert not host.file(f"{HANDIN}/week-9").exists
    assert host.check_output(f"find {HANDIN} -name '.incoming*'") == ""


@pytest.mark.parametrize("assignment", ["../course", "/etc", "UPPER", ".hidden", "a b"])
def test_bad_assignment_names_are_refused(ben_kernel, assignment):
    result = shell(ben_kernel, f"echo x > x; handin '{assignment}' x")
    assert result.startswith("1 ")
    assert "Not handed in" in result


def test_unknown_assignment_names_the_known_ones(host, ben_kernel):
    host.check_output("echo 'assignments: [essay]' > /srv/classroom/staff/course.yaml")
    try:
        assert "There are: essay." in shell(ben_kernel, "echo x > x; handin esay x")
        assert "Handed in: essay" in shell(ben_kernel, "handin essay x")
    finally:
        host.check_output("rm /srv/classroom/staff/course.yaml")


def test_outsiders_cannot_hand_in(host, browser):
    attempt = host.run("echo x > /tmp/x; handin week-1 /tmp/x")
    assert attempt.rc != 0
    assert "Only people of the class" in attempt.stderr
