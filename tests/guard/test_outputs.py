"""Escaping, log file, journal, webhook, metrics, and the limit on how much is told."""

from __future__ import annotations

import base64
import http.server
import json
import socket
import stat
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from lichen_agent.clock import boot_time, on_the_wall
from lichen_agent.escape import escape
from lichen_agent.metrics import serve
from lichen_guard.alert import Alert, Priority
from lichen_guard.alertrecord import MOST_FIELDS, Record
from lichen_guard.courier import Courier, DeliveryError
from lichen_guard.eventlog import EventLog, follow_log, last_number, numbered, read_log
from lichen_guard.ratelimit import MINUTE, RateLimit
from lichen_guard.webhook import Webhook


def alert(rule: str = "R", text: str = "text", priority: Priority = Priority.WARNING, **more: Any) -> Alert:
    return Alert(more.pop("source", "rules"), rule, priority, text, more.pop("time", boot_time()), **more)


def record(number: int = 1, **more: Any) -> Record:
    return Record(number, 1_790_000_000.25, alert(**more))


def wait_until(met: Callable[[], object], patience: float = 30.0) -> None:
    deadline = time.monotonic() + patience
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Escaping


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain /usr/bin/ls", "plain /usr/bin/ls"),
        ("Äpfel 苹果 🍏", "Äpfel 苹果 🍏"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("two\nlines\r\t", "two\\x0alines\\x0d\\x09"),
        ("csi \x9b", "csi \\x9b"),
        ("bad \udcff\udc80", "bad \\xff\\x80"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("zero\u200bwidth\u2066\ufeff", "zero\\u200bwidth\\u2066\\ufeff"),
        ("line\u2028end", "line\\u2028end"),
        ("tag \U000e0041", "tag \\U000e0041"),
        ("back\\slash", "back\\slash"),
    ],
)
def test_what_does_not_print_is_written_out(text: str, escaped: str) -> None:
    assert escape(text) == escaped
    assert escape(escaped) == escaped
    assert escaped.isprintable()


def test_every_character_comes_out_printable() -> None:
    for number in range(0x110000):
        assert escape(chr(number)).isprintable()


def test_length_has_a_bound_that_counts_what_is_written_out() -> None:
    assert escape("x" * 5000, 100) == "x" * 99 + "…"
    assert len(escape("\x1b" * 5000, 100)) == 100
    assert escape("x" * 100, 100) == "x" * 100


# Records


def test_record_says_all_and_is_safe() -> None:
    fields = {"proc.name": "\x1b]0;x\x07", "fd.num": 3, "user.name": None}
    told = record(7, rule="A\nB", text="bad \udcff", fields=fields, tags=("mitre\x1b",), denied=True).to_json()
    assert told == {
        "number": 7,
        "time": "2026-09-21T14:13:20.250000+00:00",
        "source": "rules",
        "rule": "A\\x0aB",
        "priority": "warning",
        "text": "bad \\xff",
        "fields": {"proc.name": "\\x1b]0;x\\x07", "fd.num": 3, "user.name": None},
        "tags": ["mitre\\x1b"],
        "denied": True,
    }


def test_journal_gets_fields_that_it_takes() -> None:
    fields = {"proc.aname[2]": "sh", "user.name": None, "x" * 80: "y", "rule": "not the rule"}
    told = record(7, fields=fields, priority=Priority.CRITICAL).to_journal()
    assert told["PRIORITY"] == "2"
    assert told["LICHEN_PROC_ANAME_2_"] == "sh"
    assert told["MESSAGE"] == "R: text"
    assert told["LICHEN_RULE"] == "R"
    assert "LICHEN_USER_NAME" not in told
    assert all(
        len(name) <= 64 and name.replace("_", "A").isalnum() and name.isupper() for name in told if "2" not in name
    )


def test_record_has_a_bound() -> None:
    told = record(fields={f"f{number}": "x" * 10**5 for number in range(1000)}, text="x" * 10**6).to_json()
    assert len(told["fields"]) == MOST_FIELDS
    assert len(json.dumps(told)) < 300_000


def test_time_on_the_wall() -> None:
    assert on_the_wall(boot_time() - 10**10) == pytest.approx(time.time() - 10, abs=0.5)


# The log file


def test_log_is_lines_of_json_for_few_eyes(tmp_path: Path) -> None:
    log = EventLog(path := tmp_path / "events.jsonl", 10**6, 3)
    for number in (1, 2):
        log.deliver(record(number))
    assert [item["number"] for item in read_log(path)] == [1, 2]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert last_number(path) == 2


def test_log_is_rotated_and_bounded(tmp_path: Path) -> None:
    log = EventLog(path := tmp_path / "events.jsonl", 2000, 3)
    for number in range(1, 101):
        log.deliver(record(number))
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 3 * 2000
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(file.name for file in numbered(path, 3))
    kept = [item["number"] for item in read_log(path)]
    assert kept == list(range(kept[0], 101))
    assert last_number(path) == 100


