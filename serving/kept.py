"""Where the champion's bundle is kept."""

from pathlib import Path

from sqlalchemy import Engine, select

from infra.schema import promotions
from models.errors import TailorbirdError


class NothingPromotedError(TailorbirdError):
    """An installation without a champion."""


def champion_bundle(engine: Engine) -> tuple[Path, str]:
    """Folder and digest of the bundle that was promoted last; raises NothingPromotedError."""
    newest = select(promotions.c.bundle, promotions.c.digest).order_by(promotions.c.promotion_id.desc()).limit(1)
    with engine.connect() as connection:
        row = connection.execute(newest).first()
    if row is None:
        raise NothingPromotedError("No model was promoted yet: run `tailorbird review`, then `tailorbird decide`.")
    return Path(row.bundle), str(row.digest)
