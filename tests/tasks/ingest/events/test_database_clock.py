"""Machines with another clock than the database: times that the database sets are compared with its own clock."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from infra.database.engine import database_now
from infra.installation import Installation
from tasks.ingest.events.ingest_events import ingest_segment
from tasks.ingest.reference.ingest_users import ingest_users

AHEAD = """
    CREATE SCHEMA ahead;
    CREATE FUNCTION ahead.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS
        $$ SELECT pg_catalog.clock_timestamp() + interval '{hours} hours' $$;
    CREATE FUNCTION ahead.now() RETURNS timestamptz LANGUAGE sql AS
        $$ SELECT pg_catalog.now() + interval '{hours} hours' $$;
"""
"""Found before PostgreSQL's own functions of these names."""
MAPPING = """
[users]
file = "people.csv"
user_id = "id"
attributes = ["plan"]
consent = "agreed"
"""


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


def call(at: datetime, **fields: object) -> str:
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
    file.write_text("".join(call(moment - timedelta(minutes=n), **seen) + "\n" for n in range(8)))
    entry = ingest_segment.fn("segment", str(file))
    assert (entry["accepted"], entry["quarantined"]) == (8, 0)
    known = datetime.fromisoformat(str(one(installation, "SELECT field_timestamps ->> 'title' FROM items")))
    assert known == moment.replace(microsecond=known.microsecond)  # not cut back to this machine's time


def test_traits_without_a_time_are_dated_by_the_database(
    installation: Installation, set_clock: Callable[[int], None], tmp_path: Path
) -> None:
    set_clock(-25)
    mapping, file = tmp_path / "people.toml", tmp_path / "people.csv"
    mapping.write_text(MAPPING)
    file.write_text("id,plan,agreed\nann,gold,true\n")
    ingest_users.fn(str(mapping), str(file))
    agreed, plan = (
        one(installation, f"SELECT {what} FROM users") for what in ("consent_at", "field_timestamps ->> 'plan'")
    )
    day = datetime.now(UTC) - timedelta(hours=25)
    for moment in (agreed, datetime.fromisoformat(str(plan))):
        assert isinstance(moment, datetime)
        assert abs(moment - day) < timedelta(minutes=10)
