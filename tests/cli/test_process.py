"""``lichen`` as a real process: signals, pipes, terminals, completion."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from builder.cli.main import INTERRUPTED
from builder.foundation.errors import EXIT_BAD_INPUT, EXIT_INTERRUPTED
from tests.profiles.sample import Sample

ROOT = Path(__file__).parents[2]
LICHEN = [sys.executable, "-m", "builder.cli.main"]
# The real program, waiting inside a verb until it is told to stop.
WAITING = """
import sys, time
import builder.verbs.listing
from builder.cli.main import main
from builder.foundation.progress import step

def wait(bench):
    with step(bench.progress, "waiting"):
        print("ready", flush=True)
        time.sleep(60)

builder.verbs.listing.list_profiles = wait
main()
"""


def environment(**more: str) -> dict[str, str]:
    # PYTHONUNBUFFERED hides what happens when the interpreter flushes its output at the end.
    mine = ("LICHEN", "_LICHEN", "PYTHONUNBUFFERED")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def lichen(sample: Sample, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LICHEN, *arguments], cwd=sample.root, env=environment(**more), capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("option", ["--verbose", "--json"])
def test_interruption(sample: Sample, number: signal.Signals, option: str) -> None:
    process = subprocess.Popen(
        # The tests themselves may have been started by nohup, which Lichen respects.
        ["env", "--default-signal=HUP", sys.executable, "-c", WAITING, "list", option],
        cwd=sample.root,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == EXIT_INTERRUPTED
    assert "Traceback" not in err
    if option == "--json":
        assert INTERRUPTED in out
    else:
        assert err.splitlines()[-1] == INTERRUPTED


def test_nohup_is_respected(sample: Sample) -> None:
    """A hang-up that was to be ignored when we started stays ignored."""
    script = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN);" + WAITING
    process = subprocess.Popen(
        [sys.executable, "-c", script, "list"],
        cwd=sample.root,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == EXIT_INTERRUPTED


def test_exit_codes(sample: Sample) -> None:
    assert lichen(sample, "list").returncode == 0
    done = lichen(sample, "show", "nothing")
    assert done.returncode == EXIT_BAD_INPUT
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["list"], ["list", "--json"], ["schema", "profile"], ["--help"], ["show", "x"]])
def test_closed_pipe_is_quiet(sample: Sample, arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    # Of the last one it is the error that nobody reads.
    closed, other = (writing, subprocess.PIPE)
    out, err = (other, closed) if arguments[0] == "show" else (closed, other)
    try:
        done = subprocess.run(
            [*LICHEN, *arguments], cwd=sample.root, env=environment(), check=False, text=True, stdout=out, stderr=err
        )
    finally:
        os.close(writing)
    heard: str | None = done.stdout if out == subprocess.PIPE else done.stderr
    assert heard == ""
    assert done.returncode in (0, 1, EXIT_BAD_INPUT)


def test_full_disk_is_told(sample: Sample) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*LICHEN, "list"],
            cwd=sample.root,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write the output")
    assert "Traceback" not in done.stderr


def test_output_without_a_terminal_is_plain(sample: Sample) -> None:
    sample.add("profiles/small.yaml", "x: 1\n")
    for arguments in (["list"], ["show", "small"], ["show", "base"]):
        done = lichen(sample, *arguments, COLUMNS="20", TERM="xterm-256color")
        assert "\x1b" not in done.stdout + done.stderr
    # Nothing is cut to the width of a terminal that is not there.
    assert f"{sample.root}/profiles/small.yaml:11: x" in lichen(sample, "show", "small", COLUMNS="20").stderr


def test_output_on_a_terminal_is_coloured_unless_unwanted(sample: Sample) -> None:
    def on_terminal(**more: str) -> str:
        master, slave = pty.openpty()
        with os.fdopen(master, "rb", buffering=0) as reader:
            process = subprocess.Popen(
                [*LICHEN, "show", "nothing"],
                cwd=sample.root,
                env=environment(TERM="xterm-256color", **more),
                stdin=slave,
                stdout=slave,
                stderr=slave,
            )
            os.close(slave)
            text = b""
            try:
                while data := reader.read(4096):
                    text += data
            except OSError:
                # How Linux tells that the other side is closed.
                pass
            process.wait()
        return text.decode()

    assert "\x1b[" in on_terminal()
    assert "\x1b[1;31m" not in on_terminal(NO_COLOR="1")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("lichen show ", {"base", "small"}),
        ("lichen show s", {"small"}),
        ("lichen build sm", {"small"}),
        ("lichen build small b", {"base"}),
        ("lichen lock ", {"base", "small"}),
        ("lichen sh", {"show"}),
        ("lichen build small --architecture ", {"amd64", "arm64", "riscv64"}),
        ("lichen schema ", {"profile", "overlay"}),
    ],
)
def test_completion(sample: Sample, words: str, found: set[str]) -> None:
    count = str(len(words.split()) - (0 if words.endswith(" ") else 1))
    done = lichen(sample, _LICHEN_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=count)
    assert set(done.stdout.split()) == found


def test_completion_of_another_project_and_outside_of_any(sample: Sample, tmp_path: Path) -> None:
    words = f"lichen --project {sample.root} show "
    away = Sample(tmp_path / "away")
    (away.root / "profiles/small.yaml").unlink()
    done = lichen(away, _LICHEN_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD="4")
    assert set(done.stdout.split()) == {"base", "small"}
    done = subprocess.run(
        LICHEN,
        cwd="/",
        env=environment(_LICHEN_COMPLETE="complete_bash", COMP_WORDS="lichen show ", COMP_CWORD="2"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == ""
    assert done.stderr == ""


def test_completion_script_is_shown(sample: Sample) -> None:
    done = lichen(sample, "--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0
    assert "_LICHEN_COMPLETE" in done.stdout
