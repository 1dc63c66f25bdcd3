"""Where a champion comes from without a database: a bundle folder, or the copy of the last one that was loaded."""

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from infra.bundles.bundle import Bundle, load, store_bundle
from infra.bundles.manifest import BundleRefusedError
from infra.private_files.folders import staged

COPY_FOLDER: Final = "serving/champion"
"""The folder within `var` of the copy."""
_RECORD: Final = "champion.json"


@dataclass(frozen=True)
class Candidate:
    """A bundle that should be the champion, before anything of it is read."""

    open: Callable[[], Bundle]
    """Verifies and reads it. Raises BundleRefusedError."""
    digest: str
    folder: Path
    model_version: int | None = None
    promotion_id: int | None = None


class ModelSource(Protocol):
    """Names the bundle that should answer now."""

    def newest(self) -> Candidate | None:
        """Return it; None if there is none. Raises OSError if the source does not answer."""


@dataclass(frozen=True)
class BundleFolder:
    """One folder, for servers without a database."""

    folder: Path

    def newest(self) -> Candidate:
        """Return the bundle of the folder; a name of 64 hex digits is the digest that it must have."""
        named = self.folder.name
        digest = named if len(named) == 64 and set(named) <= set("0123456789abcdef") else None
        return Candidate(lambda: load(self.folder, digest), digest or named, self.folder)


@dataclass(frozen=True)
class ChampionCopy:
    """The copy of the last champion that passed all checks, for a start without the database or without its bundle."""

    folder: Path

    def newest(self) -> Candidate | None:
        """Return the copy; None if there is none, or if its record cannot be read."""
        try:
            record = json.loads((self.folder / _RECORD).read_text())
            digest, version, promotion = (record[name] for name in ("digest", "model_version", "promotion_id"))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        folder = self.folder / str(digest)
        return Candidate(lambda: load(folder, str(digest)), str(digest), folder, version, promotion)

    def store(self, source: Path, digest: str, model_version: int | None, promotion_id: int | None) -> None:
        """Copy a bundle that passed its checks, and delete older copies. Raises OSError and BundleRefusedError."""
        before = self.newest()
        store_bundle(source, self.folder, digest)
        record = {"digest": digest, "model_version": model_version, "promotion_id": promotion_id}
        with staged(self.folder) as staging:
            (staging / _RECORD).write_text(json.dumps(record))
            (staging / _RECORD).replace(self.folder / _RECORD)
        needed = {digest, before.digest if before else digest}
        for folder in self.folder.iterdir():
            if folder.is_dir() and len(folder.name) == 64 and folder.name not in needed:
                shutil.rmtree(folder, ignore_errors=True)


def try_copy(copy: ChampionCopy, candidate: Candidate, digest: str) -> str | None:
    """Copy a loaded bundle; return an alert if that fails. Answers do not depend on the copy."""
    with suppress(BundleRefusedError, OSError):
        copy.store(candidate.folder, digest, candidate.model_version, candidate.promotion_id)
        return None
    return f"The champion could not be copied to {copy.folder}: check its disk. A start without the database needs it."
