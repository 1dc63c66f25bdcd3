"""Where a champion comes from: the newest promotion, a bundle folder, or the copy of the last one that was loaded."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infra.bundles.bundle import Bundle, load, store_bundle
from infra.private_files.folders import replace_file

if TYPE_CHECKING:
    from sqlalchemy import Engine

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
    erased: frozenset[str] = frozenset()
    """Marks of users who were erased after the model had learned from them."""


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
class NewestPromotion:
    """The champion of the database."""

    engine: "Engine"

    def newest(self) -> Candidate | None:
        """Return the bundle of the newest promotion. Raises ConnectionError if the database does not answer."""
        # Servers without a database have no SQLAlchemy.
        from sqlalchemy.exc import SQLAlchemyError

        from infra.bundles.bundle_store import folder_of
        from infra.bundles.promoted import erased_since, load_promoted
        from infra.configuration.settings import load as load_settings
        from infra.database.schema.promotion_rows import newest_promotion

        try:
            with self.engine.connect() as connection:
                promotion = newest_promotion(connection)
                erased = erased_since(connection, promotion["dataset_version"]) if promotion else frozenset()
        except SQLAlchemyError as error:
            raise ConnectionError("The database does not answer.") from error
        if promotion is None:
            return None
        folder = folder_of(load_settings(), promotion["bundle"], promotion["digest"])
        version, number = promotion["model_version"], promotion["promotion_id"]
        return Candidate(lambda: load_promoted(promotion, erased), promotion["digest"], folder, version, number, erased)


ModelSource = NewestPromotion | BundleFolder
"""Names the bundle that should answer now; None if there is none. Raises OSError if it does not answer."""


@dataclass(frozen=True)
class ChampionCopy:
    """The copy of the last champion that passed all checks, for a start without the database or without its bundle."""

    folder: Path

    def newest(self) -> Candidate | None:
        """Return the copy; None if there is none, or if its record cannot be read."""
        try:
            record = json.loads((self.folder / _RECORD).read_text())
            digest, version, promotion = (record[name] for name in ("digest", "model_version", "promotion_id"))
            erased = frozenset(map(str, record.get("erased", ())))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        folder = self.folder / str(digest)
        return Candidate(lambda: load(folder, str(digest), erased), str(digest), folder, version, promotion, erased)

    def store(self, candidate: Candidate, digest: str) -> None:
        """Copy a bundle that passed its checks, and delete older copies. Raises OSError and BundleRefusedError."""
        before = self.newest()
        store_bundle(candidate.folder, self.folder, digest)
        record = {
            "digest": digest,
            "model_version": candidate.model_version,
            "promotion_id": candidate.promotion_id,
            "erased": sorted(candidate.erased),
        }
        replace_file(self.folder / _RECORD, json.dumps(record).encode())
        needed = {digest, before.digest if before else digest}
        for folder in self.folder.iterdir():
            if folder.is_dir() and len(folder.name) == 64 and folder.name not in needed:
                shutil.rmtree(folder, ignore_errors=True)
