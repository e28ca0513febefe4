"""The models that were installed, newest last, as files."""

from __future__ import annotations

from pathlib import Path

from lichen_agent.sealed import SealError, read_sealed, write_sealed

from .model import SEAL, Model, ModelError, model_of

KEPT = 5


class Versions:
    """The folder of models; each has a number, which is never used again while a later one is there.

    Args:
        folder: made when it is missing.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)

    def numbers(self) -> list[int]:
        """Of the models that are there, ascending."""
        return sorted(int(path.stem) for path in self._folder.glob("*.npz") if path.stem.isdecimal())

    def add(self, model: Model) -> int:
        """Keep a model, and no more than five in all; return its number.

        Raises:
            OSError: it cannot be written.
        """
        number = max(self.numbers(), default=0) + 1
        write_sealed(self._path(number), SEAL, model.arrays())
        for old in self.numbers()[:-KEPT]:
            self.drop(old)
        return number

    def newest(self, below: int = 1 << 62) -> tuple[int, Model | None, str]:
        """The newest model with a number below that one.

        Returns:
            Its number and itself, or 0 and None; and what is wrong with newer ones, which were passed over.
        """
        faults = ""
        for number in reversed(self.numbers()):
            if number >= below:
                continue
            try:
                return number, model_of(read_sealed(self._path(number), SEAL)), faults
            except (FileNotFoundError, SealError, ModelError) as error:
                faults += f"model {number} is passed over: {error}. "
        return 0, None, faults

    def drop(self, number: int) -> None:
        """Forget a model."""
        self._path(number).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06}.npz"
