"""Reads the champion's promotion, which names its bundle."""

from typing import cast

from sqlalchemy import Engine, select

from infra.configuration.settings import load
from infra.database.schema.promotion_rows import Promotion
from infra.database.schema.schema import promotions
from infra.overview import situation
from models.errors import TailorbirdError


class NoChampionError(TailorbirdError):
    """The installation has no champion."""


def champion(engine: Engine) -> Promotion:
    """Return the newest promotion. Raises NoChampionError."""
    newest = select(promotions).order_by(promotions.c.promotion_id.desc()).limit(1)
    with engine.connect() as connection:
        row = connection.execute(newest).mappings().first()
    if row is None:
        raise NoChampionError(str(situation.step(engine, load())))
    return cast(Promotion, dict(row))
