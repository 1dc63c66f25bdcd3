"""Publishes a batch of recommendations whole: readers see the old batch or the new one, never a mixture.

Stage → commit the empty table → COPY → key and checks → attach → compare-and-set the pointer. Each step can be
repeated: a killed run leaves a table that nobody reads, and the next run starts it over.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from time import sleep
from typing import Any

from psycopg2.errors import LockNotAvailable
from sqlalchemy import Connection, Engine, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import OperationalError

from infra.bulk import copy
from infra.schema import placements, recommendation_batches
from models.errors import TailorbirdError

LOADING, PUBLISHED, RETIRED = "loading", "published", "retired"
KEPT_BEFORE_LIVE = 2
"""Batches kept behind the live one, to go back to."""
_TRIES = 25
_LOOKS = 300

Row = Sequence[Any]
"""user_key, item_ids, scores and reasons; the last three as array literals."""


class BatchUnsoundError(TailorbirdError):
    """A batch that broke its checks; readers keep the one before."""


@dataclass(frozen=True)
class Shelf:
    """What a batch is for, and what it is made from."""

    placement: str
    run_key: str
    model_version: int
    dataset_version: str
    k: int


def _table(batch_id: int) -> str:
    return f"recommendations_{batch_id}"


def batch_of(connection: Connection, shelf: Shelf) -> dict[str, Any]:
    """The ledger row of the batch, entered when it is new."""
    entry = {name: value for name, value in vars(shelf).items() if name != "k"} | {"status": LOADING}
    connection.execute(insert(recommendation_batches).values(entry).on_conflict_do_nothing())
    mine = (recommendation_batches.c.placement == shelf.placement, recommendation_batches.c.run_key == shelf.run_key)
    return dict(connection.execute(select(recommendation_batches).where(*mine)).mappings().one())


def batch_row(connection: Connection, batch_id: int) -> dict[str, Any]:
    """A batch's row in the ledger of batches."""
    mine = recommendation_batches.c.batch_id == batch_id
    return dict(connection.execute(select(recommendation_batches).where(mine)).mappings().one())


def stage(engine: Engine, batch_id: int) -> None:
    """Make the empty table of a batch. Committed before it is filled: what a crash leaves can then be dropped."""
    if not any(_release(engine, batch_id) for _ in range(_TRIES)):
        raise TailorbirdError("A long-running query reads the recommendations; end it, then score again.")
    with engine.begin() as connection:
        connection.execute(text(f"CREATE TABLE {_table(batch_id)} (LIKE recommendations)"))
        _mark(connection, batch_id, status=LOADING)


def _mark(connection: Connection, batch_id: int, **values: Any) -> None:
    mine = recommendation_batches.c.batch_id == batch_id
    connection.execute(update(recommendation_batches).where(mine).values(values))


def _release(engine: Engine, batch_id: int) -> bool:
    """Drop a batch's table and retire the batch; False when a reader was in the way.

    Readers that come later wait behind this: so it gives up quickly, and whoever waits is served between two tries.
    """
    try:
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '200ms'"))
            _drop(connection, batch_id)
            _mark(connection, batch_id, status=RETIRED)
    except OperationalError as error:
        if not isinstance(error.orig, LockNotAvailable):
            raise
        return False
    return True


def _drop(connection: Connection, batch_id: int) -> None:
    """Take a batch's table out of the readers' parent, if it was attached, and drop it."""
    table = _table(batch_id)
    attached = text("SELECT 1 FROM pg_inherits WHERE inhrelid = to_regclass(:table)")
    if connection.execute(attached, {"table": table}).first():
        connection.execute(text(f"ALTER TABLE recommendations DETACH PARTITION {table}"))
    connection.execute(text(f"DROP TABLE IF EXISTS {table}"))


def load(connection: Connection, batch_id: int, rows: Iterable[Row]) -> int:
    """COPY rows into the staged table; returns how many users they were."""
    names = ("batch_id", "user_key", "item_ids", "scores", "reasons")
    return copy(connection, _table(batch_id), names, ((batch_id, *row) for row in rows))


