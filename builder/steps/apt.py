"""Choosing Debian packages: apt resolves, in a private root, for any architecture; archive signatures are verified.

apt never installs here. It reads indices into a private root, is asked what it would install
(``--print-uris``), and its answer is parsed. Source of the recipe: apt.conf(5), apt-get(8), apt_preferences(5).

Repositories of vendors are read beside Debian's, each verified with its own key only. Of a name that Debian has, only
Debian's package is used: whoever signs a vendor's index may add packages to an image, and replace none.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import hashlib
import os
import posixpath
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import unquote

from builder.data.aptreasons import guilty_suites, site, update_problems
from builder.data.lock import Deb, SuiteIndex, Use, iso_date
from builder.data.publickey import PublicKey
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
# Above the priority of 500 that any other repository has, below the 1000 at which apt would downgrade.
_DEBIAN_FIRST = "Package: *\nPin: release o=Debian\nPin-Priority: 900\n"
_OWN = "Lichen's own packages (builder/data/toolchain.py)"


@dataclass(frozen=True)
class AptRoot:
    """A private apt root with indices that were read and verified.

    Attributes:
        environment: makes every apt command work in this root only.
        bases: archive name to the mirror URL in use.
        keys: the keys of the repositories of vendors among them.
        suites: the suites read, and their indices, for the lock.
    """

    runner: Runner
    environment: Mapping[str, str]
    bases: Mapping[str, str]
    keys: Mapping[str, PublicKey]
    suites: tuple[Suite, ...]
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

    def download(self, packages: Sequence[str], use: Use, asked_by: Mapping[str, str]) -> list[Deb]:
        """The files of ``packages`` alone, without what they depend on.

        Args:
            asked_by: for each name, where a person wrote it.

        Raises:
            InputError: one does not exist.
        """
        self._require(packages, asked_by)
        return self._debs(self._get("--print-uris", "download", *packages), use)

    def names(self) -> frozenset[str]:
        """Names of all packages that the suites have."""
        return frozenset(self._names())

    def offered(self, archive: str, names: Collection[str]) -> dict[str, str]:
        """Those of ``names`` that ``archive`` has too, with the newest version it has."""
        printed = self.runner.run(["apt-cache", "madison", *sorted(names)], env=self.environment).stdout
        place = site(self.bases[archive])
        rows = [[column.strip() for column in line.split("|")] for line in printed.splitlines()]
        return {row[0]: row[1] for row in reversed(rows) if len(row) == 3 and f"{place} " in row[2]}

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
        found = [(line, _URI.match(line)) for line in printed.splitlines() if line.startswith("'")]
        # Vendors' indices may have other sums only; without a word the package would be missing from the lock.
        if unknown := [line for line, match in found if not match]:
            why = "only a file with a known hash can be locked"
            remedy = "ask the vendor for an index with SHA256 sums, or do without these packages"
            raise LichenError(Problem("the index tells no SHA-256 of a package", "\n".join(unknown), why, remedy))
        return [self._deb(match, use) for _, match in found if match]

    def _deb(self, match: re.Match[str], use: Use) -> Deb:
        uri = match["uri"]
        # Vendors have their files anywhere, perhaps below a folder of Debian's mirror: the longest base is meant.
        bases = {name: _as_apt_writes(base) for name, base in self.bases.items()}
        inside = [n for n, base in bases.items() if uri.startswith(f"{base}/" if n in self.keys else f"{base}/pool/")]
        if not inside:
            why = "it is not in the pool/ of any archive that the suites belong to"
            raise LichenError(Problem("apt names a file in an unknown place", uri, why, "use another mirror"))
        archive = max(inside, key=lambda name: len(bases[name]))
        if archive not in self.keys and (around := [name for name in inside if name in self.keys]):
            why = (
                f"the place of the repository {around[0]} has Debian's archive in it: nobody can tell whose file it is"
            )
            remedy = f"name another place of one of them, with `--mirror {around[0]}=URL` or `--mirror {archive}=URL`"
            raise LichenError(Problem("a package is in two archives", uri, why, remedy))
        name, version, architecture = unquote(match["file"].removesuffix(".deb")).split("_")
        return Deb(
            name=name,
            version=version,
            architecture=architecture,
            archive=archive,
            # Flat repositories write ./NAME.deb.
            path=posixpath.normpath(unquote(uri.removeprefix(f"{bases[archive]}/")).lstrip("/")),
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
        if self.keys:
            remedy += f"; of names that Debian has too, no package of {', '.join(self.keys)} is used"
        return InputError(Problem("apt cannot satisfy the packages' dependencies", where, reason, remedy))

    def _installable(self, package: str) -> bool:
        command = ["apt-get", "--simulate", "install", package]
        return self.runner.run(command, env=self.environment, check=False).returncode == 0

    def _no_packages(self, names: Sequence[str], asked_by: Mapping[str, str], printed: str = "") -> list[Problem]:
        known = self._names()
        suites = ", ".join(_with_components(suite) for suite in self.suites)
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
    keys: Mapping[str, PublicKey] | None = None,
) -> Iterator[AptRoot]:
    """Read and verify the indices of ``suites`` into a private root that is gone when the block is left.

    Args:
        folder: where the root may be made.
        mirrors: archive name to its mirrors, tried in order.
        accept_expired: labels of suites whose index may be past its Valid-Until.
        keys: for each archive that is a vendor's, the one key that may sign it.

    Raises:
        LichenError: an index cannot be fetched or verified from any mirror (names suite and reasons), or the disk is
            full.
    """
    keyring = _debian_keyring()
    keys = keys or {}
    with scratch_folder(folder) as root:
        problems: list[Problem] = []
        signed_by = _write_keys(root, suites, keyring, keys)
        chosen = dict.fromkeys((suite.archive for suite in suites), 0)
        while True:
            bases = {archive: mirrors[archive][number].rstrip("/") for archive, number in chosen.items()}
            environment = _write_root(root, architecture, suites, bases, accept_expired, signed_by)
            try:
                runner.run(["apt-get", "update"], env=environment, timeout=UPDATE_SECONDS)
                indices = _indices(runner, root, environment, suites, bases)
            except LichenError as error:
                if isinstance(error.__cause__, FileNotFoundError):
                    raise  # there is no apt-get at all
                said = _complaints(error)
                if os.strerror(errno.ENOSPC) in said:
                    raise disk_error(OSError(errno.ENOSPC, ""), folder) from error
                guilty = guilty_suites(said, suites, bases)
                problems += update_problems(said, guilty, bases, architecture, keys)
                others = {s.archive for s in guilty if chosen[s.archive] + 1 < len(mirrors[s.archive])}
                if not others:
                    raise LichenError(problems) from error
                chosen.update({archive: chosen[archive] + 1 for archive in others})
                continue
            yield AptRoot(runner, environment, bases, keys, tuple(suites), indices)
            return


def _with_components(suite: Suite) -> str:
    return f"{suite.name} ({' '.join(suite.components)})" if suite.components else suite.name


def _debian_keyring() -> Path:
    keyring = next((path for path in KEYRINGS if path.is_file()), None)
    if keyring is None:
        remedy = "apt-get install debian-archive-keyring"
        why = "without them nobody can tell whose indices a mirror has"
        raise LichenError(Problem("the Debian archive's keys are missing", str(KEYRINGS[-1]), why, remedy))
    return keyring


def _write_root(
    root: Path,
    architecture: str,
    suites: Sequence[Suite],
    bases: Mapping[str, str],
    accept_expired: frozenset[str],
    signed_by: Mapping[str, Path],
) -> dict[str, str]:
    # Nothing of a mirror that was tried before may be taken for this one's.
    shutil.rmtree(root / "state", ignore_errors=True)
    for part in ("etc/parts", "etc/preferences.d", "state/lists/partial", "cache/archives/partial", "tmp"):
        (root / part).mkdir(parents=True, exist_ok=True)
    (root / "state/status").touch()
    (root / "etc/sources.list").write_text(
        "".join(
            f"deb [arch={architecture} signed-by={signed_by[suite.archive]}"
            f"{' check-valid-until=no' if suite.label in accept_expired else ''}] "
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


def _write_keys(root: Path, suites: Sequence[Suite], debian: Path, keys: Mapping[str, PublicKey]) -> dict[str, Path]:
    """For each archive the file with the keys that may sign it."""
    signed_by = {suite.archive: debian for suite in suites}
    (root / "etc").mkdir()
    for archive, key in keys.items():
        signed_by[archive] = root / f"etc/{archive}.gpg"
        signed_by[archive].write_bytes(key.packets)
    if keys:
        (root / "etc/preferences").write_text(_DEBIAN_FIRST)
    return signed_by


def _as_apt_writes(base: str) -> str:
    """A base URL as apt prints it: file:/path for file:///path."""
    return re.sub("^file:/+", "file:/", base)


