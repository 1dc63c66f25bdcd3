"""Reads from the database which bundle is the champion."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from sqlalchemy import Engine, select
from sqlalchemy.exc import SQLAlchemyError

from infra.bundles.promoted import load_promoted
from infra.database.schema.promotion_rows import Promotion
from infra.database.schema.schema import promotions
from serving.model.sources import Candidate


@dataclass(frozen=True)
class NewestPromotion:
    """The champion of the database."""

    engine: Engine

    def newest(self) -> Candidate | None:
        """Return the bundle of the newest promotion. Raises ConnectionError if the database does not answer."""
        query = select(promotions).order_by(promotions.c.promotion_id.desc()).limit(1)
        try:
            with self.engine.connect() as connection:
                row = connection.execute(query).mappings().first()
        except SQLAlchemyError as error:
            raise ConnectionError("The database does not answer.") from error
        if row is None:
            return None
        promotion = cast(Promotion, dict(row))
        return Candidate(
            lambda: load_promoted(promotion),
            promotion["digest"],
            Path(promotion["bundle"]),
            promotion["model_version"],
            promotion["promotion_id"],
        )
