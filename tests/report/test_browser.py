"""The page in a real browser: nothing breaks out of it, nothing leaves it, its parts work, also without a script."""

from __future__ import annotations

import http.server
import json
import re
import threading
from collections.abc import Iterator
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from builder.data.contents import CONTENTS, contents_text
from builder.data.testresults import BOOT, PORTS, TESTS, BootUnit, ports_text
from builder.data.verification import Compared
from builder.verbs.report import write_report
from tests.report import sample

HOSTILE = (
    "</script></style></title><script>window.broken=1;alert(1)</script>\"'><img src=x onerror=alert(2)>{{7*7}}&lt;"
)
SECTIONS = ["inside", "artefacts", "size", "boot", "tests", "ports", "reproducible", "bill"]
HARMLESS = re.compile(r"^(file:///|about:blank|chrome)")


def show(browser: webdriver.Chrome, image: Path) -> None:
    browser.get(write_report(image).as_uri())


def texts(browser: webdriver.Chrome, selector: str) -> list[str]:
    return [element.text for element in browser.find_elements(By.CSS_SELECTOR, selector)]


def complaints(browser: webdriver.Chrome) -> list[str]:
    """What the browser's console says."""
    return [entry["message"] for entry in browser.get_log("browser")]  # type: ignore[no-untyped-call]


def requests(browser: webdriver.Chrome) -> list[str]:
    """Addresses that the browser asked for."""
    events = [json.loads(one["message"])["message"] for one in browser.get_log("performance")]  # type: ignore[no-untyped-call]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """An address on loopback, and what was asked there."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{httpd.server_port}", asked
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def hostile_image(folder: Path) -> Path:
    """An image whose every name wants to be a script."""
    bad = {"name": HOSTILE, "version": HOSTILE}
    manifest = sample.MANIFEST.model_copy(
        update={
            "profile": HOSTILE,
            "hostname": HOSTILE,
            "kernel": HOSTILE,
            "overlays": (HOSTILE,),
            "options": {HOSTILE: {HOSTILE: HOSTILE, "list": (HOSTILE,)}},
            "tools": {HOSTILE: HOSTILE},
            "packages": (sample.MANIFEST.packages[0].model_copy(update=bad),),
            "artefacts": {HOSTILE: sample.MANIFEST.artefacts["image.raw"]},
        }
    )
    image = sample.write_all(folder, manifest)
    files = [sample.entry(f"/{HOSTILE}{n}", 4 << 20, f"deb:{HOSTILE}", "same") for n in range(2)]
    (image / CONTENTS).write_text(contents_text([*files, sample.entry(f"/{HOSTILE}/x", 4 << 20, "build")]))
    results = image.with_name(f"{image.name}.test")
    escaped = HOSTILE.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    (results / TESTS).write_text(sample.JUNIT.replace("assert 1 == 2", escaped).replace("test_left", escaped))
    units = (BootUnit(name=HOSTILE, start=1.0, seconds=1.0),)
    booted = sample.BOOTED.model_copy(update={"units": units, "critical_chain": (HOSTILE,), "virtualization": HOSTILE})
    (results / "artifacts" / BOOT).write_text(booted.text())
    ports = [port.model_copy(update={"process": HOSTILE}) for port in sample.OPEN]
    (results / "artifacts" / PORTS).write_text(ports_text(ports))
    found = sample.CLOCK.model_copy(update={"path": HOSTILE, "what": HOSTILE, "cause": HOSTILE, "evidence": HOSTILE})
    differs = Compared(name=HOSTILE, first="a" * 64, second=None)
    rebuild = sample.rebuild(1, found).model_copy(update={"conditions": {HOSTILE: HOSTILE}, "compared": (differs,)})
    verified = sample.VERIFIED.model_copy(update={"against": HOSTILE, "rebuilds": (rebuild,)})
    image.with_name(f"{image.name}.verify.json").write_text(verified.text())
    return image


def test_names_from_strangers_stay_text(browser: webdriver.Chrome, folder: Path) -> None:
    show(browser, hostile_image(folder))
    with pytest.raises(NoAlertPresentException):
        browser.switch_to.alert.dismiss()
    assert browser.execute_script("return window.broken") is None
    assert browser.find_elements(By.TAG_NAME, "img") == []
    assert len(browser.find_elements(By.TAG_NAME, "script")) == 2
    assert HOSTILE in browser.title
    assert HOSTILE in browser.find_element(By.TAG_NAME, "h1").text
    for section in SECTIONS:
        assert HOSTILE in browser.find_element(By.ID, section).text, section
    # The map is drawn by the script, from data inside one.
    assert any(HOSTILE in text for text in texts(browser, "#map .box"))
    assert complaints(browser) == []


