"""A run that is cut short at a certain step: what the next one makes of it is what one run would have made."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import CommitProperties, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, OperationalError

from infra import locks
from infra.database.schema.schema import (
    LEDGER,
    identities,
    ingest_batches,
    ingest_chunks,
    ingest_updates,
    items,
    quarantine,
    users,
)
from infra.installation import Installation
from infra.keys.identity import pseudonym
from infra.outages import explain
from models.primitives.json_types import JsonObject
from tasks.ingest.events.ingest_events import ingest_segment
from tasks.quality.suites import BatchRefusedError
from tasks.sources import line_reader

AGREED = {"consent": {"categoryPreferences": {"Personalization": True, "Advertising": True}}}
CALLS_IN_CHUNK = 4


def call(number: int, day: int, **fields: Any) -> JsonObject:
    envelope = {"type": "track", "messageId": f"m{number:03}", "userId": f"user{number % 3}", "context": AGREED}
    return envelope | {"timestamp": f"2024-06-{day:02}T10:{number % 60:02}:00Z"} | fields


def viewed(number: int, day: int = 1, product: str = "cup", name: str = "Cup", **fields: Any) -> JsonObject:
    properties = {"product_id": product, "name": name, "price": 3.5, "quantity": fields.pop("quantity", 1)}
    return call(number, day, event="Product Viewed", properties=properties, **fields)


def half_bad(many: int) -> list[JsonObject]:
    return [viewed(n, quantity=-1 if n % 2 else 1) for n in range(many)]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Writes a file that is read in chunks of four calls."""
    monkeypatch.setattr(line_reader, "CHUNK_BYTES", 400 * CALLS_IN_CHUNK)

    def written(name: str, *calls: JsonObject) -> str:
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes(b"".join(json.dumps(message).encode().ljust(399) + b"\n" for message in calls))
        return str(path)

    return written


def lake(installation: Installation) -> list[tuple[str, str]]:
    tables = [pq.read_table(file, partitioning=None) for file in installation.lake.event_files()]
    rows = pa.concat_tables(tables) if tables else pa.table({"event_id": [], "batch_id": []})
    return sorted(zip(rows["event_id"].to_pylist(), rows["batch_id"].to_pylist(), strict=True))


def rows(installation: Installation, table: Any) -> list[JsonObject]:
    with installation.engine.connect() as connection:
        return [dict(row) for row in connection.execute(select(table)).mappings()]


def run(installation: Installation, statement: str) -> None:
    with installation.engine.begin() as connection:
        connection.execute(text(statement))


def ingest(file: str) -> dict[str, int]:
    entry = ingest_segment.fn("segment", file)
    assert entry["read"] == sum(entry[name] for name in LEDGER if name != "read")
    return {name: entry[name] for name in LEDGER if entry[name]}


