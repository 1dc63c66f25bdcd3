from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import func, select, update

from infra.database.schema.schema import LEDGER, ingest_batches, ingest_chunks, items, quarantine, users
from infra.installation import Installation
from models.errors import TailorbirdError
from serving.queries import ledger
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.quarantine.replay_rows import replay_quarantine


@pytest.fixture
def entry(catalogued: Installation, shop: Any) -> dict[str, Any]:  # noqa: ARG001 - it has to be there
    """Return the ledger entry of the shop's events, fourteen of which are on products outside the catalogue."""
    line: dict[str, Any] = ingest_events.fn("complete_journey", shop.events_file)
    return line


def name_products(installation: Installation) -> None:
    """Put every product that events in quarantine ask for into the catalogue."""
    requested = select(quarantine.c.payload["item_id"].astext).distinct()
    with installation.engine.begin() as connection:
        expected = set(connection.execute(requested).scalars()) - {None}
        known = set(connection.execute(select(items.c.item_id)).scalars())
        rows = [{"item_id": i, "attributes": {}, "available": True, "batch_id": "b"} for i in expected - known]
        connection.execute(items.insert(), rows)


def lake(installation: Installation) -> list[str]:
    tables = [pq.read_table(file, columns=["event_id"], partitioning=None) for file in installation.lake.event_files()]
    ids: list[str] = pa.concat_tables(tables)["event_id"].to_pylist()
    return ids


def adds_up(line: dict[str, Any]) -> bool:
    return bool(line["read"] == sum(line[name] for name in LEDGER if name != "read"))


def test_without_a_change_nothing_moves(installation: Installation, entry: dict[str, Any]) -> None:
    before = lake(installation)
    assert replay_quarantine.fn(entry["batch_id"]) == entry
    assert lake(installation) == before


@pytest.mark.parametrize("fixed", ["the catalogue", "the policy"])
def test_rows_that_keep_the_rules_now_move_and_the_ledger_adds_up(
    installation: Installation, entry: dict[str, Any], fixed: str
) -> None:
    if fixed == "the catalogue":
        name_products(installation)
    line = replay_quarantine.fn(entry["batch_id"], fixed == "the policy")
    moved = line["accepted"] - entry["accepted"]
    assert moved == 12
    assert (adds_up(line), line["quarantined"]) == (True, entry["quarantined"] - moved)
    assert len(set(lake(installation))) == len(lake(installation)) == line["accepted"]
    still = ledger.quarantined_rows(installation.engine, entry["batch_id"], "item_not_in_catalogue", 50)
    assert all("item_id_missing" in row["rule_ids"] for row in still)
    assert replay_quarantine.fn(entry["batch_id"]) == line


def test_a_replay_cut_short_after_the_lake_is_finished_by_the_next(
    installation: Installation, entry: dict[str, Any]
) -> None:
    name_products(installation)
    once = replay_quarantine.fn(entry["batch_id"])
    with installation.engine.begin() as connection:  # as if PostgreSQL had no record of it
        connection.execute(update(quarantine).values(replayed_at=None))
        newest = select(func.max(ingest_chunks.c.chunk)).where(ingest_chunks.c.batch_id == entry["batch_id"])
        last = connection.execute(newest).scalar_one()
        own = (ingest_chunks.c.batch_id == entry["batch_id"], ingest_chunks.c.chunk == last)
        connection.execute(ingest_chunks.delete().where(*own))
        back = {name: entry[name] for name in LEDGER}
        connection.execute(update(ingest_batches).where(ingest_batches.c.batch_id == entry["batch_id"]).values(back))
    assert replay_quarantine.fn(entry["batch_id"]) == once
    assert len(set(lake(installation))) == len(lake(installation)) == once["accepted"]


def test_no_row_of_a_user_who_withdrew_consent_moves(installation: Installation, entry: dict[str, Any]) -> None:
    name_products(installation)
    with installation.engine.begin() as connection:
        connection.execute(update(users).values(consent=False))
    assert replay_quarantine.fn(entry["batch_id"]) == entry


def test_a_batch_that_is_not_there_is_named(installation: Installation) -> None:  # noqa: ARG001
    with pytest.raises(TailorbirdError, match="There is no ingested batch 'nix'"):
        replay_quarantine.fn("nix")


def test_the_books_show_batches_and_waiting_rows(installation: Installation, entry: dict[str, Any]) -> None:
    batches = {row["dataset"]: row for row in ledger.ledger(installation.engine)}
    assert batches["events"]["quarantined"] == entry["quarantined"]
    rows = ledger.quarantined_rows(installation.engine, entry["batch_id"], "value_not_positive", 5)
    assert len(rows) == 5
    assert all("value_not_positive" in row["rule_ids"] and row["payload"]["item_id"] for row in rows)


def test_items_that_a_replay_takes_are_put_into_the_catalogue(
    installation: Installation, entry: dict[str, Any]
) -> None:
    replay_quarantine.fn(entry["batch_id"], True)
    with installation.engine.connect() as connection:
        result = set(connection.execute(select(items.c.item_id)).scalars())
    assert "699999" in result


def test_an_infinite_number_keeps_nothing_else_from_being_tried_again(
    installation: Installation, entry: dict[str, Any]
) -> None:
    payload = func.jsonb_set(quarantine.c.payload, "{quantity}", '"inf"')
    own = quarantine.c.rule_ids.any("quantity_above_limit")
    with installation.engine.begin() as connection:
        assert connection.execute(update(quarantine).where(own).values(payload=payload)).rowcount == 3
    name_products(installation)
    assert replay_quarantine.fn(entry["batch_id"])["accepted"] == entry["accepted"] + 12


def test_an_unknown_batch_is_reported(installation: Installation) -> None:
    with pytest.raises(ledger.TailorbirdError, match="There is no batch 'nothing'"):
        ledger.quarantined_rows(installation.engine, "nothing")