def test_nothing_is_asked_of_anybody(browser: webdriver.Chrome, folder: Path) -> None:
    show(browser, sample.write_all(folder))
    browser.find_element(By.ID, "search").send_keys("nano")
    asked = requests(browser)
    assert any("report.html" in url for url in asked)
    assert [url for url in asked if not HARMLESS.match(url)] == []


def test_policy_stops_what_escaping_would_have_missed(
    browser: webdriver.Chrome, folder: Path, server: tuple[str, list[str]]
) -> None:
    """Put into the file what a hole in the escaping would let in: the browser itself refuses it."""
    url, asked = server
    path = write_report(sample.write_all(folder))
    planted = (
        f'<script>window.broken=1</script><script src="{url}/script"></script>'
        f'<img src="{url}/image" onerror="window.broken=2"><link rel="stylesheet" href="{url}/style">'
        f'<iframe src="{url}/frame"></iframe><style>h1{{display:none}}</style>'
        f'<form id="leak" action="{url}/form"></form>'
    )
    path.write_text(path.read_text().replace("<footer>", f"{planted}<footer>"))
    browser.get(path.as_uri())
    browser.execute_script("document.getElementById('leak').submit()")
    reached = browser.execute_async_script(
        "const done = arguments[1]; fetch(arguments[0] + '/fetch').then(() => done(true), () => done(false))", url
    )
    assert reached is False
    assert browser.execute_script("return window.broken") is None
    assert browser.find_element(By.TAG_NAME, "h1").is_displayed()
    assert asked == []
    assert len([text for text in complaints(browser) if "Content Security Policy" in text]) >= 7


def test_search_keeps_the_rows_with_all_words(browser: webdriver.Chrome, folder: Path) -> None:
    show(browser, sample.write_all(folder))
    rows = "#bill-table tbody tr:not([hidden]) th"
    assert texts(browser, rows) == ["libssl3", "nano", "zstd", "flask", "numpy"]
    search = browser.find_element(By.CSS_SELECTOR, "label[for=search] + input")
    search.send_keys("WHEEL  num")
    assert texts(browser, rows) == ["numpy"]
    assert texts(browser, "#found") == ["1 of 5"]
    search.clear()
    search.send_keys("openssl")
    assert texts(browser, rows) == ["libssl3"], "found by its source"
    search.send_keys("x")
    assert texts(browser, rows) == []
    assert texts(browser, "#found") == ["0 of 5"]
    search.send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.DELETE)
    assert texts(browser, "#found") == ["5 in all"]


def test_search_finds_a_licence_among_many(browser: webdriver.Chrome, folder: Path) -> None:
    image = sample.write_all(folder)
    licence = " AND ".join([*(f"LicenseRef-{number}" for number in range(60)), "AGPL-3.0-only"])
    part: dict[str, object] = {
        "SPDXID": "SPDXRef-deb-nano",
        "name": "nano",
        "versionInfo": "1",
        "licenseDeclared": licence,
    }
    (image / "sbom.spdx.json").write_text(sample.spdx(part, {**part, "name": "free", "licenseDeclared": "MIT"}))
    show(browser, image)
    row = browser.find_element(By.CSS_SELECTOR, "#bill-table tbody tr:last-child")
    assert row.size["height"] < 100, "the table stays a table"
    browser.find_element(By.ID, "search").send_keys("agpl")
    assert texts(browser, "#bill-table tbody tr:not([hidden]) th") == ["nano"]


def test_map_opens_and_closes_by_mouse_and_keyboard(browser: webdriver.Chrome, folder: Path) -> None:
    show(browser, sample.write_all(folder))
    path = "#map-path > *"
    top = "#map .box:not([aria-hidden])"

    def labels() -> list[str]:
        return [box.get_attribute("aria-label") or "" for box in browser.find_elements(By.CSS_SELECTOR, top)]

    assert texts(browser, path) == ["Root file system"]
    assert [label.partition(":")[0] for label in labels()] == [
        "Python wheels",
        "Debian packages",
        "Made by the build",
        "Overlays",
    ]
    assert labels()[0] == "Python wheels: 10.0 MiB, 62.5 % of the image, 2 files"
    browser.find_element(By.CSS_SELECTOR, '#map [title^="numpy"]').click()
    assert texts(browser, path) == ["Root file system", "Python wheels", "numpy"]
    assert texts(browser, "#map-state") == ["10.0 MiB in 2 files"]
    assert [label.partition(":")[0] for label in labels()] == ["/opt/ai/lib/core.so", "/opt/ai/lib/libssl.so.3"]
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert texts(browser, path) == ["Root file system", "Python wheels"]
    assert (
        browser.switch_to.active_element.get_attribute(
            "title",
        )
        == labels()[0]
    ), "the keyboard is in the map"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert texts(browser, path) == ["Root file system", "Python wheels", "numpy"]
    browser.find_element(By.CSS_SELECTOR, "#map-path button").click()
    assert texts(browser, path) == ["Root file system"]
    assert complaints(browser) == []


