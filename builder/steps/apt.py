"""Choosing Debian packages: apt resolves, in a private root, for any architecture; archive signatures are verified.

apt never installs here. It reads indices into a private root, is asked what it would install
(``--print-uris``), and its answer is parsed. Source of the recipe: apt.conf(5), apt-get(8).
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import hashlib
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import unquote

from builder.data.lock import Deb, SuiteIndex, Use, iso_date
from builder.data.toolchain import Suite
from builder.foundation.atomic import disk_error
from builder.foundation.errors import InputError, LichenError, Problem
from builder.foundation.process import ProcessError, Runner
from builder.foundation.scratch import scratch_folder

KEYRINGS = tuple(Path(f"/usr/share/keyrings/debian-archive-keyring.{suffix}") for suffix in ("pgp", "gpg"))
TIMEOUT_SECONDS = 20  # that apt waits for a silent mirror
UPDATE_SECONDS = 900.0  # for all indices of one mirror; apt's own time-out does not cover every way to hang
PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_URI = re.compile(r"^'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})$")
_UNKNOWN = re.compile(r"^E: (?:Unable to locate package (\S+)|Package '([^']+)' has no installation candidate)", re.M)
_PROVIDED = r"^Package {} is a virtual package provided by:\n((?:  .*\n)+)"
_OWN = "Lichen's own packages (builder/data/toolchain.py)"


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
        self._require(packages, asked_by)
        try:
            printed = self._get("--print-uris", "install", *packages)
        except ProcessError as error:
            if error.killed:
                raise
            raise self._explain(error, packages, asked_by) from error
        return self._debs(printed, use)

    def download(self, package: str, use: Use) -> list[Deb]:
        """The file of ``package`` alone, without what it depends on.

        Raises:
            InputError: it does not exist.
        """
        self._require([package], {})
        return self._debs(self._get("--print-uris", "download", package), use)

    def _get(self, *arguments: str) -> str:
        command = ["apt-get", "-y", "-o", "Acquire::ForceHash=SHA256", *arguments]
        return self.runner.run(command, env=self.environment).stdout

    def _require(self, packages: Sequence[str], asked_by: Mapping[str, str]) -> None:
        # apt takes a name that it does not know for a regular expression (`python3.1`), or, when it ends in a minus,
        # for a package not to install; both would go unnoticed.
        known = set(self._names("--all-names"))
        if unknown := [name for name in packages if not name.startswith("?") and name not in known]:
            raise InputError(self._no_packages(unknown, asked_by))

    def _names(self, *options: str) -> list[str]:
        return self.runner.run(["apt-cache", "pkgnames", *options], env=self.environment).stdout.split()

    def _debs(self, printed: str, use: Use) -> list[Deb]:
        return [self._deb(match, use) for line in printed.splitlines() if (match := _URI.match(line))]

    def _deb(self, match: re.Match[str], use: Use) -> Deb:
        uri = match["uri"]
        # apt writes file:/path for file:///path.
        bases = {name: re.sub("^file:/+", "file:/", base) for name, base in self.bases.items()}
        archive = next((name for name, base in bases.items() if uri.startswith(f"{base}/pool/")), None)
        if archive is None:
            why = "it is not in the pool/ of any archive that the suites belong to"
            raise LichenError(Problem("apt names a file in an unknown place", uri, why, "use another mirror"))
        name, version, architecture = unquote(match["file"].removesuffix(".deb")).split("_")
        return Deb(
            name=name,
            version=version,
            architecture=architecture,
            archive=archive,
            path=unquote(uri.removeprefix(f"{bases[archive]}/")),
            size=int(match["size"]),
            sha256=match["sha256"],
            uses=(use,),
        )

    def _explain(self, error: ProcessError, packages: Sequence[str], asked_by: Mapping[str, str]) -> LichenError:
        said, printed = error.completed.stderr, error.completed.stdout
        if unknown := sorted({first or second for first, second in _UNKNOWN.findall(said)}):
            return InputError(self._no_packages(unknown, asked_by, printed))
        told = printed.partition("unmet dependencies:\n")[2]
        guilty = [name for name in packages if re.search(rf"^\s*{re.escape(name)}\s*:", told, re.M)]
        # The package that apt complains about may only be a dependency of one that somebody asked for.
        guilty = guilty or [name for name in packages if not self._installable(name)]
        where = "; ".join(f"{name}: {asked_by.get(name, _OWN)}" for name in guilty)
        reason = "\n".join(line.strip() for line in f"{told}\n{said}".splitlines() if line.strip())
        remedy = "remove or replace the package whose dependencies cannot be met"
        return InputError(Problem("apt cannot satisfy the packages' dependencies", where, reason, remedy))

    def _installable(self, package: str) -> bool:
        command = ["apt-get", "--simulate", "install", package]
        return self.runner.run(command, env=self.environment, check=False).returncode == 0

    def _no_packages(self, names: Sequence[str], asked_by: Mapping[str, str], printed: str = "") -> list[Problem]:
        known = self._names()
        suites = ", ".join(index.suite for index in self.indices)
        problems = []
        for name in names:
            provided = re.search(_PROVIDED.format(re.escape(name)), printed, re.M)
            if provided:
                near = sorted({line.split()[0] for line in provided[1].splitlines()})
            else:
                near = difflib.get_close_matches(name, known, n=3, cutoff=0.7)
            why = f"in {suites} it is only a name that several provide" if provided else f"not in {suites}"
            remedy = f"did you mean {' or '.join(near)}?" if near else "correct the name"
            what = f"there is no Debian package {name!r}"
            problems.append(Problem(what, asked_by.get(name, _OWN), why, remedy))
        return problems


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
        LichenError: an index cannot be fetched or verified from any mirror (names suite and reasons), or the disk is
            full.
    """
    keyring = next((path for path in KEYRINGS if path.is_file()), None)
    if keyring is None:
        remedy = "apt-get install debian-archive-keyring"
        why = "without them nobody can tell whose indices a mirror has"
        raise LichenError(Problem("the Debian archive's keys are missing", str(KEYRINGS[-1]), why, remedy))
    with scratch_folder(folder) as root:
        problems: list[Problem] = []
        chosen = dict.fromkeys((suite.archive for suite in suites), 0)
        while True:
            bases = {archive: mirrors[archive][number].rstrip("/") for archive, number in chosen.items()}
            environment = _write_root(root, architecture, suites, bases, keyring, accept_expired)
            try:
                runner.run(["apt-get", "update"], env=environment, timeout=UPDATE_SECONDS)
                indices = tuple(_index(root, suite) for suite in suites)
            except LichenError as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    raise  # there is no apt-get at all
                said = _complaints(error)
                if os.strerror(errno.ENOSPC) in said:
                    raise disk_error(OSError(errno.ENOSPC, ""), folder) from error
                guilty = _guilty(said, suites)
                problems.append(_update_problem(said, guilty, bases, architecture))
                others = {s.archive for s in guilty if chosen[s.archive] + 1 < len(mirrors[s.archive])}
                if not others:
                    raise LichenError(problems) from error
                chosen.update({archive: chosen[archive] + 1 for archive in others})
                continue
            yield AptRoot(runner, environment, bases, indices)
            return


