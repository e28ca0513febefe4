"""A class: one teacher and two students, each in a browser of their own."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hub_client import PASSWORD, HubClient, wait_for


@pytest.fixture(scope="session")
def certificate(host, tmp_path_factory) -> Path:
    """The certificate that the machine made for itself, fetched over the trusted connection."""
    wait_for("certificate", lambda: host.file("/srv/classroom/tls/cert.pem").exists or None)
    path = tmp_path_factory.mktemp("tls") / "cert.pem"
    path.write_text(host.file("/srv/classroom/tls/cert.pem").content_string)
    return path


@pytest.fixture(scope="session")
def browser(forwards, certificate):
    """Makes browser sessions, once the hub answers."""
    url = f"https://127.0.0.1:{forwards[443]}"
    wait_for("hub", lambda: HubClient(url, certificate).get("/hub/login").ok or None)
    return lambda: HubClient(url, certificate)


@pytest.fixture(scope="session")
def teacher(browser, secrets) -> HubClient:
    """The administrator, whose password arrived as a credential."""
    return browser().login("teacher", secrets["classroom.admin_password"])


def enrol(browser, teacher: HubClient, name: str) -> HubClient:
    """Sign a student up, let the teacher approve if need be, log in."""
    student = browser()
    assert student.sign_up(name, PASSWORD).ok
    teacher.submit("/hub/students", username=name, action="approve")
    return student.login(name, PASSWORD)


@pytest.fixture(scope="session")
def anna(browser, teacher) -> HubClient:
    """A student with a running server."""
    student = enrol(browser, teacher, "anna")
    student.spawn()
    return student


@pytest.fixture(scope="session")
def ben(browser, teacher) -> HubClient:
    """Another student with a running server."""
    student = enrol(browser, teacher, "ben")
    student.spawn()
    return student


@pytest.fixture(scope="session")
def teacher_kernel(teacher):
    """A kernel of the teacher."""
    teacher.spawn()
    return teacher.start_kernel()


@pytest.fixture(scope="session")
def anna_kernel(anna):
    """A kernel of the first student."""
    return anna.start_kernel()


@pytest.fixture(scope="session")
def ben_kernel(ben):
    """A kernel of the second student."""
    return ben.start_kernel()
