"""Signing up, approval, passwords, and names that mean harm."""

import secrets as random_secrets

import pytest
from hub_client import PASSWORD

HOSTILE_NAMES = [
    "../../etc/passwd",
    "root",
    "classroom-staff",
    "teacher",
    "a",
    "a" * 25,
    "-rf",
    "anna;reboot",
    "$(reboot)",
    "anna\nroot",
    "<script>alert(1)</script>",
    "{USERNAME}",
    "%n",
    "анна",
    ".new-anna",
]


def account_names(host) -> set[str]:
    return {line.split("\t")[0] for line in host.check_output("classroom list").splitlines()}


@pytest.fixture(scope="module")
def first_names(host, browser):
    """Those of all accounts before any test of these tries to make one."""
    return account_names(host)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_names_are_refused(host, browser, first_names, name):
    response = browser().sign_up(name, PASSWORD)
    assert response.status_code == 400
    assert "alert-danger" in response.text
    assert "<script>alert(1)" not in response.text
    assert account_names(host) == first_names


def test_short_password_is_refused(host, browser, options):
    response = browser().sign_up("shorty", "x" * (options["minimum_password_length"] - 1))
    assert response.status_code == 400
    assert "shorty" not in account_names(host)


def test_taken_name_is_refused(anna, browser):
    assert browser().sign_up("anna", PASSWORD).status_code == 400


def test_wrong_password_is_refused(anna, browser):
    assert browser().try_login("anna", "not-" + PASSWORD).status_code == 403


def test_form_without_cross_site_token_is_refused(host, browser):
    session = browser()
    fields = {"username": "forged", "password": PASSWORD, "confirmation": PASSWORD}
    assert session.session.post(session.url + "/hub/signup", data=fields, timeout=180).status_code == 403
    assert "forged" not in account_names(host)


def test_student_waits_for_approval(host, browser, teacher, options):
    if options["registration"] != "approval":
        pytest.skip("this image does not ask for approval")
    student, name = browser(), "carla"
    assert student.sign_up(name, PASSWORD).ok
    assert student.try_login(name, PASSWORD).status_code == 403
    assert name in teacher.get("/hub/students").text
    assert teacher.submit("/hub/students", username=name, action="approve").ok
    student.login(name, PASSWORD)


def test_suspended_student_is_shut_out(host, browser, teacher):
    name = "dora"
    assert browser().sign_up(name, PASSWORD).ok
    host.check_output(f"classroom approve {name}")
    browser().login(name, PASSWORD)
    assert teacher.submit("/hub/students", username=name, action="suspend").ok
    assert browser().try_login(name, PASSWORD).status_code == 403


def test_students_cannot_approve(anna):
    assert anna.get("/hub/students").status_code == 403
    token = anna.xsrf("/hub/")
    fields = {"_xsrf": token, "username": "carla", "action": "approve"}
    assert anna.session.post(anna.url + "/hub/students", data=fields, timeout=180).status_code == 403


def test_students_see_no_other_users(anna, ben):
    assert anna.api("GET", "users").status_code == 403
    assert anna.api("GET", "users/ben").status_code in {403, 404}


def test_guessing_is_stopped_even_if_the_last_guess_is_right(host, browser, teacher):
    name = "emil"
    assert browser().sign_up(name, PASSWORD).ok
    host.check_output(f"classroom approve {name}")
    session = browser()
    for attempt in range(5):
        assert session.try_login(name, f"wrong-password-{attempt}").status_code == 403
    assert session.try_login(name, PASSWORD).status_code == 403


def test_password_can_be_changed(host, browser, teacher):
    name, new = "fay", random_secrets.token_urlsafe(16)
    assert browser().sign_up(name, PASSWORD).ok
    host.check_output(f"classroom approve {name}")
    student = browser().login(name, PASSWORD)
    wrong = student.submit("/hub/password", old="not-" + PASSWORD, password=new, confirmation=new)
    assert wrong.status_code == 403
    assert student.submit("/hub/password", old=PASSWORD, password=new, confirmation=new).ok
    assert browser().try_login(name, PASSWORD).status_code == 403
    browser().login(name, new)


def test_course_file_admits_and_asks_for_the_code(host, browser):
    """Written by a teacher while the hub runs: a listed student needs no approval, but the code."""
    host.check_output("printf 'students: [gina]\\njoin_code: blue-whale\\n' > /srv/classroom/staff/course.yaml")
    try:
        assert browser().sign_up("gina", PASSWORD, join_code="red-whale").status_code == 400
        assert browser().sign_up("gina", PASSWORD, join_code="blue-whale").ok
    finally:
        host.check_output("rm /srv/classroom/staff/course.yaml")
    browser().login("gina", PASSWORD)


def test_broken_course_file_closes_the_door(host, browser, teacher):
    host.check_output("printf 'students: {' > /srv/classroom/staff/course.yaml")
    try:
        assert browser().sign_up("hugo", PASSWORD).status_code == 503
        assert "course.yaml" in teacher.get("/hub/students").text
    finally:
        host.check_output("rm /srv/classroom/staff/course.yaml")
    assert "hugo" not in account_names(host)


def test_setup_page_is_gone_once_there_is_an_administrator(browser):
    assert browser().get("/hub/setup").status_code == 404


def test_setup_code_works_once(host, teacher):
    """Replaced, wrong, expired, right but in small letters, used: only one of the five opens."""
    probe = (
        "import sys; sys.path.insert(0, '/usr/lib/lichen/python'); from classroom.setup_code import make, redeem; "
        "old, code = make(), make(); "
        "print(redeem(old), redeem('AAAA-AAAA-AAAA'), redeem(code, now=9e9), redeem(code.lower()), redeem(code))"
    )
    assert host.check_output(f'python3 -B -c "{probe}"') == "False False False True False"
