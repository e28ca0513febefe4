"""Receives one hand-in on standard input, which systemd connects to the student's command.

Students never write into the hand-in folder themselves: no link can be planted there, nobody can read or change what
was handed in, and the time of a hand-in is the machine's. The student's own process reads the files, with the
student's rights. Archives are hostile input: only regular files with plain relative names are taken, and they are
created anew below a folder nobody else can enter.
"""

import os
import pwd
import re
import shutil
import socket
import struct
import sys
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

from . import layout, people
from .handin_protocol import ProtocolError, receive, send
from .settings import SettingsError, load_course, load_settings, parse_size

ASSIGNMENT = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
MOST_FILES = 1000
DEEPEST_PATH = 20


class Refused(Exception):
    """The hand-in cannot be accepted; the message is for the student."""


def peer_name(connection: socket.socket) -> str:
    """The person at the other end, as the kernel saw it connect."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    if not people.is_person(uid):
        raise Refused("Only people of the class can hand in.")
    return pwd.getpwuid(uid).pw_name


def check_assignment(assignment: Any) -> str:
    """Accept names that are safe as a folder and, if the course lists assignments, among them."""
    if not isinstance(assignment, str) or not ASSIGNMENT.fullmatch(assignment):
        raise Refused("The assignment's name may have small letters, digits, '.', '-' and '_'.")
    known = load_course().assignments
    if known and assignment not in known:
        raise Refused(f"There is no assignment '{assignment}'. There are: {', '.join(sorted(known))}.")
    return assignment


def safe_path(name: str) -> PurePosixPath:
    """A path from an archive, if it stays below where it is unpacked."""
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or len(path.parts) > DEEPEST_PATH:
        raise Refused(f"The file name {name!r} cannot be handed in.")
    return path


def store_file(source: IO[bytes], target: Path) -> None:
    """Write a new file and make sure that it is on the disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target, "xb") as file:
        shutil.copyfileobj(source, file)
        file.flush()
        os.fsync(file.fileno())


def unpack(stream: IO[bytes], folder: Path, limit: int) -> tuple[int, int]:
    """Store the files of an archive below a folder; return their number and total size."""
    count = total = 0
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                if not member.isreg():
                    raise Refused(f"{member.name!r} is not a regular file.")
                count, total = count + 1, total + member.size
                if count > MOST_FILES or total > limit:
                    raise Refused(f"A hand-in has at most {MOST_FILES} files and {limit // 2**20} MB.")
                content = archive.extractfile(member)
                if content is None:  # not for a regular file; tarfile's types do not know
                    raise Refused(f"{member.name!r} cannot be read.")
                store_file(content, folder / safe_path(member.name))
    except (tarfile.TarError, FileExistsError, NotADirectoryError, ValueError) as error:
        raise Refused(f"The archive is damaged: {error}") from error
    if count == 0:
        raise Refused("There is nothing to hand in.")
    return count, total


def accept(stream: IO[bytes], student: str, assignment: str, limit: int) -> dict[str, Any]:
    """Take a hand-in, in full or not at all. Earlier ones are kept."""
    incoming = Path(tempfile.mkdtemp(prefix=".incoming-", dir=layout.HANDIN))
    try:
        content = incoming / "content"
        content.mkdir(mode=0o750)
        count, total = unpack(stream, content, limit)
        receipt = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%fZ")
        shelf = layout.HANDIN / assignment / student
        shelf.mkdir(mode=0o750, parents=True, exist_ok=True)
        content.rename(shelf / receipt)
    finally:
        shutil.rmtree(incoming)
    return {"assignment": assignment, "receipt": receipt, "files": count, "bytes": total}


def list_handins(student: str) -> dict[str, Any]:
    """What a student has handed in, by assignment."""
    shelves = sorted(layout.HANDIN.glob(f"*/{student}"))
    return {"handins": {shelf.parent.name: sorted(entry.name for entry in shelf.iterdir()) for shelf in shelves}}


def serve(connection: socket.socket) -> None:
    """Answer one client."""
    with connection.makefile("rb") as requests, connection.makefile("wb") as answers:
        try:
            student = peer_name(connection)
            request = receive(requests)
            if "assignment" in request:
                limit = parse_size(load_settings().handin_limit)
                answer = accept(requests, student, check_assignment(request["assignment"]), limit)
                print(
                    f"{student} handed in {answer['assignment']}: {answer['files']} files, {answer['bytes']} bytes",
                    file=sys.stderr,
                )
            else:
                answer = list_handins(student)
        except (Refused, ProtocolError) as refusal:
            answer = {"error": str(refusal)}
        except SettingsError as error:
            print(error, file=sys.stderr)
            answer = {"error": "The course file has a fault. Tell your teacher."}
        send(answers, answer)


if __name__ == "__main__":
    os.umask(0o027)
    serve(socket.socket(fileno=os.dup(sys.stdin.fileno())))
