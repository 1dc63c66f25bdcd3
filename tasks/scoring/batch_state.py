"""Publishes a batch of lists whole: readers see the old batch or the new one, never a mixture.

Stage → commit the empty tables and their keys → COPY → checks → attach → compare-and-set the pointer. Each step can be
repeated: a killed run leaves tables that nobody reads, and the next run starts them over. A run that was considered
dead and comes back is refused by its fence.
"""

from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple, NotRequired, TypedDict, cast

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from infra.database.schema.schema import placements, recommendation_batches
from infra.locks import LockHeldError, locked
from models.errors import TailorbirdError
from models.primitives.json_types import JsonObject
from tasks.scoring import partitions, served_sample
from tasks.scoring.served_sample import CONSENT_SQL

LOADING, CHECKED, ATTACHED = "loading", "checked", "attached"
PUBLISHED, RETIRED, REFUSED = "published", "retired", "refused"
ROLLBACK_BATCHES: Final = 2
"""Batches retained behind the live one for rollbacks."""
_FENCE: Final = text("SELECT nextval('recommendation_fence')")
_batches = recommendation_batches.c


SegmentRow = TypedDict("SegmentRow", {"segment": str, "lists": int, "full": int, "kept from before": float | None})
"""Lists of the users of one segment, under the headings of their table."""


class BatchSummary(TypedDict):
    """Statistics of a batch, as JSON in its row; a batch that is being made has none of them."""

    coverage: NotRequired[float]
    gini: NotRequired[float]
    scores: NotRequired[list[float]]
    """Deciles of the scores in first places."""
    kept_from_before: NotRequired[float | None]
    """The mean share of a list that was on the list before."""
    short: NotRequired[dict[str, int]]
    """Short lists by the reason why they are short."""
    notes: NotRequired[list[str]]
    """Rules that match nothing."""
    segments: NotRequired[list[SegmentRow]]
    reasons: NotRequired[dict[str, float]]
    """The share of each kind of reason."""
    filled: NotRequired[dict[str, float]]
    """Of items bought together, the share of `places` with weaker evidence, and of `lists` that begin with it."""


class PublishedBatch(TypedDict):
    """The columns of a batch that a scoring run returns."""

    batch_id: int
    placement: str
    model_version: int
    dataset_version: str
    status: str
    users: int
    recommendations: int
    summary: BatchSummary


class BatchRow(PublishedBatch):
    """A row of `recommendation_batches`."""

    subject_kind: str
    run_key: str
    k: int
    fence: int
    detail: str | None
    created_at: datetime
    published_at: datetime | None
    rules_version: int
    operator_rules: JsonObject


class OvertakenError(TailorbirdError):
    """Another run has published, or has taken this batch over, in the meantime."""


@dataclass(frozen=True)
class BatchSpec:
    """The placement of a batch and the inputs that it is built from."""

    placement: str
    run_key: str
    model_version: int
    dataset_version: str
    k: int
    subject_kind: str = "user"
    rules_version: int = 0
    operator_rules: JsonObject = field(default_factory=dict)
    """The rules of operators that the lists are made under."""


def lock_name(placement: str) -> str:
    """Return the name of the lock that a run holds while it works on a placement."""
    return f"score {placement}"


class Claim(NamedTuple):
    """A run's claim on a batch: of two runs that work on it, the later one has the greater fence and may write."""

    batch_id: int
    fence: int


def claim(connection: Connection, spec: BatchSpec) -> Claim:
    """Claim the batch of that key, which is inserted if it is new; an earlier run that works on it is fenced off."""
    fence = connection.execute(_FENCE).scalar_one()
    entry = asdict(spec) | {"status": LOADING, "fence": fence}
    inserted = insert(recommendation_batches).values(entry)
    renewed = {name: entry[name] for name in ("fence", "rules_version", "operator_rules")}
    claimed = inserted.on_conflict_do_update(index_elements=["placement", "run_key"], set_=renewed)
    return Claim(connection.execute(claimed.returning(_batches.batch_id)).scalar_one(), fence)


def batch_row(connection: Connection, batch_id: int) -> BatchRow:
    """Return a batch's row."""
    query = select(recommendation_batches).where(_batches.batch_id == batch_id)
    return _row(connection.execute(query).mappings().one())