def test_single_file_is_begun_anew(tmp_path: Path) -> None:
    log = EventLog(path := tmp_path / "events.jsonl", 1000, 1)
    for number in range(50):
        log.deliver(record(number))
    assert [file.name for file in tmp_path.iterdir()] == ["events.jsonl"]
    assert path.stat().st_size <= 1000


def test_half_a_line_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    EventLog(path, 10**6, 2).deliver(record(1))
    with path.open("ab") as file:
        file.write(b'{"number": 2, "tex')
    assert last_number(path) == 1
    EventLog(path, 10**6, 2).deliver(record(3))
    assert [item["number"] for item in read_log(path)] == [1, 3]


def test_number_goes_on_after_rotation(tmp_path: Path) -> None:
    EventLog(tmp_path / "events.jsonl.1", 10**6, 1).deliver(record(41))
    assert last_number(tmp_path / "events.jsonl") == 41
    (tmp_path / "events.jsonl").touch()
    assert last_number(tmp_path / "events.jsonl") == 41


def test_removed_log_comes_back_and_a_link_is_not_followed(tmp_path: Path) -> None:
    log = EventLog(path := tmp_path / "events.jsonl", 10**6, 2)
    log.deliver(record(1))
    path.unlink()
    log.deliver(record(2))
    assert last_number(path) == 2
    path.unlink()
    path.symlink_to(tmp_path / "passwd")
    with pytest.raises(OSError, match="symbolic links"):
        log.deliver(record(3))


def test_followers_see_all_over_rotations(tmp_path: Path) -> None:
    log = EventLog(path := tmp_path / "events.jsonl", 3000, 4)
    log.deliver(record(1))
    seen: list[int] = []
    followed = follow_log(path, pause=0.01)

    def follow() -> None:
        while len(seen) < 30:
            seen.append(int(next(followed)["number"]))

    (thread := threading.Thread(target=follow, daemon=True)).start()
    time.sleep(0.3)
    for number in range(2, 32):
        log.deliver(record(number))
        time.sleep(0.03)
    thread.join(30)
    assert seen == list(range(2, 32))


# Couriers and the webhook


