import gzip
import json
import random
import shutil
import string
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from infra.database.engine import database_now, engine
from infra.database.schema.schema import (
    identities,
    ingest_batches,
    ingest_chunks,
    items,
    quarantine,
    users,
)
from infra.installation import Installation, current
from infra.keys.identity import pseudonym
from infra.services.database_access import logins
from models.errors import TailorbirdError
from tasks.ingest.events.ingest_events import ingest_events, ingest_segment
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users
from tasks.ingest.rows.settle import settle_idle
from tasks.quality.suites import BatchRefusedError
from tasks.sources import line_reader
from tests.database_roles import create_roles
from tests.tasks.ingest.stored import counted, lake, rows

GOLDEN = Path(__file__).parents[3] / "golden" / "segment" / "segment.jsonl"
AGREED = {"consent": {"categoryPreferences": {"Personalization": True, "Advertising": True}}}
REFUSED = {"consent": {"categoryPreferences": {"Personalization": False, "Advertising": True}}}
AHEAD = """
    CREATE SCHEMA ahead;
    CREATE FUNCTION ahead.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS
        $$ SELECT pg_catalog.clock_timestamp() + interval '{hours} hours' $$;
    CREATE FUNCTION ahead.now() RETURNS timestamptz LANGUAGE sql AS
        $$ SELECT pg_catalog.now() + interval '{hours} hours' $$;
"""
"""Found before PostgreSQL's own functions of these names."""
PEOPLE = """
[users]
file = "people.csv"
user_id = "id"
attributes = ["plan"]
consent = "agreed"
"""


def call(number: int, kind: str = "track", **stated: Any) -> dict[str, Any]:
    moment = f"2024-06-01T10:{number % 60:02}:00.000Z"
    return {"type": kind, "messageId": f"m{number}", "userId": "ann", "timestamp": moment, "context": AGREED} | stated


def viewed(number: int, product: str = "cup", **stated: Any) -> dict[str, Any]:
    properties = {"product_id": product, "name": product.title(), "price": 3.5, "currency": "EUR"}
    return call(number, event="Product Viewed", properties=properties, **stated)


def bought(number: int, order: str, *products: str, **stated: Any) -> dict[str, Any]:
    blocks = [{"product_id": product, "name": product.title(), "price": 3.5, "quantity": 1} for product in products]
    return call(number, event="Order Completed", properties={"order_id": order, "products": blocks}, **stated)


def on(day: int) -> dict[str, str]:
    return {"timestamp": f"2024-06-{day:02}T10:00:00Z"}


def write(path: Path, *calls: dict[str, Any] | bytes) -> str:
    path.write_bytes(b"".join((c if isinstance(c, bytes) else json.dumps(c).encode()) + b"\n" for c in calls))
    return str(path)


def test_every_call_of_the_golden_file_is_accounted_for_and_comes_in_once(
    installation: Installation, tmp_path: Path
) -> None:
    sound = b"".join(json.dumps(viewed(n, userId="bob")).encode() + b"\n" for n in range(100))
    path = tmp_path / "golden.jsonl"
    path.write_bytes(GOLDEN.read_bytes() + sound)
    first = ingest_segment.fn("segment", str(path))
    stored = lake(installation)
    assert first["status"] == "committed"
    assert counted(first)["accepted"] == len(stored) == len({row["event_id"] for row in stored})
    copy = shutil.copy(path, tmp_path / "again.jsonl")
    assert ingest_segment.fn("segment", str(copy)) == first | {"status": "unchanged"}
    assert lake(installation) == stored


def test_plain_and_packed_files_hold_the_same(installation: Installation, tmp_path: Path) -> None:
    plain = write(tmp_path / "a.jsonl", viewed(1), bought(2, "o1", "cup", "pan"))
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(Path(plain).read_bytes()))
    assert counted(ingest_segment.fn("segment", plain)) == {"read": 3, "accepted": 3}
    assert counted(ingest_segment.fn("segment", str(packed))) == {"read": 3, "duplicate": 3}
    assert [row["event_id"] for row in lake(installation)] == ["m1", "m2#1", "m2#2"]