def _write_root(
    root: Path,
    architecture: str,
    suites: Sequence[Suite],
    bases: Mapping[str, str],
    keyring: Path,
    accept_expired: frozenset[str],
) -> dict[str, str]:
    # Nothing of a mirror that was tried before may be taken for this one's.
    shutil.rmtree(root / "state", ignore_errors=True)
    for part in ("etc/parts", "etc/preferences.d", "state/lists/partial", "cache/archives/partial", "tmp"):
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
        # apt counts itself as essential, mkosi does not let it: an initrd has no apt.
        "pkgCacheGen::ForceEssential": ",",
        # Half a set of indices must not pass as a whole one.
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
        "Acquire::Retries": "1",
        # apt 2.6 waits for ever when it delays the second try of an InRelease that was cut off.
        "Acquire::Retries::Delay": "false",
        "Acquire::http::Timeout": TIMEOUT_SECONDS,
        "Acquire::https::Timeout": TIMEOUT_SECONDS,
    }
    config = root / "apt.conf"
    config.write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
    proxies = {name: value for name in PROXIES if (value := os.environ.get(name) or os.environ.get(name.upper()))}
    # Without TMPDIR a killed apt would leave its temporary files in the common folder.
    own = {"APT_CONFIG": str(config), "TMPDIR": str(root / "tmp")}
    return {**own, "LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **proxies}


def _index(root: Path, suite: Suite) -> SuiteIndex:
    try:
        (file,) = (root / "state/lists").glob(f"*_dists_{suite.name}_InRelease")
    except ValueError as error:
        why = f"E: the mirror has no file /dists/{suite.name}/InRelease"
        raise LichenError(Problem("the suite has no signed index", suite.name, why)) from error
    data = file.read_bytes()
    fields: dict[str, str] = dict(re.findall(r"^(Date|Valid-Until): (.+)$", data.decode(errors="replace"), re.M))
    until = fields.get("Valid-Until")
    # The signature covers no line end behind itself: a mirror that loses it must not move a lock.
    signed = data.rstrip() + b"\n"
    return SuiteIndex(
        archive=suite.archive,
        suite=suite.name,
        date=iso_date(parsedate_to_datetime(fields["Date"]).astimezone(UTC)),
        inrelease_sha256=hashlib.sha256(signed).hexdigest(),
        expired=until is not None and parsedate_to_datetime(until).astimezone(UTC) < datetime.now(UTC),
    )


def _complaints(error: LichenError) -> str:
    """What an unsuccessful update said, without its notices."""
    if not isinstance(error, ProcessError):
        return "\n".join(problem.why or problem.what for problem in error.problems)
    lines = error.completed.stderr.splitlines()
    return "\n".join(line for line in lines if line[:2] in ("E:", "W:", "  ")) or error.problems[0].what


def _guilty(said: str, suites: Sequence[Suite]) -> list[Suite]:
    """The suites that apt complains about; all of them when it names none."""
    # As in `.../dists/trixie/InRelease` and `The repository '... trixie Release'`; trixie is not trixie-updates.
    return [s for s in suites if re.search(rf"/dists/{s.name}/|\s{s.name} (In)?Release", said)] or list(suites)


def _update_problem(said: str, guilty: Sequence[Suite], bases: Mapping[str, str], architecture: str) -> Problem:
    where = ", ".join(f"{suite.name} ({architecture}) at {bases[suite.archive]}" for suite in guilty)
    return Problem("the archive's indices cannot be used", where, said, _remedy(said, guilty))


def _remedy(said: str, guilty: Sequence[Suite]) -> str:
    archives = dict.fromkeys(suite.archive for suite in guilty)
    another = f"name another mirror with {' '.join(f'`--mirror {archive}=URL`' for archive in archives)}"
    without = " ".join(f"--without {suite.name}" for suite in guilty)
    # A release itself cannot be left out, only what is laid on top of it: -updates, -security.
    leave_out = f", or lock without it: `{without}` (the lock records it)" if _all_optional(guilty) else ""
    if "is expired" in said:
        accept = " ".join(f"--accept-expired {suite.name}" for suite in guilty)
        return f"the mirror has not been refreshed: {another}, or accept it with `{accept}` (the lock records it)"
    if "is not valid yet" in said:
        return f"set this machine's clock, or {another}"
    if re.search(r"unexpected size|Hash Sum mismatch|\b404 +Not Found", said):
        return f"the mirror's indices do not fit its InRelease: wait and try again, {another}{leave_out}"
    if re.search("does not have a Release file|has no file", said):
        return f"the mirror does not have the suite: {another}{leave_out}"
    if "NOSPLIT" in said:
        return f"what came is no signed index; perhaps this network wants a login in a browser; else {another}"
    if re.search("NO_PUBKEY|BADSIG|EXPKEYSIG|not signed|Missing key", said):
        return f"this is not signed by Debian's keys: {another}; if they are outdated, upgrade debian-archive-keyring"
    return f"check the network, or {another}"


def _all_optional(suites: Collection[Suite]) -> bool:
    return all("-" in suite.name for suite in suites)
