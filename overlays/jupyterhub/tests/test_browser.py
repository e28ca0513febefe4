"""What a student sees: the login page and JupyterLab in a real browser, kept as pictures."""

import shutil

import pytest
from hub_client import PASSWORD
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as condition
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE = 900
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)


@pytest.fixture
def chromium(tmp_path):
    """A fresh Chromium that accepts the self-signed certificate; other tests verify it."""
    driver_path = shutil.which("chromedriver")
    assert driver_path, "chromedriver is not installed; on Debian: apt install chromium chromium-driver"
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    options.accept_insecure_certs = True
    # Returns once the document is parsed; JupyterLab's scripts take minutes on an emulated machine.
    options.page_load_strategy = "none"
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'chromium'}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
    yield driver
    driver.quit()


def appears(driver, selector: str):
    """Wait for an element to be visible."""
    return WebDriverWait(driver, PATIENCE).until(condition.visibility_of_element_located((By.CSS_SELECTOR, selector)))


def test_login_page_and_jupyterlab(chromium, forwards, anna, options, artifacts):
    """Log in with the keyboard, arrive in JupyterLab, find a Python notebook and the course folder on offer."""
    chromium.get(f"https://127.0.0.1:{forwards[443]}/hub/login")
    name = appears(chromium, "#username_input")
    assert options["title"] in chromium.title
    assert chromium.find_element(By.LINK_TEXT, "Sign up").is_displayed()
    chromium.save_screenshot(str(artifacts / "login.png"))
    name.send_keys("anna")
    chromium.find_element(By.ID, "password_input").send_keys(PASSWORD)
    chromium.find_element(By.ID, "login_submit").click()
    appears(chromium, '.jp-LauncherCard[title^="Python 3"]')
    appears(chromium, '.jp-DirListing-item[title*="course"]')
    chromium.save_screenshot(str(artifacts / "jupyterlab.png"))
    assert "/user/anna/lab" in chromium.current_url