def batch_of(connection: Connection, placement: str, run_key: str) -> BatchRow | None:
    """Return the row of the batch of that key, None if there is none."""
    query = select(recommendation_batches).where(_batches.placement == placement, _batches.run_key == run_key)
    row = connection.execute(query).mappings().first()
    return _row(row) if row else None


def _row(row: RowMapping) -> BatchRow:
    return cast(BatchRow, dict(row))


def mark(connection: Connection, claim: Claim, **values: Any) -> None:
    """Set columns of a batch's row; raises OvertakenError if another run has claimed the batch since."""
    claimed = (_batches.batch_id == claim.batch_id, _batches.fence == claim.fence)
    if connection.execute(update(recommendation_batches).where(*claimed).values(values)).rowcount != 1:
        raise OvertakenError(f"Another run has taken batch {claim.batch_id} over; this one leaves it to that.")


def stage(engine: Engine, claim: Claim) -> None:
    """Create the empty tables of a batch in place of those that an earlier run has left."""
    with engine.begin() as connection:
        # A retained batch cannot be restored from now on: its tables are about to be dropped.
        mark(connection, claim, status=LOADING, detail=None)
    if not partitions.drop(engine, claim.batch_id):
        raise TailorbirdError("A long-running query reads the recommendations; end it, then score again.")
    with engine.begin() as connection:
        mark(connection, claim, status=LOADING)
        partitions.create(connection, claim.batch_id)


def attach(engine: Engine, claim: Claim) -> None:
    """Attach the batch's tables to the tables that readers query; the pointer does not name them yet."""
    with engine.begin() as connection:
        mark(connection, claim, status=ATTACHED)
        partitions.attach(connection, claim.batch_id)
    partitions.await_earlier_readers(engine)


def publish(connection: Connection, placement: str, claim: Claim, expected: int | None) -> None:
    """Point the placement at this batch if it still shows the `expected` one and no run was later.

    The lists of users who withdrew consent or were suppressed since the build are deleted first. Raises OvertakenError.
    """
    row = batch_row(connection, claim.batch_id)
    deleted = _without_consent(connection, row)
    mark(connection, claim, status=PUBLISHED, published_at=func.now(), users=row["users"] - deleted)
    pointer = {"batch_id": claim.batch_id, "fence": claim.fence, "published_at": func.now(), "checked_at": func.now()}
    move_pointer(connection, placement, expected, pointer | {"previous_batch_id": expected, "moved_by": None})
    served_sample.record_served_lists(connection, placement, claim.batch_id, row["subject_kind"])


def _without_consent(connection: Connection, row: BatchRow) -> int:
    return partitions.erase(connection, row["batch_id"], CONSENT_SQL) if row["subject_kind"] == "user" else 0


def move_pointer(connection: Connection, placement: str, expected: int | None, pointer: dict[str, Any]) -> None:
    """Compare the pointer with `expected` and set it; raises OvertakenError if it has moved."""
    if expected is None:
        entry = insert(placements).values(placement=placement, **pointer).on_conflict_do_nothing()
        moved = connection.execute(entry).rowcount
    else:
        unmoved = (placements.c.batch_id == expected, placements.c.fence < pointer["fence"])
        statement = update(placements).where(placements.c.placement == placement, *unmoved)
        moved = connection.execute(statement.values(pointer)).rowcount
    if moved != 1:
        raise OvertakenError(f"Another batch was published for {placement!r} in the meantime; score again.")


def confirm(connection: Connection, spec: BatchSpec) -> None:
    """Record that the live batch is still the one that would be published, also by the present rules of operators."""
    live = placements.c.placement == spec.placement
    connection.execute(update(placements).where(live).values(checked_at=func.now()))
    same = (_batches.placement == spec.placement, _batches.run_key == spec.run_key)
    present = {"rules_version": spec.rules_version, "operator_rules": spec.operator_rules}
    connection.execute(update(recommendation_batches).where(*same).values(present))


def placements_with_lists(engine: Engine) -> list[str]:
    """Return the placements that have lists."""
    with engine.connect() as connection:
        return list(connection.execute(select(placements.c.placement).order_by(placements.c.placement)).scalars())


def live_batch(connection: Connection, placement: str) -> int | None:
    """Return the batch that readers of a placement see."""
    query = select(placements.c.batch_id).where(placements.c.placement == placement)
    return connection.execute(query).scalar()


