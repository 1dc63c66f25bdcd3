"""Reads the champion, which is the newest row of `promotions`, and points MLflow's aliases at it."""

from typing import Final

from sqlalchemy import Connection, Engine, func, update

from infra.database.schema.promotion_rows import Promotion, newest_promotion
from infra.database.schema.schema import promotions
from infra.installation import Installation
from infra.locks import locked
from infra.overview import situation
from infra.registry.client import Registry
from infra.registry.connection import VersionGoneError
from tasks.promotion.review_requests import open_reviews

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
Champion = Promotion
"""The newest promotion."""


def current_champion(connection: Connection) -> Champion | None:
    """Return the newest promotion, or None before the first."""
    return newest_promotion(connection)


def require_champion(installation: Installation) -> Champion:
    """Return the champion; raises NoChampionError before the first promotion."""
    return situation.require_champion(installation.engine, installation.settings)


def promotion_of(connection: Connection, model_version: int) -> Promotion | None:
    """Return the newest promotion of a version, or None if it never was the champion."""
    return newest_promotion(connection, promotions.c.model_version == model_version)


def sync_aliases(engine: Engine, registry: Registry, *, put_back: bool = False) -> None:
    """Set MLflow's aliases to the champion and the challenger that Postgres records.

    One process runs this at a time, so no older state is written last. If an alias pointed at the champion once and now
    points elsewhere, a person moved it. It stays for `tasks.reconciler.reconcile` to apply, unless `put_back`.
    """
    with locked(engine, "the aliases in MLflow", wait=True):
        with engine.connect() as connection:
            champion = current_champion(connection)
            challenger = next(
                (review["model_version"] for review in open_reviews(connection) if review["passed"]), None
            )
        aliases = registry.aliases()
        if champion:
            version, synced = champion["model_version"], champion["alias_synced_at"] is not None
            if aliases.get(CHAMPION) != version and (put_back or not synced):
                aliases |= _set_alias(registry, CHAMPION, version)
            if aliases.get(CHAMPION) == version and not synced:
                row = promotions.c.promotion_id == champion["promotion_id"]
                with engine.begin() as connection:
                    connection.execute(update(promotions).where(row).values(alias_synced_at=func.now()))
        elif put_back and CHAMPION in aliases:
            registry.drop_alias(CHAMPION)
        _sync_challenger(registry, aliases.get(CHALLENGER), challenger)


def _set_alias(registry: Registry, name: str, version: int) -> dict[str, int]:
    """Point an alias at a version and return it; drop the alias if the version was deleted in MLflow."""
    try:
        registry.set_alias(name, version)
    except VersionGoneError:
        registry.drop_alias(name)
        return {}
    return {name: version}


def _sync_challenger(registry: Registry, aliased: int | None, challenger: int | None) -> None:
    if challenger is not None and aliased != challenger:
        _set_alias(registry, CHALLENGER, challenger)
    if challenger is None and aliased is not None:
        registry.drop_alias(CHALLENGER)