@contextmanager
def web_server(
    answers: Iterator[int | str], headers: list[Message] | None = None
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that gives these answers in turn: a status, ``hang``, ``drop`` or ``nonsense``."""
    got: list[dict[str, Any]] = []
    released = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = next(answers, 200)
            if answer == "hang":
                released.wait(60)
            if answer in {"hang", "drop"}:
                self.connection.close()
            elif answer == "nonsense":
                self.wfile.write(b"SSH-2.0-nothing\r\n\r\n")
            else:
                got.append(json.loads(body))
                if headers is not None:
                    headers.append(self.headers)
                self.send_response(int(answer))
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/alerts?key=1", got
    finally:
        released.set()
        server.shutdown()
        server.server_close()


def test_webhook_gets_the_record() -> None:
    with web_server(iter([204])) as (url, got):
        Webhook(url).deliver(told := record(3, fields={"proc.name": "\x1b"}))
    assert got == [told.to_json()]


@pytest.mark.parametrize(("status", "final"), [(302, True), (404, True), (429, False), (500, False)])
def test_refusals_are_final_or_pass(status: int, final: bool) -> None:
    with web_server(iter([status])) as (url, _), pytest.raises(DeliveryError, match=str(status)) as told:
        Webhook(url).deliver(record())
    assert told.value.final is final


@pytest.mark.parametrize(
    ("who", "sent"), [("ann:pass%20w%C3%B6rd@", "ann:pass w\xf6rd"), ("t%40ken@", "t@ken:"), ("", None)]
)
def test_user_and_password_are_sent_along(who: str, sent: str | None) -> None:
    headers: list[Message] = []
    with web_server(iter([200]), headers) as (url, _):
        Webhook(url.replace("://", f"://{who}")).deliver(record())
    expected = sent and f"Basic {base64.b64encode(sent.encode()).decode()}"
    assert headers[0]["Authorization"] == expected


@pytest.mark.parametrize(
    "url",
    ["", "ftp://x/", "http://", "/path", "javascript:alert(1)", "http://x:99x/", "http://[::1/", "http://x/\xe9\n"],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no http or https URL") as told:
        Webhook(url)
    assert not url or url not in str(told.value)


def test_alerts_outlive_a_server_that_is_slow_refuses_and_dies() -> None:
    with web_server(iter(["hang", 503, "drop", "nonsense", 200, 200])) as (url, got):
        courier = Courier("webhook", Webhook(url, patience=0.3).deliver, attempts=8, pause=0.01)
        began = time.monotonic()
        assert courier.send(record(1))
        assert courier.send(record(2))
        assert time.monotonic() - began < 0.2  # whoever sends waits for nobody
        wait_until(lambda: courier.delivered == 2)
    # The 503 had read the first already; a receiver knows it by its number.
    assert [item["number"] for item in got] == [1, 1, 2]
    assert "not HTTP" in courier.last_error
    assert courier.given_up == 0


def test_server_that_is_away_costs_its_alerts_only() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    courier = Courier("webhook", Webhook(url, 0.3).deliver, attempts=3, pause=0.01)
    for number in range(5):
        courier.send(record(number))
    wait_until(lambda: courier.given_up == 5)
    assert "refused" in courier.last_error


def test_full_queue_keeps_the_oldest_and_counts_the_rest() -> None:
    gate, got = threading.Event(), []

    def deliver(told: Record) -> None:
        gate.wait(30)
        got.append(told.number)

    courier = Courier("slow", deliver, most_waiting=10)
    taken = [courier.send(record(number)) for number in range(1000)]
    assert taken == [True] * 10 + [False] * 990
    assert courier.waiting == 10
    gate.set()
    courier.close(30)
    assert got == list(range(10))
    assert (courier.delivered, courier.given_up) == (10, 990)


def test_stop_does_not_wait_for_a_place_that_hangs() -> None:
    gate = threading.Event()
    courier = Courier("hangs", lambda _: gate.wait(60) and None)
    for number in range(3):
        courier.send(record(number))
    began = time.monotonic()
    courier.close(0.2)
    assert time.monotonic() - began < 5
    assert courier.given_up == 3
    assert not courier.send(record())
    gate.set()


# How much is told


def test_each_rule_has_its_own_limit() -> None:
    limit = RateLimit(6)
    assert [limit.admit("a", 0) for _ in range(8)] == [True] * 6 + [False] * 2
    assert limit.admit("b", 0)
    assert not limit.admit("a", MINUTE // 7)
    assert limit.admit("a", MINUTE // 5)
    assert limit.take_held_back() == {"a": 3}
    assert limit.take_held_back() == {}
    assert sum(limit.admit("a", 100 * MINUTE) for _ in range(20)) == 6


@pytest.fixture
def prometheus() -> None:
    pytest.importorskip("prometheus_client", reason="not installed here (apt install python3-prometheus-client)")


@pytest.mark.usefixtures("prometheus")
def test_outputs_tell_what_is_urgent_and_say_what_was_held_back() -> None:
    from lichen_guard.metrics import Metrics
    from lichen_guard.outputs import Outputs

    got: list[Record] = []
    now = [10 * MINUTE]
    outputs = Outputs([Courier("x", got.append)], Metrics(), Priority.WARNING, 3, 100, clock=lambda: now[0])
    outputs.tell(alert("quiet", priority=Priority.NOTICE, time=now[0]))
    for _ in range(10):
        outputs.tell(alert("loud", time=now[0]))
    outputs.tell(alert("about us", source="agent", time=now[0]))
    outputs.minimum = Priority.NOTICE
    now[0] += MINUTE
    outputs.turn()
    outputs.turn()
    outputs.close()
    assert [(item.number, item.alert.rule) for item in got] == [
        (101, "loud"),
        (102, "loud"),
        (103, "loud"),
        (104, "about us"),
        (105, "Alerts held back"),
    ]
    assert got[-1].alert.fields == {"rule": "loud", "count": 7}
    assert outputs.state()["alerts"] == {"quiet": 1, "loud": 10, "about us": 1, "Alerts held back": 1}
    assert outputs.held_back == 7


@pytest.mark.usefixtures("prometheus")
def test_metrics_answer_on_loopback_and_slow_readers_hold_up_nobody() -> None:
    from lichen_guard.metrics import Metrics

    metrics = Metrics()
    metrics.alerts.labels('a "rule"', "warning").inc()
    metrics.latency.observe(0.003)
    metrics.show_scores({"a.service": 0.5, "b.service": 0.6})
    metrics.show_scores({"b.service": 0.7})
    for total in (5, 8, 2):
        metrics.raise_to(metrics.lost, "open", total)
    metrics.raise_to(metrics.windows, "", 4)
    server = serve(metrics.registry, 0)
    host, port = server.server_address[:2]
    assert host == "127.0.0.1"
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read().decode()
    server.shutdown()
    server.server_close()
    assert 'lichen_guard_alerts_total{priority="warning",rule="a \\"rule\\""} 1.0' in text
    assert 'lichen_guard_latency_seconds_bucket{le="0.004"} 1.0' in text
    assert 'lichen_guard_lost_events_total{kind="open"} 10.0' in text
    assert "lichen_guard_windows_total 4.0" in text
    assert 'unit="b.service"} 0.7' in text
    assert "a.service" not in text


@pytest.mark.usefixtures("prometheus")
def test_journal_that_is_not_there_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    from lichen_guard.outputs import to_journal

    monkeypatch.setitem(__import__("sys").modules, "systemd", None)
    courier = Courier("journal", to_journal)
    courier.send(record())
    courier.close(30)
    assert courier.given_up == 1
    assert "cannot be written" in courier.last_error
