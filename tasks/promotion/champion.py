"""Who answers shoppers: the newest row of `promotions`. MLflow's aliases follow it."""

from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Engine, func, select, update

from infra.database.schema.schema import promotions
from infra.installation import Installation
from infra.locks.advisory_locks import locked
from infra.overview import situation
from infra.registry.client import Registry, VersionGoneError
from models.errors import TailorbirdError
from tasks.promotion.review_requests import open_reviews

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
Champion = dict[str, Any]

_ALIASES: Final = "the aliases in MLflow"


class NoChampionError(TailorbirdError):
    """There is no champion."""


def champion(connection: Connection) -> Champion | None:
    """The newest promotion, or None before the first."""
    return _newest(connection)


def require_champion(installation: Installation) -> Champion:
    """Who answers; raises NoChampionError before the first promotion."""
    with installation.engine.connect() as connection:
        champion = champion(connection)
    if champion is None:
        raise NoChampionError(str(situation.step(installation.engine, installation.settings)))
    return champion


def promotion(connection: Connection, promotion_id: int) -> Champion | None:
    """A promotion by its id."""
    return _newest(connection, promotions.c.promotion_id == promotion_id)


def promotion_of(connection: Connection, model_version: int) -> Champion | None:
    """The newest promotion of a version, None when it never was the champion."""
    return _newest(connection, promotions.c.model_version == model_version)


def _newest(connection: Connection, *such: ColumnElement[bool]) -> Champion | None:
    found = select(promotions).where(*such).order_by(promotions.c.promotion_id.desc()).limit(1)
    row = connection.execute(found).mappings().first()
    return dict(row) if row else None


def sync_aliases(engine: Engine, registry: Registry, *, put_back: bool = False) -> None:
    """Let MLflow's aliases say what Postgres says; one process at a time, so that no older state is written last.

    An alias that once followed the champion and now points elsewhere was moved by a person: it is left for
    `tasks.reconciler.reconcile` to hear, or `put_back`.
    """
    with locked(engine, _ALIASES, wait=True):
        with engine.connect() as connection:
            champion = champion(connection)
            waiting = next((review["model_version"] for review in open_reviews(connection) if review["passed"]), None)
        aliases = registry.aliases()
        if (
            champion
            and aliases.get(CHAMPION) != champion["model_version"]
            and (put_back or champion["followed_at"] is None)
        ):
            aliases |= _pointed(registry, CHAMPION, champion["model_version"])
        if champion and aliases.get(CHAMPION) == champion["model_version"] and champion["followed_at"] is None:
            _mark_followed(engine, champion["promotion_id"])
        if champion is None and put_back and CHAMPION in aliases:
            registry.drop_alias(CHAMPION)
        _point_challenger(registry, aliases.get(CHALLENGER), waiting)


def _pointed(registry: Registry, name: str, version: int) -> dict[str, int]:
    """Point an alias at a version; nowhere, and nothing is returned, when that was deleted in MLflow."""
    try:
        registry.set_alias(name, version)
    except VersionGoneError:
        registry.drop_alias(name)
        return {}
    return {name: version}


def _mark_followed(engine: Engine, promotion_id: int) -> None:
    mine = promotions.c.promotion_id == promotion_id
    with engine.begin() as connection:
        connection.execute(update(promotions).where(mine).values(followed_at=func.now()))


def _point_challenger(registry: Registry, now: int | None, waiting: int | None) -> None:
    if waiting is not None and now != waiting:
        _pointed(registry, CHALLENGER, waiting)
    if waiting is None and now is not None:
        registry.drop_alias(CHALLENGER)
