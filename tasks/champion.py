"""Who answers shoppers: the newest row of `promotions`. MLflow's aliases follow it."""

from typing import Any

from sqlalchemy import Connection, Engine, select

from infra.registry import Registry
from infra.schema import promotions, reviews

CHAMPION, CHALLENGER = "champion", "challenger"
Champion = dict[str, Any]


def champion(connection: Connection) -> Champion | None:
    """The newest promotion, or None before the first."""
    row = connection.execute(select(promotions).order_by(promotions.c.promotion_id.desc()).limit(1)).mappings().first()
    return dict(row) if row else None


def follow(engine: Engine, registry: Registry) -> None:
    """Let MLflow's aliases say what Postgres says: a crash between the two leaves them apart until the next look."""
    challenger = registry.alias(CHALLENGER)
    with engine.connect() as connection:
        holder = champion(connection)
        decided = select(reviews.c.decision).where(reviews.c.model_version == challenger)
        challenger_decided = challenger is not None and connection.execute(decided).scalar()
    if holder and registry.alias(CHAMPION) != holder["model_version"]:
        registry.set_alias(CHAMPION, holder["model_version"])
    if challenger_decided:
        registry.drop_alias(CHALLENGER)
