"""What apt's complaints about indices mean: which suites are at fault, and what a person can do."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import urlsplit

from builder.data.publickey import PublicKey
from builder.data.toolchain import Suite
from builder.foundation.errors import Problem

_BAD_SIGNATURE = re.compile("NO_PUBKEY|BADSIG|EXPKEYSIG|not signed|Missing key")
_KEY_EXPIRED = re.compile(r"EXPKEYSIG|[Nn]ot live|[Ee]xpired on")


def site(base: str) -> str:
    """A base URL as apt's messages have it, without scheme, user and password."""
    parts = urlsplit(base)
    return parts.netloc.rpartition("@")[2] + parts.path


def guilty_suites(said: str, suites: Sequence[Suite], bases: Mapping[str, str]) -> list[Suite]:
    """The suites that apt complains about; all of them when it names none."""
    exact = [suite for suite in suites if re.search(_traces(suite, re.escape(site(bases[suite.archive]))), said)]
    # Somewhere else when a mirror sends elsewhere; a flat repository has no name to be known by there.
    known = [suite for suite in suites if not suite.name.endswith("/")]
    return exact or [suite for suite in known if re.search(_traces(suite, ""), said)] or list(suites)


def _traces(suite: Suite, site: str) -> str:
    """A pattern of how apt names a suite of the archive at ``site``; trixie is not trixie-updates."""
    name = re.escape(suite.name)
    if suite.name.endswith("/"):
        # As in `.../vendor/./InRelease` and `The repository '.../vendor ./ Release'`.
        name = name.removeprefix("/")
        return rf"{site}/{name}((In)?Release|Packages)|{site} {name} (In)?Release"
    # As in `.../dists/trixie/InRelease` and `The repository '... trixie Release'`.
    return rf"{site}/dists/{name}/|{site}\s{name} (In)?Release"


def update_problems(
    said: str, guilty: Sequence[Suite], bases: Mapping[str, str], architecture: str, keys: Mapping[str, PublicKey]
) -> list[Problem]:
    """One problem for Debian's archives, one for each repository of a vendor."""
    groups: dict[str, list[Suite]] = {}
    for suite in guilty:
        groups.setdefault(suite.archive if suite.archive in keys else "", []).append(suite)
    problems = []
    for archive, suites in groups.items():
        where = ", ".join(f"{suite.label} ({architecture}) at {bases[suite.archive]}" for suite in suites)
        remedy = _vendor_remedy(said, suites, keys[archive]) if archive else _remedy(said, suites)
        problems.append(Problem("the archive's indices cannot be used", where, said, remedy))
    return problems


def _vendor_remedy(said: str, suites: Sequence[Suite], key: PublicKey) -> str:
    name = suites[0].archive
    another = f"name another place with `--mirror {name}=URL`"
    in_profile = f"`repositories.{name}` of the profile"
    if _KEY_EXPIRED.search(said):
        return f"the key {key.fingerprint} has expired: put the one that the vendor renewed into {in_profile}"
    if _BAD_SIGNATURE.search(said):
        why = f"this is not signed by the key {key.fingerprint}"
        return f"{why}: if the vendor changed its key, ask it, then correct {in_profile}; else {another}"
    if "is expired" in said:
        accept = " ".join(f"--accept-expired {suite.label}" for suite in suites)
        return f"the vendor has not renewed its index: {another}, or accept it with `{accept}` (the lock records it)"
    if "tells no date" in said:
        return f"the vendor must put a date into its index; until then, {another} that has one"
    if re.search("does not have a Release file|has no file", said):
        return f"correct url and suites in {in_profile}, or {another}"
    if re.search("unexpected size|Hash Sum mismatch", said):
        return f"the indices do not fit their InRelease: wait and try again, or {another}"
    return f"check the network, correct {in_profile}, or {another}"


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
    if _BAD_SIGNATURE.search(said):
        return f"this is not signed by Debian's keys: {another}; if they are outdated, upgrade debian-archive-keyring"
    return f"check the network, or {another}"


def _all_optional(suites: Collection[Suite]) -> bool:
    return all("-" in suite.name for suite in suites)
