"""Publishes a batch of lists whole: readers see the old batch or the new one, never a mixture.

Stage → commit the empty tables and their keys → COPY → checks → attach → compare-and-set the pointer. Each step can be
repeated: a killed run leaves tables that nobody reads, and the next run starts them over. A run that was taken for dead
and comes back is refused by its fence.
"""

from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Engine, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from infra.database.schema.schema import placements, recommendation_batches
from infra.locks.advisory_locks import LockHeldError, locked
from models.errors import TailorbirdError
from tasks.scoring import partitions, served_sample
from tasks.scoring.reads.consent_filter import AGREED

LOADING, CHECKED, ATTACHED = "loading", "checked", "attached"
PUBLISHED, RETIRED, REFUSED = "published", "retired", "refused"
ROLLBACK_BATCHES: Final = 2
"""Batches kept behind the live one, to go back to."""
_FENCE: Final = text("SELECT nextval('recommendation_fence')")
_batches = recommendation_batches.c


class OvertakenError(TailorbirdError):
    """Another run has published, or has taken this batch over, in the meantime."""


@dataclass(frozen=True)
class BatchSpec:
    """What a batch is for, and what it is made from."""

    placement: str
    run_key: str
    model_version: int
    dataset_version: str
    k: int
    subject_kind: str = "user"


def lock(placement: str) -> str:
    """What a run holds while it works on a placement."""
    return f"score {placement}"


class Claim(NamedTuple):
    """A run's hold on a batch: of two runs that work on it, the later one has the greater fence and the say."""

    batch_id: int
    fence: int


def claim(connection: Connection, shelf: BatchSpec) -> Claim:
    """The batch of that key, entered in the ledger when it is new; whoever worked on it before is fenced off."""
    fence = connection.execute(_FENCE).scalar_one()
    entry = asdict(shelf) | {"status": LOADING, "fence": fence}
    entered = insert(recommendation_batches).values(entry)
    taken_over = entered.on_conflict_do_update(index_elements=["placement", "run_key"], set_={"fence": fence})
    return Claim(connection.execute(taken_over.returning(_batches.batch_id)).scalar_one(), fence)


def batch_row(connection: Connection, batch_id: int) -> dict[str, Any]:
    """A batch's row in the ledger of batches."""
    found = select(recommendation_batches).where(_batches.batch_id == batch_id)
    return dict(connection.execute(found).mappings().one())


def batch_of(connection: Connection, placement: str, run_key: str) -> dict[str, Any] | None:
    """The row of the batch of that key, None where there is none."""
    found = select(recommendation_batches).where(_batches.placement == placement, _batches.run_key == run_key)
    row = connection.execute(found).mappings().first()
    return dict(row) if row else None


def mark(connection: Connection, mine: Claim, **values: Any) -> None:
    """Write down how far a batch is; raises OvertakenError when another run has it now."""
    own = (_batches.batch_id == mine.batch_id, _batches.fence == mine.fence)
    if connection.execute(update(recommendation_batches).where(*own).values(values)).rowcount != 1:
        raise OvertakenError(f"Another run has taken batch {mine.batch_id} over; this one leaves it to that.")


def stage(engine: Engine, mine: Claim) -> None:
    """Make the empty tables of a batch, over whatever an earlier run has left of it."""
    with engine.begin() as connection:
        # A batch that was kept is none to go back to from now on: its tables are about to go.
        mark(connection, mine, status=LOADING, detail=None)
    if not partitions.drop(engine, mine.batch_id):
        raise TailorbirdError("A long-running query reads the recommendations; end it, then score again.")
    with engine.begin() as connection:
        mark(connection, mine, status=LOADING)
        partitions.create(connection, mine.batch_id)


def attach(engine: Engine, mine: Claim) -> None:
    """Make the batch's tables part of what readers read; the pointer does not name them yet."""
    with engine.begin() as connection:
        mark(connection, mine, status=ATTACHED)
        partitions.attach(connection, mine.batch_id)
    partitions.await_earlier_readers(engine)


def point(connection: Connection, placement: str, mine: Claim, expected: int | None) -> None:
    """Compare and set: the placement shows this batch if it still shows the `expected` one and nobody was later.

    Who withdrew consent or was suppressed since the lists were made is taken out first. Raises OvertakenError.
    """
    row = batch_row(connection, mine.batch_id)
    gone = _without_consent(connection, row)
    mark(connection, mine, status=PUBLISHED, published_at=func.now(), users=row["users"] - gone)
    moved = {"batch_id": mine.batch_id, "fence": mine.fence, "published_at": func.now(), "checked_at": func.now()}
    move(connection, placement, expected, moved | {"previous_batch_id": expected, "moved_by": None}, mine.fence)
    served_sample.keep(connection, placement, mine.batch_id, row["subject_kind"])


def _without_consent(connection: Connection, row: dict[str, Any]) -> int:
    return partitions.erase(connection, row["batch_id"], AGREED) if row["subject_kind"] == "user" else 0