def check(connection: Connection, batch_id: int, users: int, k: int) -> int:
    """Add the key and look at every list; returns the number of recommendations. Raises BatchUnsoundError."""
    table = _table(batch_id)
    connection.execute(text(f"ALTER TABLE {table} ADD PRIMARY KEY (batch_id, user_key)"))
    connection.execute(text(f"ALTER TABLE {table} ADD CONSTRAINT {table}_batch CHECK (batch_id = {batch_id})"))
    found = connection.execute(
        text(f"""
            SELECT count(*) AS users, coalesce(sum(cardinality(item_ids)), 0) AS recommendations,
                   count(*) FILTER (WHERE cardinality(item_ids) <> :k) AS short,
                   count(*) FILTER (WHERE cardinality(item_ids) <> (SELECT count(DISTINCT i) FROM unnest(item_ids) i))
                       AS repeated,
                   count(*) FILTER (WHERE 'NaN' = ANY (scores) OR cardinality(scores) <> cardinality(item_ids)
                                    OR cardinality(reasons) <> cardinality(item_ids)) AS unscored,
                   (SELECT count(*) FROM (SELECT DISTINCT unnest(item_ids) AS item_id FROM {table}) shown
                    LEFT JOIN items USING (item_id) WHERE items.available IS NOT TRUE) AS unavailable
            FROM {table}
        """),
        {"k": k},
    ).one()
    faults = {name: getattr(found, name) for name in ("short", "repeated", "unscored", "unavailable")}
    if found.users != users or any(faults.values()):
        raise BatchUnsoundError(
            f"Batch {batch_id} was not published: {found.users} of {users} users; lists too short, with repeats or "
            f"without scores or reasons, and items that are not available: {faults}. Readers keep the batch before."
        )
    return int(found.recommendations)


def attach(engine: Engine, batch_id: int) -> None:
    """Make the batch's table part of what readers read; the pointer does not name it yet."""
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        statement = f"ALTER TABLE recommendations ATTACH PARTITION {_table(batch_id)} FOR VALUES IN ({batch_id})"
        connection.execute(text(statement))
    _await_earlier_readers(engine)


def _await_earlier_readers(engine: Engine) -> None:
    """Wait, for seconds at most, for statements that were planned before a batch was attached.

    Their plan does not know the batch, but they may take their snapshot after the pointer names it: they would read
    nothing at all. Nobody waits for us meanwhile.
    """
    with engine.connect() as connection:
        attached = connection.execute(select(func.clock_timestamp())).scalar_one()
    earlier = text(
        "SELECT 1 FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE relation = 'recommendations'::regclass "
        "AND state = 'active' AND query_start < :attached AND pid <> pg_backend_pid() LIMIT 1"
    )
    for _ in range(_LOOKS):
        with engine.connect() as connection:
            if connection.execute(earlier, {"attached": attached}).first() is None:
                return
        sleep(0.01)


def point(connection: Connection, placement: str, batch_id: int, expected: int | None, **counts: int) -> None:
    """Compare and set: the placement shows this batch if it still shows the `expected` one."""
    moved = {"batch_id": batch_id, "previous_batch_id": expected, "published_at": func.now()}
    if expected is None:
        entry = insert(placements).values(placement=placement, batch_id=batch_id).on_conflict_do_nothing()
        done = connection.execute(entry).rowcount
    else:
        mine = (placements.c.placement == placement, placements.c.batch_id == expected)
        done = connection.execute(update(placements).where(*mine).values(moved)).rowcount
    if done != 1:
        raise TailorbirdError(f"Another batch was published for {placement!r} in the meantime; score again.")
    _mark(connection, batch_id, status=PUBLISHED, published_at=func.now(), **counts)


def shown(engine: Engine) -> list[str]:
    """The placements that have lists."""
    with engine.connect() as connection:
        return list(connection.execute(select(placements.c.placement).order_by(placements.c.placement)).scalars())


def go_back(connection: Connection, placement: str, model_version: int) -> int | None:
    """Show the last kept lists of a model; returns the batch, None where none is kept.

    Call under the placement's lock.
    """
    batches = recommendation_batches.c
    kept = (batches.placement == placement, batches.model_version == model_version, batches.status == PUBLISHED)
    newest = select(batches.batch_id).where(*kept).order_by(batches.published_at.desc()).limit(1)
    batch_id: int | None = connection.execute(newest).scalar()
    live = live_batch(connection, placement)
    if batch_id is not None and batch_id != live:
        point(connection, placement, batch_id, live)
    return batch_id


def live_batch(connection: Connection, placement: str) -> int | None:
    """The batch that readers of a placement see."""
    found = select(placements.c.batch_id).where(placements.c.placement == placement)
    batch_id: int | None = connection.execute(found).scalar()
    return batch_id


def retire(engine: Engine, placement: str) -> list[int]:
    """Drop what is older than the batches kept behind the live one, and what killed runs left; returns the dropped.

    Call under the placement's lock. What a reader still holds is left for the next time.
    """
    batches = recommendation_batches.c
    mine = select(batches.batch_id).where(batches.placement == placement)
    newest = mine.where(batches.status == PUBLISHED).order_by(batches.published_at.desc())
    with engine.connect() as connection:
        old = list(connection.execute(newest.offset(KEPT_BEFORE_LIVE + 1)).scalars())
        left = list(connection.execute(mine.where(batches.status == LOADING)).scalars())
    return [batch_id for batch_id in (*left, *old) if _release(engine, batch_id)]
