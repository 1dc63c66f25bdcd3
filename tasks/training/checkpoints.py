"""Keeps the checkpoints of trainings in files, which a kill leaves whole."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

_FOLDER: Final = "checkpoints"
_KEPT: Final = 4
"""Trainings whose checkpoints are kept although nobody went on with them; older ones are deleted."""


class Checkpoints:
    """The checkpoints of one training, one for each of its fits."""

    def __init__(self, var: Path, run_key: str) -> None:
        """Use a folder of the installation; the oldest of other trainings are deleted."""
        self._folder = var / _FOLDER / run_key
        others = [folder for folder in self._folder.parent.glob("*") if folder != self._folder]
        with suppress(OSError):  # another training ends at the same time
            for given_up in sorted(others, key=lambda folder: folder.stat().st_mtime)[:-_KEPT]:
                shutil.rmtree(given_up)

    def read(self, fit: str) -> bytes | None:
        """Return the last checkpoint of a fit; None without one."""
        try:
            return (self._folder / fit).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, fit: str, content: bytes) -> None:
        """Replace the checkpoint of a fit in one step."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._folder / f".{fit}.{os.getpid()}"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._folder / fit)

    def delete(self) -> None:
        """Delete all of them: the training has ended."""
        shutil.rmtree(self._folder, ignore_errors=True)