def retained(connection: Connection, placement: str, *conditions: ColumnElement[bool]) -> list[int]:
    """Return the batches of a placement that could be shown, the latest published first."""
    shown = (_batches.placement == placement, _batches.status == PUBLISHED, *conditions)
    latest = (_batches.published_at.desc(), _batches.batch_id.desc())
    return list(connection.execute(select(_batches.batch_id).where(*shown).order_by(*latest)).scalars())


def restorable(connection: Connection, placement: str, *conditions: ColumnElement[bool]) -> list[int]:
    """Return the retained batches that were never rolled back and have the live batch's kind of subject."""
    live = select(placements.c.batch_id).where(placements.c.placement == placement).scalar_subquery()
    subject_kind = select(_batches.subject_kind).where(_batches.batch_id == live).scalar_subquery()
    # A batch that was rolled back has the reason in its row, and is not shown before it is built again.
    same_kind = _batches.subject_kind == subject_kind
    return retained(connection, placement, _batches.detail.is_(None), same_kind, *conditions)


def restore_batch(connection: Connection, placement: str, batch_id: int, moved_by: str) -> None:
    """Show a retained batch again, without users who have left since. Call under the placement's lock."""
    live = live_batch(connection, placement)
    if batch_id == live:
        return
    row = batch_row(connection, batch_id)
    deleted = _without_consent(connection, row)
    for changed, values in (
        (batch_id, {"users": _batches.users - deleted, "detail": None}),
        (live, {"detail": f"taken back by {moved_by}"}),
    ):
        connection.execute(update(recommendation_batches).where(_batches.batch_id == changed).values(values))
    fence = connection.execute(_FENCE).scalar_one()
    pointer = {"batch_id": batch_id, "previous_batch_id": live, "fence": fence, "moved_by": moved_by}
    move_pointer(connection, placement, live, pointer | {"published_at": func.now(), "checked_at": func.now()})
    served_sample.record_served_lists(connection, placement, batch_id, row["subject_kind"])


def retire(engine: Engine, placement: str) -> list[int]:
    """Drop batches older than the retained ones and the tables of killed runs; return the dropped batches.

    Call under the placement's lock. Tables that a reader still uses are left for the next call.
    """
    with engine.begin() as connection:
        live = live_batch(connection, placement)
        kept = restorable(connection, placement) + retained(connection, placement)  # those that were taken back last
        older = [batch_id for batch_id in dict.fromkeys(kept) if batch_id != live]
        stay = [batch_id for batch_id in (live, *older[:ROLLBACK_BATCHES]) if batch_id is not None]
        others = (_batches.placement == placement, _batches.batch_id.not_in(stay))
        # These batches cannot be restored from now on: their tables may be dropped, or be gone already.
        obsolete = update(recommendation_batches).where(*others, _batches.status.not_in((RETIRED, REFUSED)))
        connection.execute(obsolete.values(status=RETIRED))
        known = connection.execute(select(_batches.batch_id).where(*others)).scalars().all()
        with_tables = sorted(partitions.existing(connection) & set(known))
        # Also for a placement that was removed, where nothing is published any more.
        served_sample.delete_expired(connection, placement)
    return [batch_id for batch_id in with_tables if partitions.drop(engine, batch_id)]


def withdraw(engine: Engine, placement: str) -> None:
    """Show the lists of a placement no more, and drop them. A running build is waited for."""
    with locked(engine, lock_name(placement), wait=True):
        with engine.begin() as connection:
            connection.execute(delete(placements).where(placements.c.placement == placement))
            shown = update(recommendation_batches).where(_batches.placement == placement)
            retired = shown.values(status=RETIRED).returning(_batches.batch_id)
            dropped = connection.execute(retired).scalars().all()
        for batch_id in dropped:
            partitions.drop(engine, batch_id)


def sweep(engine: Engine) -> list[int]:
    """Drop the leftovers of crashes at placements without a running build; return the dropped batches."""
    with engine.connect() as connection:
        names = connection.execute(select(_batches.placement).distinct().order_by(_batches.placement)).scalars().all()
        # In this order: a batch that begins in between has no tables yet, rather than no row.
        with_tables = partitions.existing(connection)
        unknown = with_tables - set(connection.execute(select(_batches.batch_id)).scalars())
    dropped = [batch_id for batch_id in sorted(unknown) if partitions.drop(engine, batch_id)]
    for name in names:
        with suppress(LockHeldError), locked(engine, lock_name(name)):
            dropped += retire(engine, name)
    return dropped