def _indices(
    runner: Runner, root: Path, environment: Mapping[str, str], suites: Sequence[Suite], bases: Mapping[str, str]
) -> tuple[SuiteIndex, ...]:
    """What was read of each suite.

    Raises:
        LichenError: a suite has no signed index, or one without a date.
    """
    # Lines of URI, file name and size: apt alone knows what it calls the file of an index.
    printed = runner.run(["apt-get", "--print-uris", "update"], env=environment).stdout
    names = {unquote(uri): name for uri, name in re.findall(r"^'([^']+InRelease)' (\S+)", printed, re.M)}
    return tuple(_index(root / "state/lists", names, suite, bases[suite.archive]) for suite in suites)


def _index(lists: Path, names: Mapping[str, str], suite: Suite, base: str) -> SuiteIndex:
    folder = suite.name.removeprefix("/") if suite.name.endswith("/") else f"dists/{suite.name}/"
    name = names.get(unquote(f"{_as_apt_writes(base)}/{folder}InRelease"), "")
    place = f"{site(base)}/{folder}InRelease"
    file = lists / name
    if not file.is_file():
        why = f"E: the mirror has no file {place}"
        raise LichenError(Problem("the suite has no signed index", suite.label, why))
    data = file.read_bytes()
    fields: dict[str, str] = dict(re.findall(r"^(Date|Valid-Until): (.+)$", data.decode(errors="replace"), re.M))
    until = fields.get("Valid-Until")
    try:
        date = parsedate_to_datetime(fields.get("Date", "")).astimezone(UTC)
        expired = until is not None and parsedate_to_datetime(until).astimezone(UTC) < datetime.now(UTC)
    except (ValueError, TypeError) as error:
        why = f"E: {place} tells no date that can be read: {error}"
        raise LichenError(Problem("the suite's index has no date", suite.label, why)) from error
    # The signature covers no line end behind itself: a mirror that loses it must not move a lock.
    signed = data.rstrip() + b"\n"
    return SuiteIndex(
        archive=suite.archive,
        suite=suite.name,
        date=iso_date(date),
        inrelease_sha256=hashlib.sha256(signed).hexdigest(),
        expired=expired,
    )


def _complaints(error: LichenError) -> str:
    """What an unsuccessful update said, without its notices."""
    if not isinstance(error, ProcessError):
        return "\n".join(problem.why or problem.what for problem in error.problems)
    lines = error.completed.stderr.splitlines()
    return "\n".join(line for line in lines if line[:2] in ("E:", "W:", "  ")) or error.problems[0].what
