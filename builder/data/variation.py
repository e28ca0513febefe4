"""How the hosts of two builds differ: whatever may differ between two people's machines and must not reach an image.

Pure: the same seed gives the same hosts.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import BeforeValidator, Field

from builder.data.model import Frozen, _tuple

Item = TypeVar("Item")

_PATHS = (
    "a folder with blanks/and a rather long name, longer than what most programs' authors have had in mind",
    "Vermischtes (neu)/zweiter Versuch, diesmal richtig/mit einem Namen, der gar nicht enden will, und noch einem Wort",
)
_USERS = ("ziggy", "mock-builder", "u1000")
_HOSTS = ("elsewhere.example", "b7", "ein-anderer-rechner-mit-langem-namen.invalid")
_UMASKS = (0o077, 0o027, 0o002)
_LOCALES = ("tr_TR.UTF-8", "de_DE.ISO-8859-1", "ja_JP.EUC-JP")
# As POSIX writes them: a bare machine has no database of zones, and would take a name that it cannot find for UTC.
_ZONES = ("<+1245>-12:45", "<+14>-14", "<+0545>-5:45")
# Settings that programs of a build are known to listen to.
_NOISE = (
    ("DEB_BUILD_OPTIONS", "nocheck parallel=7"),
    ("GZIP", "-1"),
    ("MALLOC_PERTURB_", "165"),
    ("POSIXLY_CORRECT", "1"),
    ("PYTHONOPTIMIZE", "1"),
    ("SOURCE_DATE_EPOCH", "86400"),
    ("SYSTEMD_LOG_LEVEL", "debug"),
    ("TAR_OPTIONS", "--mode=0777"),
    ("XZ_DEFAULTS", "-0 -T1"),
    ("ZSTD_CLEVEL", "1"),
)
USUAL_PATH = "host"


class Circumstances(Frozen):
    """What a build is told of its machine, instead of finding it out. Nothing of it may reach an image.

    Attributes:
        workspace: ``disk`` as if there were no memory for it; None for memory when it fits.
        clock: seconds that the programs of the build see the clock ahead; one that lags behind the lock is refused.
        jobs: components built at once; None for all that do not wait for one another.
    """

    workspace: Literal["disk"] | None = None
    clock: int = Field(0, ge=0)
    jobs: int | None = Field(None, gt=0)


USUAL = Circumstances()


class Variation(Frozen):
    """One deliberately different host. What is None or empty is as on this machine.

    Attributes:
        path: below the scratch folder, where project and cache lie.
        user: name of the user with the number 0; the home folder bears it too.
        processors: how many of them the build may use.
        directories: hash seed of the ext4 that all is built on; it decides in which order folders list their files.
        shuffle: seed of the order in which project and store are laid out.
        noise: variables of the environment.
    """

    path: str = USUAL_PATH
    user: str | None = None
    host: str | None = None
    umask: int | None = None
    locale: str | None = None
    time_zone: str | None = None
    processors: int | None = None
    directories: str | None = None
    shuffle: int | None = None
    noise: Annotated[tuple[Annotated[tuple[str, str], BeforeValidator(_tuple)], ...], BeforeValidator(_tuple)] = ()
    circumstances: Circumstances = USUAL

    def conditions(self) -> dict[str, str]:
        """What differs, for people; the clock is told by whoever saw how far it reached."""
        place = self.circumstances
        orders = (
            f"own ext4, directory hash seed {self.directories}" if self.directories else "",
            "project and store laid out shuffled" if self.shuffle is not None else "",
        )
        told = {
            "path": self.path if self.path != USUAL_PATH else "",
            "user": self.user or "",
            "hostname": self.host or "",
            "umask": f"{self.umask:04o}" if self.umask is not None else "",
            "locale": self.locale or "",
            "timezone": self.time_zone or "",
            "cpus": str(self.processors or ""),
            "jobs": str(place.jobs or ""),
            "workspace": place.workspace or "",
            "file order": ", ".join(filter(None, orders)),
            "environment": ", ".join(name for name, _ in self.noise),
        }
        return {name: text for name, text in told.items() if text}


def variations(seed: int, number: int) -> tuple[Variation, ...]:
    """``number`` hosts: on the first everything differs, on each later one about half of it."""
    # A stream of its own for each: the third host is the same, however many follow.
    return tuple(_variation(random.Random(f"{seed}.{index}"), everything=index == 0) for index in range(number))  # noqa: S311


def _variation(chance: random.Random, *, everything: bool) -> Variation:
    def varied(value: Item) -> Item | None:
        # Always both draws, so that what one aspect is does not depend on whether another differs.
        return value if chance.random() < 0.5 or everything else None

    clock = varied((14 + int(chance.random() * 60)) * 86400 + int(chance.random() * 86400))
    directories = str(uuid.UUID(int=chance.getrandbits(128), version=4))
    on_disk: Literal["disk"] = "disk"
    circumstances = Circumstances(
        workspace=varied(on_disk),
        clock=clock or 0,
        jobs=varied(1 + int(chance.random() * 2) if not everything else 1),
    )
    noise = varied(tuple(pair for pair in _NOISE if chance.random() < 0.7 or everything))
    return Variation(
        path=varied(_pick(chance, _PATHS)) or USUAL_PATH,
        user=varied(_pick(chance, _USERS)),
        host=varied(_pick(chance, _HOSTS)),
        umask=varied(_pick(chance, _UMASKS)),
        locale=varied(_pick(chance, _LOCALES)),
        time_zone=varied(_pick(chance, _ZONES)),
        processors=varied(1),
        directories=varied(directories),
        shuffle=varied(chance.getrandbits(32)),
        noise=noise or (),
        circumstances=circumstances,
    )


def _pick(chance: random.Random, items: Sequence[Item]) -> Item:
    return items[int(chance.random() * len(items))]