def move(connection: Connection, placement: str, expected: int | None, moved: dict[str, Any], fence: int) -> None:
    """The compare and set itself; raises OvertakenError."""
    if expected is None:
        entry = insert(placements).values(placement=placement, **moved).on_conflict_do_nothing()
        done = connection.execute(entry).rowcount
    else:
        mine = (placements.c.placement == placement, placements.c.batch_id == expected, placements.c.fence < fence)
        done = connection.execute(update(placements).where(*mine).values(moved)).rowcount
    if done != 1:
        raise OvertakenError(f"Another batch was published for {placement!r} in the meantime; score again.")


def confirm(connection: Connection, placement: str) -> None:
    """The live batch was looked at and is still what would be published: it is as fresh as a new one."""
    mine = placements.c.placement == placement
    connection.execute(update(placements).where(mine).values(checked_at=func.now()))


def shown(engine: Engine) -> list[str]:
    """The placements that have lists."""
    with engine.connect() as connection:
        return list(connection.execute(select(placements.c.placement).order_by(placements.c.placement)).scalars())


def live_batch(connection: Connection, placement: str) -> int | None:
    """The batch that readers of a placement see."""
    found = select(placements.c.batch_id).where(placements.c.placement == placement)
    batch_id: int | None = connection.execute(found).scalar()
    return batch_id


def kept(connection: Connection, placement: str, *such: Any) -> list[int]:
    """The batches of a placement that could be shown, the latest published first."""
    mine = (_batches.placement == placement, _batches.status == PUBLISHED, *such)
    latest = (_batches.published_at.desc(), _batches.batch_id.desc())
    return list(connection.execute(select(_batches.batch_id).where(*mine).order_by(*latest)).scalars())


def sound(connection: Connection, placement: str, *such: Any) -> list[int]:
    """Those of them to go back to: nobody took them back, and they are about what the live one is about."""
    live = select(placements.c.batch_id).where(placements.c.placement == placement).scalar_subquery()
    subject_kind = select(_batches.subject_kind).where(_batches.batch_id == live).scalar_subquery()
    # What was taken back once is in the ledger with the reason, and not shown again before it is made anew.
    return kept(connection, placement, _batches.detail.is_(None), _batches.subject_kind == subject_kind, *such)


def go_back(connection: Connection, placement: str, batch_id: int, moved_by: str) -> None:
    """Show a kept batch again, without those who have left since. Call under the placement's lock."""
    live = live_batch(connection, placement)
    if batch_id == live:
        return
    row = batch_row(connection, batch_id)
    gone = _without_consent(connection, row)
    for one, values in (
        (batch_id, {"users": _batches.users - gone, "detail": None}),
        (live, {"detail": f"taken back by {moved_by}"}),
    ):
        connection.execute(update(recommendation_batches).where(_batches.batch_id == one).values(values))
    fence = connection.execute(_FENCE).scalar_one()
    moved = {"batch_id": batch_id, "previous_batch_id": live, "fence": fence, "moved_by": moved_by}
    move(connection, placement, live, moved | {"published_at": func.now(), "checked_at": func.now()}, fence)
    served_sample.keep(connection, placement, batch_id, row["subject_kind"])


def retire(engine: Engine, placement: str) -> list[int]:
    """Drop what is older than the batches kept behind the live one, and what killed runs left; returns the dropped.

    Call under the placement's lock. What a reader still holds is left for the next time.
    """
    with engine.begin() as connection:
        live = live_batch(connection, placement)
        older = [batch_id for batch_id in kept(connection, placement) if batch_id != live]
        keep = {live, *older[:ROLLBACK_BATCHES]}
        others = (_batches.placement == placement, _batches.batch_id.not_in([one for one in keep if one is not None]))
        # Nobody may go back to a batch from now on: its tables may be dropped, or be gone already.
        over = update(recommendation_batches).where(*others, _batches.status.not_in((RETIRED, REFUSED)))
        connection.execute(over.values(status=RETIRED))
        known = connection.execute(select(_batches.batch_id).where(*others)).scalars().all()
        left = sorted(partitions.existing(connection) & set(known))
        # Here too, for a placement that was given up: nothing is published there any more.
        served_sample.forget(connection, placement)
    return [batch_id for batch_id in left if partitions.drop(engine, batch_id)]


def sweep(engine: Engine) -> list[int]:
    """Drop what crashes have left of placements that nobody works on now; returns the dropped batches."""
    with engine.connect() as connection:
        names = connection.execute(select(_batches.placement).distinct().order_by(_batches.placement)).scalars().all()
        # In this order: a batch that is begun in between has no tables yet, rather than no row.
        there = partitions.existing(connection)
        strangers = there - set(connection.execute(select(_batches.batch_id)).scalars())
    dropped = [batch_id for batch_id in sorted(strangers) if partitions.drop(engine, batch_id)]
    for name in names:
        with suppress(LockHeldError), locked(engine, lock(name)):
            dropped += retire(engine, name)
    return dropped