def test_a_packed_file_that_was_cut_short_states_it_and_comes_in_when_it_is_whole(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_reader, "CHUNK_BYTES", 20_000)
    whole = gzip.compress(b"".join(json.dumps(viewed(n)).encode() + b"\n" for n in range(500)))
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TailorbirdError, match=r"nothing of it was kept.*cannot be read to its end"):
        ingest_segment.fn("segment", str(path))
    assert [row["status"] for row in rows(installation, ingest_batches)] == ["refused"]
    assert not [*lake(installation), *rows(installation, users), *rows(installation, ingest_chunks)]
    path.write_bytes(whole)
    assert counted(ingest_segment.fn("segment", str(path)))["accepted"] == 500
    assert len(lake(installation)) == 500


def test_without_consent_no_event_is_stored_and_the_last_answer_counts(
    installation: Installation, tmp_path: Path
) -> None:
    unanswered = {"userId": "bob", "context": {}}
    entry = ingest_segment.fn(
        "segment", write(tmp_path / "a", viewed(1), viewed(2, **unanswered), viewed(3, userId="cleo", context=REFUSED))
    )
    assert counted(entry) == {"read": 3, "accepted": 1, "suppressed": 2}
    assert [row["user_id"] for row in rows(installation, identities)] == ["ann"]
    ingest_segment.fn("segment", write(tmp_path / "b", viewed(4, context=REFUSED)))
    stated = {row["user_key"]: row["consent"] for row in rows(installation, users)}
    assert stated == {pseudonym(name, installation.key): False for name in ("ann", "cleo")}
    entry = ingest_segment.fn("segment", write(tmp_path / "c", viewed(5, context={}), viewed(6)))
    assert counted(entry) == {"read": 2, "accepted": 1, "suppressed": 1}
    stated = {row["user_key"]: row["consent"] for row in rows(installation, users)}
    assert stated == {pseudonym("ann", installation.key): True, pseudonym("cleo", installation.key): False}


def test_unreadable_lines_wait_in_quarantine_with_their_place(installation: Installation, tmp_path: Path) -> None:
    good = [viewed(n) for n in range(20)]
    path = write(tmp_path / "a.jsonl", *good[:10], b'{"broken": ', b"\xff\xfe", *good[10:])
    entry = ingest_segment.fn("segment", path)
    assert counted(entry) == {"read": 22, "accepted": 20, "quarantined": 2}
    remaining = [row["payload"] for row in rows(installation, quarantine)]
    content = Path(path).read_bytes()
    assert [row["line"] for row in remaining] == [11, 12]
    assert content[remaining[0]["offset"] :].startswith(b'{"broken": ')
    assert {row["file"] for row in remaining} == {"a.jsonl"}
    assert all(row["reason"] and len(row["sha256"]) == 64 for row in remaining)


def test_an_id_that_is_none_gets_no_place_in_the_catalogue(installation: Installation, tmp_path: Path) -> None:
    long = "".join(random.Random(1).choices(string.ascii_letters, k=9000))  # noqa: S311
    path = write(tmp_path / "a.jsonl", *map(viewed, range(30)), viewed(30, long), viewed(31, "undefined"))
    assert counted(ingest_segment.fn("segment", path)) == {"read": 32, "accepted": 30, "quarantined": 2}
    assert [row["item_id"] for row in rows(installation, items)] == ["cup"]