def test_boxes_are_as_large_as_their_files(browser: webdriver.Chrome, folder: Path) -> None:
    image = sample.write_all(folder)
    sizes = [1 << 20, 2 << 20, 3 << 20, 5 << 20, 8 << 20]
    (image / CONTENTS).write_text(contents_text(sample.entry(f"/{n}", n, "deb:nano") for n in sizes))
    show(browser, image)
    browser.find_element(By.CSS_SELECTOR, '#map [title^="nano"]').click()
    area = (
        "return [...document.getElementById('map').children].map((box) => {"
        "const at = (side) => parseFloat(box.style[side]);"
        "const [left, top, width, height] = ['left', 'top', 'width', 'height'].map(at);"
        "return [box.title.split(':')[0], width * height / 1e4, left + width < 100.01, top + height < 100.01] })"
    )
    found = {name: (share, inside, within) for name, share, inside, within in browser.execute_script(area)}
    for size in sizes:
        share, *inside = found[f"/{size}"]
        assert share == pytest.approx(size / sum(sizes), rel=0.01)
        assert inside == [True, True]


def test_page_reads_well_without_a_script(browser: webdriver.Chrome, folder: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    show(browser, sample.write_all(folder))
    for hidden in ("search-part", "map-part"):
        assert not browser.find_element(By.ID, hidden).is_displayed()
    assert texts(browser, "#bill-table tbody th") == ["libssl3", "nano", "zstd", "flask", "numpy"]
    assert "numpy" in browser.find_element(By.ID, "size").text


@pytest.mark.parametrize("width", [320, 390, 1400])
def test_page_fits_its_window(browser: webdriver.Chrome, folder: Path, width: int) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    show(browser, sample.write_all(folder))
    wide, window = browser.execute_script("const d = document.documentElement; return [d.scrollWidth, d.clientWidth]")
    assert wide == window, "nothing but tables scrolls sideways"


def test_page_is_built_for_everybody(browser: webdriver.Chrome, folder: Path) -> None:
    """Headings in order, headers with a scope, names for what can be used, targets that exist, each id once."""
    show(browser, sample.write_all(folder))
    levels = [int(one.tag_name[1]) for one in browser.find_elements(By.CSS_SELECTOR, "h1, h2, h3, h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert browser.find_elements(By.CSS_SELECTOR, "th:not([scope])") == []
    for table in browser.find_elements(By.CSS_SELECTOR, "table"):
        assert table.find_elements(By.CSS_SELECTOR, "thead th[scope=col]")
    for part in browser.find_elements(By.CSS_SELECTOR, "button, input, [role=region], nav, section"):
        assert part.accessible_name or not part.is_displayed() or part.get_attribute("aria-hidden"), part.id
    ids = [one.get_attribute("id") for one in browser.find_elements(By.CSS_SELECTOR, "[id]")]
    assert len(ids) == len(set(ids))
    for link in browser.find_elements(By.CSS_SELECTOR, "nav a"):
        assert (link.get_attribute("href") or "").rpartition("#")[2] in ids


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_colours_can_be_told_apart() -> None:
    """Every text on every ground it stands on has a contrast of 4.5, as WCAG 2.2 AA asks; bars and lines have 3."""
    style = (resources.files("builder") / "templates/report/report.css").read_text()
    palettes = [
        dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    ]
    assert len(palettes) == 3, "light, dark and print"
    for palette in palettes:
        pairs = [
            (text, ground, 4.5) for text in ("ink", "soft", "accent", "good", "bad") for ground in ("ground", "paper")
        ]
        pairs += [(text, "field", 4.5) for text in ("ink", "soft")]
        pairs += [("ink", kind, 4.5) for kind in ("deb", "wheel", "overlay", "model", "build")]
        pairs += [("bar", ground, 3.0) for ground in ("paper", "field")]
        for text, ground, least in pairs:
            dark, light = sorted((luminance(palette[text]), luminance(palette[ground])))
            assert (light + 0.05) / (dark + 0.05) >= least, (text, ground, palette)