STEPS = {
    "chunk 1 in PostgreSQL": ("ingest_chunks", "CHECK (chunk < 1)"),
    "chunk 3 in PostgreSQL": ("ingest_chunks", "CHECK (chunk < 3)"),
    "statements about users and items": ("items", "CHECK (item_id <> 'pan')"),
    "the closing of the batch": ("ingest_batches", "CHECK (status <> 'committed')"),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_fails_at_a_step_in_postgres_is_finished_by_the_next(
    installation: Installation, write: Callable[..., str], step: str
) -> None:
    identify = call(90, 3, type="identify", anonymousId="phone", traits={"plan": "gold"}, userId="user1")
    file = write(
        "a", *[viewed(n) for n in range(7)], viewed(7, product="pan"), identify, *[viewed(n) for n in range(8, 16)]
    )
    table, check = STEPS[step]
    run(installation, f"ALTER TABLE {table} ADD CONSTRAINT stumble {check}")
    for _ in range(2):
        with pytest.raises(DBAPIError, match="stumble"):
            ingest(file)
    assert rows(installation, ingest_updates)
    run(installation, f"ALTER TABLE {table} DROP CONSTRAINT stumble")
    assert ingest(file) == {"read": 17, "accepted": 16, "routed": 1}
    assert [event for event, _ in lake(installation)] == [f"m{n:03}" for n in range(16)]
    assert not rows(installation, ingest_updates)
    plans = {row["user_key"]: row["attributes"] for row in rows(installation, users)}
    assert plans[pseudonym("user1", installation.key)] == {"plan": "gold"}
    assert {row["item_id"] for row in rows(installation, items)} == {"cup", "pan"}


def test_a_lake_that_fails_in_the_middle_is_made_good_by_the_next_run(
    installation: Installation, write: Callable[..., str]
) -> None:
    file = write(
        "a",
        *[viewed(n) for n in range(8)],
        *[viewed(n, 1) | {"timestamp": "2024-07-01T10:00:00Z"} for n in range(8, 16)],
    )
    obstacle = Path(installation.settings.lake) / "events" / "month=2024-07"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("a file where a folder should be")
    with pytest.raises((DeltaError, OSError)):
        ingest(file)
    assert (len(rows(installation, ingest_chunks)), len(lake(installation))) == (3, 8)
    obstacle.unlink()
    assert ingest(file) == {"read": 16, "accepted": 16}
    assert len({event for event, _ in lake(installation)}) == len(lake(installation)) == 16


def test_a_refusal_that_the_lake_knows_and_postgres_does_not_is_reported_by_the_next_run(
    installation: Installation, write: Callable[..., str]
) -> None:
    file = write("a", *half_bad(12))
    run(installation, "ALTER TABLE ingest_batches ADD CONSTRAINT stumble CHECK (status <> 'refused')")
    with pytest.raises(DBAPIError, match="stumble"):
        ingest(file)
    assert lake(installation) == []
    run(installation, "ALTER TABLE ingest_batches DROP CONSTRAINT stumble")
    with pytest.raises(BatchRefusedError, match="quantity_not_positive"):
        ingest(file)
    assert lake(installation) == []
    for table in (ingest_chunks, ingest_updates, quarantine, users, identities, items):
        assert rows(installation, table) == [], table
    assert [row["status"] for row in rows(installation, ingest_batches)] == ["refused"]


def test_consent_before_a_run_was_cut_short_does_not_hold_for_the_rest_of_it(
    installation: Installation, write: Callable[..., str]
) -> None:
    """Without a crash an event without consent uses what was known before the file."""
    without_consent = [viewed(n, context={}) for n in range(8, 12)]
    file = write("a", *[viewed(n) for n in range(8)], *without_consent)
    run(installation, "ALTER TABLE ingest_chunks ADD CONSTRAINT stumble CHECK (chunk < 2)")
    with pytest.raises(DBAPIError, match="stumble"):
        ingest(file)
    run(installation, "ALTER TABLE ingest_chunks DROP CONSTRAINT stumble")
    assert ingest(file) == {"read": 12, "accepted": 8, "suppressed": 4}
    assert ingest(write("b", *[message | {"messageId": f"b{n}"} for n, message in enumerate(without_consent)])) == {
        "read": 4,
        "accepted": 4,
    }


@pytest.mark.parametrize("cut", [None, 2, 3])
def test_the_last_title_of_an_item_stays_though_it_had_the_same_before(
    installation: Installation, write: Callable[..., str], cut: int | None
) -> None:
    """It is stored once, and counts from when it was stated the last time."""
    titles = [(5, "Cup"), (9, "Cup"), (7, "Old cup"), (8, "Cup")]
    file = write("a", *[viewed(4 * n + m, day, name=name) for n, (day, name) in enumerate(titles) for m in range(4)])
    if cut is not None:
        run(installation, f"ALTER TABLE ingest_chunks ADD CONSTRAINT stumble CHECK (chunk < {cut})")
        with pytest.raises(DBAPIError, match="stumble"):
            ingest(file)
        run(installation, "ALTER TABLE ingest_chunks DROP CONSTRAINT stumble")
    assert ingest(file)["accepted"] == 16
    [cup] = rows(installation, items)
    assert (cup["title"], cup["field_timestamps"]["title"][:10]) == ("Cup", "2024-06-09")


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_title_that_a_file_repeats_is_newer_than_one_of_another_file_in_between(
    installation: Installation, write: Callable[..., str], order: str
) -> None:
    days = {"a": [(5, "Cup"), (9, "Cup")], "b": [(7, "Mug")]}
    for name in order:
        calls = [
            viewed(50 * (name == "b") + 4 * n + m, day, name=title)
            for n, (day, title) in enumerate(days[name])
            for m in range(4)
        ]
        ingest(write(name, *calls))
    [cup] = rows(installation, items)
    assert (cup["title"], cup["field_timestamps"]["title"][:10]) == ("Cup", "2024-06-09")


def test_users_of_a_batch_that_was_cut_short_before_the_lake_stay_when_it_is_refused_later(
    installation: Installation, write: Callable[..., str]
) -> None:
    """Another batch has brought their events meanwhile."""
    dirty = write("dirty", *half_bad(8))
    obstacle = Path(installation.settings.lake) / "events" / "month=2024-06"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("a file where a folder should be")
    with pytest.raises((DeltaError, OSError)):
        ingest(dirty)
    obstacle.unlink()
    assert len(rows(installation, users)) == 3
    ingest(write("sound", *[viewed(n) for n in range(20, 28)]))
    known = rows(installation, users), rows(installation, identities)
    assert [len(table) for table in known] == [3, 3]
    with pytest.raises(BatchRefusedError):
        ingest(dirty)
    assert (rows(installation, users), rows(installation, identities)) == known


CUT_OFF = """
    CREATE FUNCTION cut_off() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_terminate_backend({whom}); RETURN NEW;
    END $$;
    CREATE TRIGGER cut_off AFTER INSERT ON {table} FOR EACH ROW WHEN (NEW.chunk = 2) EXECUTE FUNCTION cut_off()
"""
THIS_DATABASE = "(SELECT oid FROM pg_database WHERE datname = current_database())"
HOLDERS = f"pid) FROM pg_locks WHERE locktype = 'advisory' AND database = ({THIS_DATABASE}"
CONNECTIONS = {
    "the lock": ("ingest_chunks", HOLDERS, 3),
    "a chunk": ("ingest_chunks", "pg_backend_pid()", 2),
    "what is loaded": ("ingest_updates", "pg_backend_pid()", 2),
}


@pytest.mark.parametrize("lost", CONNECTIONS)
def test_a_run_that_loses_its_database_stops_reports_it_and_goes_on_when_repeated(
    installation: Installation, write: Callable[..., str], lost: str
) -> None:
    """Also when only its lock is lost: another run may be at work by then."""
    file = write("a", *[viewed(n, product=f"p{n}") for n in range(16)])
    table, whom, recorded = CONNECTIONS[lost]
    run(installation, CUT_OFF.format(table=table, whom=whom))
    with pytest.raises(Exception, match=r"terminating connection|closed") as raised:
        ingest(file)
    assert "The database went away" in str(explain(raised.value)), repr(raised.value)
    assert (len(rows(installation, ingest_chunks)), len(lake(installation))) == (recorded, 8)
    run(installation, f"DROP TRIGGER cut_off ON {table}")
    assert ingest(file) == {"read": 16, "accepted": 16}
    assert len({event for event, _ in lake(installation)}) == len(lake(installation)) == 16


def test_a_run_that_lost_the_lock_cannot_bring_in_a_chunk_that_others_bring_by_now(
    installation: Installation, write: Callable[..., str]
) -> None:
    """Its last write to the lake was under way when the database came back and the next run began."""
    file, other = write("a", *[viewed(n) for n in range(16)]), write("b", *[viewed(n) for n in range(4, 12)])
    run(installation, CUT_OFF.format(table="ingest_chunks", whom=HOLDERS))
    with pytest.raises(OperationalError):
        ingest(file)
    [batch] = rows(installation, ingest_batches)
    run(installation, "DROP TRIGGER cut_off ON ingest_chunks")
    under_way = installation.lake.events()
    assert under_way is not None
    ingest(other)
    late = CommitProperties(app_transactions=[Transaction(batch["batch_id"], 2)])
    with pytest.raises(CommitFailedError):
        write_deltalake(under_way, under_way.to_pyarrow_table(), mode="append", commit_properties=late)
    assert ingest(file) == {"read": 16, "accepted": 8, "duplicate": 8}
    assert len({event for event, _ in lake(installation)}) == len(lake(installation)) == 16


def test_a_check_of_a_lock_that_was_lost_fails(installation: Installation) -> None:
    with locks.locked(installation.engine, "something") as confirm:
        confirm()
        run(installation, f"SELECT pg_terminate_backend({HOLDERS})")
        with pytest.raises(OperationalError):
            confirm()
