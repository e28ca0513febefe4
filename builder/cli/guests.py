"""The commands about running images: ``boot`` and ``test``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from builder.cli import session
from builder.cli.arguments import ArchitectureName, OptionalProfileName, ProfileName
from builder.cli.output import emit_json, say, tell
from builder.data.model import size_in_bytes
from builder.foundation.errors import InputError, Problem
from builder.foundation.inuse import shared

if TYPE_CHECKING:
    from builder.cli.session import Session
    from builder.verbs.boot import Request, Running

MIB = 1 << 20
Kind = Literal["kvm", "tcg"]
AccelerationName = Annotated[
    Kind | None, typer.Option("--acceleration", help="How the guest's processor runs; tried out when left out.")
]
Memory = Annotated[str, typer.Option(metavar="SIZE", help="The machine's memory.")]
Processors = Annotated[int, typer.Option(min=1, max=64, help="The machine's processors.")]
DataDisk = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A second disk that outlives the machine; made when absent.")
]
Credentials = Annotated[
    list[str] | None, typer.Option("--credential", metavar="NAME=VALUE", help="Hand a systemd credential in.")
]


def boot(
    context: typer.Context,
    *,
    profile: OptionalProfileName = None,
    architecture: ArchitectureName = None,
    daemon: Annotated[bool, typer.Option("--daemon", help="Run in the background and print how to log in.")] = False,
    stop: Annotated[str | None, typer.Option(metavar="NAME", help="End a machine in the background.")] = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the machine; else the profile's.")] = "",
    memory: Memory = "4G",
    cpus: Processors = 2,
    grow: Annotated[
        str, typer.Option(metavar="SIZE", help="Room on the disk behind the image, as machines' own disks have it.")
    ] = "4G",
    data_disk: DataDisk = None,
    data_size: Annotated[str, typer.Option(metavar="SIZE", help="Size of the data disk when it is made.")] = "4G",
    forward: Annotated[
        list[str] | None, typer.Option(metavar="GUEST[:HOST]", help="Reach a TCP port of the guest on 127.0.0.1.")
    ] = None,
    credential: Credentials = None,
    acceleration: AccelerationName = None,
) -> None:
    """Boot a built image: on this terminal, or in the background. The image itself does not change."""
    from builder.verbs.boot import Request

    run = session.of(context)
    if stop is not None:
        _stop(run, stop)
        return
    if profile is None:
        raise InputError(Problem("no profile given", "lichen boot", "", "name one, or a machine to --stop"))
    if run.json and not daemon:
        raise InputError(Problem("a console cannot be JSON", "lichen boot", "", "add --daemon, or leave out --json"))
    request = Request(
        name=name,
        kind=acceleration,
        memory=_size("--memory", memory) // MIB,
        cpus=cpus,
        grow=_size("--grow", grow),
        data_disk=data_disk,
        data_size=_size("--data-size", data_size),
        forwards=_forwards(forward or ()),
        credentials=_credentials(credential or ()),
    )
    _boot(run, profile, architecture, request, daemon=daemon)


def run_tests(
    context: typer.Context,
    *,
    profile: ProfileName,
    architecture: ArchitectureName = None,
    memory: Memory = "4G",
    cpus: Processors = 2,
    credential: Credentials = None,
    acceleration: AccelerationName = None,
    quick: Annotated[bool, typer.Option("--quick", help="Skip tests that take an emulated machine long.")] = False,
) -> None:
    """Boot a built image and run its tests; what they found is put beside the image."""
    from builder.verbs.boot import Request
    from builder.verbs.build import find_image, provide_toolbox
    from builder.verbs.imagetest import run_image_tests

    run = session.of(context)
    request = Request(
        kind=acceleration,
        memory=_size("--memory", memory) // MIB,
        cpus=cpus,
        credentials=_credentials(credential or ()),
    )
    with run.workbench("test") as bench, shared(bench.cache):
        image, toolbox = find_image(bench, profile, architecture), provide_toolbox(bench, profile, architecture)
        verdict = run_image_tests(bench, toolbox, image, request, quick=quick)
    if run.json:
        emit_json(verdict.as_dict())
    else:
        say(f"{verdict.passed} passed, {verdict.skipped} skipped ({verdict.acceleration}); see {verdict.folder}")


def _boot(run: Session, profile: str, architecture: str | None, request: Request, *, daemon: bool) -> None:
    from builder.verbs.boot import boot_console, boot_daemon
    from builder.verbs.build import find_image, provide_toolbox

    # The guest's console is on this terminal: no live progress beside it.
    with run.workbench("boot", live=daemon) as bench, shared(bench.cache):
        image, toolbox = find_image(bench, profile, architecture), provide_toolbox(bench, profile, architecture)
        if not daemon:
            boot_console(bench, toolbox, image, request, keyboard=sys.stdin.fileno(), screen=sys.stdout.fileno())
            return
        running = boot_daemon(bench, toolbox, image, request)
    if run.json:
        emit_json(running.as_dict())
    else:
        _print_running(running)


def _print_running(running: Running) -> None:
    say(f"{running.name} runs ({running.acceleration.kind}: {running.acceleration.reason})")
    say(f"log in with:  {running.ssh}")
    for guest, host in sorted(running.ports.items()):
        say(f"port {guest}:  127.0.0.1:{host}")
    say(f"end it with:  {running.stop}")
    tell(f"its console is logged in {running.console_log}")


def _stop(run: Session, name: str) -> None:
    from builder.verbs.boot import stop

    with run.workbench("boot") as bench:
        clean = stop(bench, name)
    if run.json:
        emit_json({"name": name, "clean": clean})
    else:
        say(f"{name} switched itself off" if clean else f"{name} did not answer and was ended by force")


def _size(option: str, text: str) -> int:
    try:
        return size_in_bytes(text)
    except ValueError as error:
        raise InputError(Problem(f"{option} does not fit", f"{option} {text}", str(error))) from error


def _forwards(texts: Sequence[str]) -> Mapping[int, int]:
    found: dict[int, int] = {}
    for text in texts:
        guest, _, host = text.partition(":")
        ports = [int(port) if port.isascii() and port.isdigit() else -1 for port in (guest, host or "0")]
        if not (0 < ports[0] < 1 << 16 and 0 <= ports[1] < 1 << 16):
            why = "wanted a port of the guest, and perhaps one of this machine behind a colon"
            raise InputError(Problem("--forward does not fit", f"--forward {text}", why, "as in --forward 443:8443"))
        found[ports[0]] = ports[1]
    return found


def _credentials(texts: Sequence[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            # The value may be a secret: it is not repeated.
            where = f"--credential {name}"
            raise InputError(Problem("--credential does not fit", where, "wanted NAME=VALUE", "add = and the value"))
        found[name] = value
    return found