def test_the_refund_of_a_whole_order_needs_no_catalogue(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text('kind = "segment"\nunknown_items = "quarantine"\n')
    refund = call(3, event="Order Refunded", properties={"order_id": "o1"})
    path = write(tmp_path / "a.jsonl", bought(1, "o1", "cup"), bought(2, "o2", "cup"), refund)
    assert counted(ingest_segment.fn(str(tmp_path / "own.toml"), path)) == {"read": 3, "accepted": 3}
    assert [row["item_id"] for row in lake(installation)] == ["cup", "cup", "*"]


@pytest.fixture
def ingesting(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """The installation as a process sees it that was given the address of the ingest role."""
    assert installation.key
    assert installation.lake
    create_roles(installation)
    address = logins.address(installation.settings, "ingest")
    monkeypatch.setenv("TAILORBIRD_DATABASE_URL", address)
    current.cache_clear()
    yield current()
    engine(address).dispose()
    current.cache_clear()


def test_events_items_and_users_are_ingested_and_payloads_are_not_read_back(
    ingesting: Installation, shop: Any, tmp_path: Path
) -> None:
    files = ((ingest_items, shop.items_file), (ingest_users, shop.users_file), (ingest_events, shop.events_file))
    for status in ("committed", "unchanged"):
        for ingest, file in files:
            assert ingest.fn("complete_journey", file)["status"] == status
    calls = [
        viewed(1),
        bought(2, "o", "cup", "tea"),
        call(3, "identify", traits={"age": 7}),
        call(4, "alias", previousId="a"),
    ]
    assert ingest_segment.fn("segment", write(tmp_path / "calls.jsonl", *calls))["status"] == "committed"
    with pytest.raises(BatchRefusedError):
        ingest_segment.fn("segment", str(GOLDEN))
    with ingesting.engine.connect() as connection:
        assert connection.execute(text("SELECT current_user")).scalar_one().endswith("_ingest")
        quarantined = connection.execute(text("SELECT count(batch_id) FROM quarantine")).scalar_one()
        assert quarantined >= shop.counts["quarantined"]
        with pytest.raises(ProgrammingError) as refusal:
            connection.execute(text("SELECT payload FROM quarantine"))
    assert isinstance(refusal.value.orig, InsufficientPrivilege)


def test_batches_that_were_cut_short_are_settled(ingesting: Installation, tmp_path: Path) -> None:
    ingest_segment.fn("segment", write(tmp_path / "calls.jsonl", viewed(1)))
    with ingesting.engine.begin() as connection:
        connection.execute(text("UPDATE ingest_batches SET status = 'pending'"))
    settle_idle()
    with ingesting.engine.connect() as connection:
        assert "nothing of it counts" in connection.execute(text("SELECT detail FROM ingest_batches")).scalar_one()


@pytest.fixture
def set_clock(installation: Installation) -> Callable[[int], None]:
    """Set the database's clock some hours ahead of this machine's, or behind it."""

    def shift(hours: int) -> None:
        name = installation.engine.url.database
        with installation.engine.begin() as connection:
            connection.execute(text(AHEAD.format(hours=hours)))
            connection.execute(text(f"ALTER DATABASE {name} SET search_path = ahead, public, pg_catalog"))
        installation.engine.dispose()

    return shift


def called(at: datetime, **fields: object) -> str:
    known = {"userId": "ann", "messageId": at.isoformat(), "timestamp": at.isoformat()}
    consent = {"context": {"consent": {"categoryPreferences": {"Personalization": True, "Advertising": True}}}}
    return json.dumps(known | consent | fields)


def one(installation: Installation, query: str) -> object:
    with installation.engine.connect() as connection:
        return connection.execute(text(query)).scalar_one()


def test_the_database_states_what_time_it_is(installation: Installation, set_clock: Callable[[int], None]) -> None:
    set_clock(-3)
    with installation.engine.connect() as connection:
        behind = datetime.now(UTC) - database_now(connection)
    assert timedelta(hours=2.9) < behind < timedelta(hours=3.1)


def test_events_of_this_moment_are_no_events_of_the_future_on_a_machine_that_is_a_day_behind(
    installation: Installation, set_clock: Callable[[int], None], tmp_path: Path
) -> None:
    set_clock(25)
    moment, file = datetime.now(UTC) + timedelta(hours=25), tmp_path / "calls.jsonl"
    product = {"product_id": "cup", "name": "Cup", "price": 3.5, "currency": "EUR"}
    seen = {"type": "track", "event": "Product Viewed", "properties": product}
    file.write_text("".join(called(moment - timedelta(minutes=n), **seen) + "\n" for n in range(8)))
    entry = ingest_segment.fn("segment", str(file))
    assert (entry["accepted"], entry["quarantined"]) == (8, 0)
    known = datetime.fromisoformat(str(one(installation, "SELECT field_timestamps ->> 'title' FROM items")))
    assert known == moment.replace(microsecond=known.microsecond)  # not cut back to this machine's time


def test_traits_without_a_time_are_dated_by_the_database(
    installation: Installation, set_clock: Callable[[int], None], tmp_path: Path
) -> None:
    set_clock(-25)
    mapping, file = tmp_path / "people.toml", tmp_path / "people.csv"
    mapping.write_text(PEOPLE)
    file.write_text("id,plan,agreed\nann,gold,true\n")
    ingest_users.fn(str(mapping), str(file))
    agreed, plan = (
        one(installation, f"SELECT {what} FROM users") for what in ("consent_at", "field_timestamps ->> 'plan'")
    )
    day = datetime.now(UTC) - timedelta(hours=25)
    for moment in (agreed, datetime.fromisoformat(str(plan))):
        assert isinstance(moment, datetime)
        assert abs(moment - day) < timedelta(minutes=10)
