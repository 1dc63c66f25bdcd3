"""Where things stand: the ledger's sums, champion and challenger, the live batch."""

from typing import Any

from sqlalchemy import Connection, Engine, func, select, text

from infra.database.schema.ledger_schema import COMMITTED
from infra.database.schema.schema import LEDGER, ingest_batches, promotions, quarantine, recommendation_batches, reviews
from infra.overview.unfinished import unfinished
from models.ingest.check.file_names import file_name
from serving.queries.list_counts import users_with_consent

_SHOWN = ("batch_id", "dataset", "source", "status", "active")


def status(engine: Engine, placement: str = "home") -> dict[str, Any]:
    """The installation's state as plain values; what is not there yet is None."""
    with engine.connect() as connection:
        return {
            "ledger": _ledger(connection),
            "waiting": _waiting(connection),
            "unfinished": _unfinished(connection),
            "champion": _champion(connection),
            "challenger": _challenger(connection),
            "batch": _batch(connection, placement),
            "placements": _placements(connection),
        }


_LISTS = """
    SELECT shown.placement, shown.batch_id, batch.subject_kind, batch.model_version, batch.users AS lists,
        batch.recommendations, shown.published_at, shown.checked_at, shown.moved_by,
        extract(epoch FROM now() - shown.checked_at) / 3600 AS hours
    FROM placements AS shown JOIN recommendation_batches AS batch USING (batch_id) ORDER BY shown.placement
"""


def _placements(connection: Connection) -> list[dict[str, Any]]:
    """What each placement shows; `hours` since it was last made, or found to be what would be made."""
    rows = [dict(row) for row in connection.execute(text(_LISTS)).mappings()]
    users = users_with_consent(connection) if rows else 0
    for row in rows:
        row |= {name: row[name].isoformat() for name in ("published_at", "checked_at")}
        row["hours"] = round(float(row["hours"]), 2)
        row["users"] = users if row["subject_kind"] == "user" else None
    return rows


def _ledger(connection: Connection) -> dict[str, int]:
    sums = (func.coalesce(func.sum(ingest_batches.c[name]), 0).label(name) for name in LEDGER)
    row = connection.execute(select(*sums).where(ingest_batches.c.status == COMMITTED)).mappings().one()
    return {name: int(row[name]) for name in LEDGER}


def _waiting(connection: Connection) -> int:
    """Return how many rows wait in quarantine now."""
    count = select(func.count(quarantine.c.row_number)).where(quarantine.c.replayed_at.is_(None))
    return int(connection.execute(count).scalar_one())


def _unfinished(connection: Connection) -> list[dict[str, Any]]:
    """Return the batches that are coming in or being undone; those that are not `active` were cut short."""
    found = unfinished(connection)
    return [{name: row[name] for name in _SHOWN} | {"file": file_name(row["location"])} for row in found]


def _champion(connection: Connection) -> dict[str, Any] | None:
    newest = select(promotions).order_by(promotions.c.promotion_id.desc()).limit(1)
    row = connection.execute(newest).mappings().first()
    return None if row is None else {"name": row["kind"], "version": row["model_version"], "metrics": row["metrics"]}


def _challenger(connection: Connection) -> dict[str, Any] | None:
    """The newest version that passed the gate and waits for a person."""
    waiting = select(reviews).where(reviews.c.passed, reviews.c.decision.is_(None))
    row = connection.execute(waiting.order_by(reviews.c.review_id.desc()).limit(1)).mappings().first()
    moments = ("requested_at", "expires_at")
    said = {name: row[name].isoformat() for name in moments if row[name]} if row else {}
    return {"version": row["model_version"], **said} if row else None


def _batch(connection: Connection, placement: str) -> dict[str, Any] | None:
    live = text("SELECT batch_id FROM placements WHERE placement = :placement")
    batch_id = connection.execute(live, {"placement": placement}).scalar()
    found = select(recommendation_batches).where(recommendation_batches.c.batch_id == batch_id)
    row = connection.execute(found).mappings().first()
    return (
        None
        if row is None
        else {
            "id": row["batch_id"],
            "model_version": row["model_version"],
            "users": row["users"],
            "recommendations": row["recommendations"],
            "published_at": row["published_at"].isoformat(),
        }
    )
