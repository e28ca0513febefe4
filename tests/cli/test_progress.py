"""How progress looks, with and without a terminal."""

from __future__ import annotations

import io
import re
import threading

import pytest

from builder.cli.progress import Live, Plain, reporter
from builder.cli.text import duration, printable, size
from builder.foundation.progress import Progress, step

DURATION = r"\d+\.\d s"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def work(progress: Progress) -> None:
    with step(progress, "base tree"):
        progress.advanced("base tree", 1, 4)
        progress.note("a word")
    with pytest.raises(RuntimeError), step(progress, "image"):
        raise RuntimeError


def test_plain_lines() -> None:
    stream = io.StringIO()
    with reporter("build", stream) as progress:
        assert isinstance(progress, Plain)
        work(progress)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "[build] a word"
    assert re.fullmatch(rf"\[build\] base tree … {DURATION}", lines[1])
    assert re.fullmatch(rf"\[build\] image … failed after {DURATION}", lines[2])
    assert len(lines) == 3


def test_verbose_tells_when_steps_begin() -> None:
    stream = io.StringIO()
    with reporter("build", stream, verbose=True) as progress:
        work(progress)
    assert stream.getvalue().splitlines()[0] == "[build] base tree …"


def test_long_step_is_told_to_be_running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.cli.progress.PATIENCE_SECONDS", 0.0)
    told = threading.Event()

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            if "still running" in text:
                told.set()
            return super().write(text)

    with reporter("build", Stream()) as progress, step(progress, "base tree"):
        assert told.wait(30)


def test_live_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    with reporter("build", stream) as progress:
        assert isinstance(progress, Live)
        work(progress)
        assert not progress._bars.tasks
        progress.started("endless")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert re.search(rf"✓ base tree … {DURATION}", text)
    assert re.search(rf"✗ image … {DURATION}", text)
    assert "· a word" in text
    assert stream.getvalue().endswith("\x1b[?25h") or "\x1b[?25h" in stream.getvalue()  # the cursor is back


def test_console_of_a_guest_wants_no_live_progress() -> None:
    with reporter("boot", Terminal(), live=False) as progress:
        assert isinstance(progress, Plain)


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_many_threads(stream: type[io.StringIO]) -> None:
    made = stream()
    with reporter("build", made) as progress:

        def one(number: int) -> None:
            with step(progress, f"part {number}"):
                for done in range(20):
                    progress.advanced(f"part {number}", done, 20)

        threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number in range(8):
        assert f"part {number} …" in made.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (34.21, "34.2 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (61, "1 min 01 s"),
        (725, "12 min 05 s"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB"), (5 << 50, "5120.0 TiB")]
)
def test_size(count: int, text: str) -> None:
    assert size(count) == text


def test_printable() -> None:
    assert printable("a\x1b[2Jb\x00\u202ec é ✓\n") == "a\\x1b[2Jb\\x00\\u202ec é ✓\n"
