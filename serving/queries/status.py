"""Reads the state of the installation: sums of the ledger, what waits, champion, challenger and live lists."""

from pathlib import Path
from typing import NotRequired, TypedDict, cast

from sqlalchemy import Connection, Engine, func, select, text

from infra.database.schema.ledger_schema import COMMITTED
from infra.database.schema.offers import unconfirmed
from infra.database.schema.schema import LEDGER, ingest_batches, promotions, quarantine, recommendation_batches, reviews
from infra.overview.situation import unfinished
from models.ingest.check.file_names import file_name
from serving.events.spool import FOLDER, Spool
from serving.queries.freshness import PlacementRow, users_with_consent

_COUNTS = """
    SELECT coalesce(sum(messages) FILTER (WHERE moved_at IS NULL), 0) AS waiting,
        coalesce(sum(messages) FILTER (WHERE outcome = 'refused'), 0) AS refused,
        extract(epoch FROM now() - min(received_at) FILTER (WHERE moved_at IS NULL))::float AS oldest_seconds
    FROM event_inbox WHERE (moved_at IS NULL OR outcome = 'refused') AND kind <> 'score'"""


class InboxState(TypedDict):
    """The messages of applications that are in no batch yet. Requests for lists of segments never are in one."""

    waiting: int
    oldest_seconds: float | None
    """The age of the oldest one."""
    refused: int
    """Messages of refused batches, which stay in the inbox."""


class SpoolCounts(TypedDict):
    """The messages on the disk of this host: they came while PostgreSQL was down."""

    messages: int
    dropped: int
    """Messages that found no room."""
    refused: int
    """Messages that PostgreSQL refused."""


def inbox_state(connection: Connection) -> InboxState:
    """Return what waits in PostgreSQL."""
    row = connection.execute(text(_COUNTS)).one()
    return {"waiting": row.waiting, "oldest_seconds": row.oldest_seconds, "refused": row.refused}


def spool_counts(var: Path) -> SpoolCounts:
    """Return what waits on disk in `var`."""
    state = Spool(var / FOLDER, 0).state()
    return {"messages": state.messages, "dropped": state.dropped, "refused": state.refused}


class UnfinishedRow(TypedDict):
    """A batch whose ingest or undo is not finished; without `active` it was interrupted."""

    batch_id: str
    dataset: str
    source: str
    status: str
    active: bool
    file: str


class ChampionRow(TypedDict):
    """The champion: its kind, its version and its figures."""

    name: str
    version: int
    metrics: dict[str, float]


class ChallengerRow(TypedDict):
    """The newest version that passed the gate and waits for a decision. Times are ISO texts."""

    version: int
    requested_at: NotRequired[str]
    expires_at: NotRequired[str]


class LiveBatch(TypedDict):
    """The batch of lists that a placement shows."""

    id: int
    model_version: int
    users: int
    recommendations: int
    published_at: str


class Status(TypedDict):
    """The state of the installation; parts that do not exist yet are None."""

    ledger: dict[str, int]
    waiting: int
    unconfirmed: int
    """Items that only pages have named."""
    unfinished: list[UnfinishedRow]
    inbox: InboxState
    champion: ChampionRow | None
    challenger: ChallengerRow | None
    batch: LiveBatch | None
    placements: list[PlacementRow]


def status(engine: Engine, placement: str = "home") -> Status:
    """Read the state of the installation."""
    with engine.connect() as connection:
        return {
            "ledger": _ledger(connection),
            "waiting": _waiting(connection),
            "unconfirmed": connection.execute(select(func.count()).where(unconfirmed())).scalar_one(),
            "unfinished": _unfinished(connection),
            "inbox": inbox_state(connection),
            "champion": _champion(connection),
            "challenger": _challenger(connection),
            "batch": _batch(connection, placement),
            "placements": live_lists(connection),
        }


_LISTS = """
    SELECT live.placement, live.batch_id, batch.subject_kind, batch.model_version, batch.users AS lists,
        batch.recommendations, live.published_at, live.checked_at, live.moved_by,
        extract(epoch FROM now() - live.checked_at) / 3600 AS hours
    FROM placements AS live JOIN recommendation_batches AS batch USING (batch_id) ORDER BY live.placement
"""


def live_lists(connection: Connection, *, counts_users: bool = True) -> list[PlacementRow]:
    """Return the live lists of each placement.

    Without `counts_users`, users are counted only if the state of a placement that a person rolled back needs it.
    """
    rows = [dict(row) for row in connection.execute(text(_LISTS)).mappings()]
    needed = any(counts_users or row["moved_by"] for row in rows)
    users = users_with_consent(connection) if needed else None
    for row in rows:
        row |= {name: row[name].isoformat() for name in ("published_at", "checked_at")}
        row["hours"] = round(float(row["hours"]), 2)
        row["users"] = users if row["subject_kind"] == "user" else None
    return cast(list[PlacementRow], rows)


def _ledger(connection: Connection) -> dict[str, int]:
    sums = (func.coalesce(func.sum(ingest_batches.c[name]), 0).label(name) for name in LEDGER)
    row = connection.execute(select(*sums).where(ingest_batches.c.status == COMMITTED)).mappings().one()
    return {name: int(row[name]) for name in LEDGER}


def _waiting(connection: Connection) -> int:
    """Return the number of rows that wait in quarantine now."""
    count = select(func.count(quarantine.c.row_number)).where(quarantine.c.replayed_at.is_(None))
    return int(connection.execute(count).scalar_one())


def _unfinished(connection: Connection) -> list[UnfinishedRow]:
    return [
        UnfinishedRow(
            batch_id=batch.batch_id,
            dataset=batch.dataset,
            source=batch.source,
            status=batch.status,
            active=batch.active,
            file=file_name(batch.location),
        )
        for batch in unfinished(connection)
    ]


def _champion(connection: Connection) -> ChampionRow | None:
    newest = select(promotions).order_by(promotions.c.promotion_id.desc()).limit(1)
    row = connection.execute(newest).mappings().first()
    return None if row is None else {"name": row["kind"], "version": row["model_version"], "metrics": row["metrics"]}


def _challenger(connection: Connection) -> ChallengerRow | None:
    waiting = select(reviews).where(reviews.c.passed, reviews.c.decision.is_(None))
    row = connection.execute(waiting.order_by(reviews.c.review_id.desc()).limit(1)).mappings().first()
    if row is None:
        return None
    challenger = ChallengerRow(version=row["model_version"])
    if row["requested_at"]:
        challenger["requested_at"] = row["requested_at"].isoformat()
    if row["expires_at"]:
        challenger["expires_at"] = row["expires_at"].isoformat()
    return challenger


def _batch(connection: Connection, placement: str) -> LiveBatch | None:
    live = text("SELECT batch_id FROM placements WHERE placement = :placement")
    batch_id = connection.execute(live, {"placement": placement}).scalar()
    query = select(recommendation_batches).where(recommendation_batches.c.batch_id == batch_id)
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    return LiveBatch(
        id=row["batch_id"],
        model_version=row["model_version"],
        users=row["users"],
        recommendations=row["recommendations"],
        published_at=row["published_at"].isoformat(),
    )
