"""Choosing Debian packages: apt resolves, in a private root, for any architecture; archive signatures are verified.

apt never installs here. It reads indices into a private root, is asked what it would install
(``--print-uris``), and its answer is parsed. Source of the recipe: apt.conf(5), apt-get(8).
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import unquote

from builder.data.lock import Deb, SuiteIndex, Use, iso_date
from builder.data.toolchain import Suite
from builder.foundation.errors import InputError, LichenError, Problem
from builder.foundation.process import ProcessError, Runner

KEYRINGS = tuple(Path(f"/usr/share/keyrings/debian-archive-keyring.{suffix}") for suffix in ("pgp", "gpg"))
_URI = re.compile(r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$")
_UNKNOWN = re.compile(r"^E: (?:Unable to locate package (\S+)|Package '([^']+)' has no installation candidate)", re.M)
_TIMEOUT = "20"  # seconds apt waits for a silent mirror


@dataclass(frozen=True)
class AptRoot:
    """A private apt root with indices that were read and verified.

    Attributes:
        environment: makes every apt command work in this root only.
        bases: archive name to the mirror URL in use.
        indices: the suites read, for the lock.
    """

    runner: Runner
    environment: Mapping[str, str]
    bases: Mapping[str, str]
    indices: tuple[SuiteIndex, ...]

    def resolve(self, packages: Sequence[str], use: Use, asked_by: Mapping[str, str]) -> list[Deb]:
        """Every package file needed to install ``packages`` into an empty system.

        Args:
            packages: names, or apt patterns.
            asked_by: for each name, where a person wrote it.

        Raises:
            InputError: a package does not exist (near matches are named) or dependencies cannot be met.
        """
        command = ["apt-get", "-y", "-o", "Acquire::ForceHash=SHA256", "--print-uris", "install", *packages]
        return self._printed(command, use, asked_by)

    def download(self, package: str, use: Use) -> list[Deb]:
        """The file of ``package`` alone, without what it depends on.

        Raises:
            InputError: it does not exist.
        """
        return self._printed(
            ["apt-get", "-o", "Acquire::ForceHash=SHA256", "--print-uris", "download", package], use, {}
        )

    def _printed(self, command: Sequence[str], use: Use, asked_by: Mapping[str, str]) -> list[Deb]:
        try:
            printed = self.runner.run(command, env=self.environment)
        except ProcessError as error:
            raise self._explain(error, asked_by) from error
        return [self._deb(match, use) for line in printed.stdout.splitlines() if (match := _URI.match(line))]

    def _deb(self, match: re.Match[str], use: Use) -> Deb:
        uri = match["uri"]
        archive = next(name for name, base in self.bases.items() if uri.startswith(f"{base}/pool/"))
        name, version, architecture = unquote(match["file"].removesuffix(".deb")).split("_")
        return Deb(
            name=name,
            version=version,
            architecture=architecture,
            archive=archive,
            path=unquote(uri.removeprefix(f"{self.bases[archive]}/")),
            size=int(match["size"]),
            sha256=match["sha256"],
            uses=(use,),
        )

    def _explain(self, error: ProcessError, asked_by: Mapping[str, str]) -> LichenError:
        said = error.completed.stderr
        unknown = sorted({first or second for first, second in _UNKNOWN.findall(said)})
        if unknown:
            known = self.runner.run(["apt-cache", "pkgnames"], env=self.environment).stdout.split()
            suites = ", ".join(index.suite for index in self.indices)
            return InputError([_no_package(name, known, asked_by.get(name, ""), suites) for name in unknown])
        told = error.completed.stdout.partition("unmet dependencies:\n")[2] or said
        reason = "\n".join(line.strip() for line in (told + said).splitlines() if line.strip())
        guilty = [name for name in asked_by if re.search(rf"^\s*{re.escape(name)}\s*:", told, re.M)]
        where = "; ".join(f"{name}: {asked_by[name]}" for name in guilty)
        remedy = "remove or replace the package whose dependencies cannot be met"
        return InputError(Problem("apt cannot satisfy the packages' dependencies", where, reason, remedy))


def _no_package(name: str, known: Sequence[str], where: str, suites: str) -> Problem:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.7)
    remedy = f"did you mean {' or '.join(near)}?" if near else "correct the name"
    return Problem(f"there is no Debian package {name!r}", where, f"not in {suites}", remedy)


@contextlib.contextmanager
def apt_root(
    runner: Runner,
    folder: Path,
    architecture: str,
    suites: Sequence[Suite],
    mirrors: Mapping[str, Sequence[str]],
    accept_expired: frozenset[str] = frozenset(),
) -> Iterator[AptRoot]:
    """Read and verify the indices of ``suites`` into a private root that is gone when the block is left.

    Args:
        folder: where the root may be made.
        mirrors: archive name to its mirrors, tried in order.
        accept_expired: suites whose index may be past its Valid-Until.

    Raises:
        LichenError: an index cannot be fetched or verified from any mirror; names suite and reasons.
    """
    keyring = next((path for path in KEYRINGS if path.is_file()), None)
    if keyring is None:
        remedy = "apt-get install debian-archive-keyring"
        raise LichenError(Problem("the Debian archive's keys are missing", str(KEYRINGS[-1]), "", remedy))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f"{architecture}-") as name:
        root = Path(name)
        problems: list[Problem] = []
        for attempt in range(max(len(mirrors[suite.archive]) for suite in suites)):
            bases = {s.archive: _nth(mirrors[s.archive], attempt) for s in suites}
            environment = _write_root(root, architecture, suites, bases, keyring, accept_expired)
            try:
                runner.run(["apt-get", "update"], env=environment)
            except ProcessError as error:
                problems.append(_update_problem(error, suites, bases, architecture))
                continue
            indices = tuple(_index(root, suite) for suite in suites)
            yield AptRoot(runner, environment, bases, indices)
            return
        raise LichenError(problems)


def _nth(mirrors: Sequence[str], attempt: int) -> str:
    return mirrors[min(attempt, len(mirrors) - 1)].rstrip("/")


def _write_root(
    root: Path,
    architecture: str,
    suites: Sequence[Suite],
    bases: Mapping[str, str],
    keyring: Path,
    accept_expired: frozenset[str],
) -> dict[str, str]:
    for part in ("etc/parts", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"):
        (root / part).mkdir(parents=True, exist_ok=True)
    (root / "state/status").touch()
    (root / "etc/sources.list").write_text(
        "".join(
            f"deb [arch={architecture} signed-by={keyring}"
            f"{' check-valid-until=no' if suite.name in accept_expired else ''}] "
            f"{bases[suite.archive]} {suite.name} {' '.join(suite.components)}\n"
            for suite in suites
        )
    )
    settings = {
        "Dir": root,
        "Dir::Etc": root / "etc",
        "Dir::Etc::parts": root / "etc/parts",
        "Dir::State": root / "state",
        "Dir::State::status": root / "state/status",
        "Dir::Cache": root / "cache",
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        # The root lies in a folder of the person who runs us, where apt's own user may not look.
        "APT::Sandbox::User": "root",
        "APT::Install-Recommends": "false",
        # Half a set of indices must not pass as a whole one.
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
        "Acquire::Retries": "1",
        "Acquire::http::Timeout": _TIMEOUT,
        "Acquire::https::Timeout": _TIMEOUT,
    }
    config = root / "apt.conf"
    config.write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
    return {"APT_CONFIG": str(config), "LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


def _index(root: Path, suite: Suite) -> SuiteIndex:
    (file,) = (root / "state/lists").glob(f"*_dists_{suite.name}_InRelease")
    data = file.read_bytes()
    fields: dict[str, str] = dict(re.findall(r"^(Date|Valid-Until): (.+)$", data.decode(errors="replace"), re.M))
    until = fields.get("Valid-Until")
    return SuiteIndex(
        archive=suite.archive,
        suite=suite.name,
        date=iso_date(parsedate_to_datetime(fields["Date"]).astimezone(UTC)),
        inrelease_sha256=hashlib.sha256(data).hexdigest(),
        expired=until is not None and parsedate_to_datetime(until).astimezone(UTC) < datetime.now(UTC),
    )


def _update_problem(
    error: ProcessError, suites: Sequence[Suite], bases: Mapping[str, str], architecture: str
) -> Problem:
    said = "\n".join(line for line in error.completed.stderr.splitlines() if line[:2] in ("E:", "W:", "  "))
    named = [s for s in suites if f"dists/{s.name}/" in said or re.search(rf"\b{re.escape(s.name)}\b", said)]
    guilty = named or list(suites)
    where = ", ".join(f"{suite.name} ({architecture}) at {bases[suite.archive]}" for suite in guilty)
    return Problem("the archive's indices cannot be used", where, said or "apt gave no reason", _remedy(said, guilty))


def _remedy(said: str, guilty: Sequence[Suite]) -> str:
    names = " ".join(suite.name for suite in guilty)
    if "is expired" in said:
        return (
            f"the mirror has not been refreshed: try another (--mirror), or accept it with "
            f"`--accept-expired {names}` (the lock records it)"
        )
    if "unexpected size" in said or "Hash Sum mismatch" in said or "404" in said:
        return (
            f"the mirror's indices do not fit its InRelease: wait, try another (--mirror), or lock without it with "
            f"`--without {names}` (the lock records it)"
        )
    if "NO_PUBKEY" in said or "BADSIG" in said or "not signed" in said or "Missing key" in said:
        return "the mirror does not carry Debian's signature: use another; apt-get install debian-archive-keyring"
    return "check the network or name another mirror with --mirror debian=URL"
