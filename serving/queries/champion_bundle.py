"""Where the champion's bundle is kept."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Engine, select

from infra.configuration.settings import load
from infra.database.schema.schema import promotions
from infra.overview import situation
from models.errors import TailorbirdError


class NoChampionError(TailorbirdError):
    """An installation without a champion."""


def champion(engine: Engine) -> Mapping[str, Any]:
    """Return the newest row of `promotions`; raises NoChampionError."""
    newest = select(promotions).order_by(promotions.c.promotion_id.desc()).limit(1)
    with engine.connect() as connection:
        row = connection.execute(newest).mappings().first()
    if row is None:
        raise NoChampionError(str(situation.step(engine, load())))
    return dict(row)
