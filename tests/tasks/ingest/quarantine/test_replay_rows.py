"""A corrected file with accepted ids and other values: the proposed command ingests its rows."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from infra.database.schema.schema import LEDGER, ingest_batches, ingest_chunks, items, quarantine, users
from infra.installation import Installation
from models.errors import TailorbirdError
from serving.queries import ledger
from serving.terminal import screen
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.quarantine.replay_rows import find_corrections, replay_quarantine
from tasks.ingest.reference.ingest_items import ingest_items
from tasks.ingest.undo.undo_batches import undo_batches
from tests.tasks.ingest.stored import counted, lake

MAPPING = """
consent = "given"
consent_note = "by the terms of the shop"

[events]
file = "*.csv"
event_id = "order"
user_id = "user"
item_id = "item"
event_type = "kind"
occurred_at = "at"
value = "price"

[items]
file = "items.csv"
item_id = "item"
title = "title"
"""


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


@pytest.mark.parametrize("fixed", ["the catalogue", "the policy"])
def test_rows_that_keep_the_rules_now_move_and_the_ledger_adds_up(
    installation: Installation, entry: dict[str, Any], fixed: str
) -> None:
    if fixed == "the catalogue":
        name_products(installation)
    line = replay_quarantine.fn(entry["batch_id"], fixed == "the policy")
    moved = line["accepted"] - entry["accepted"]
    assert moved == 12
    assert counted(line)["quarantined"] == entry["quarantined"] - moved
    assert len({row["event_id"] for row in lake(installation)}) == len(lake(installation)) == line["accepted"]
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
    assert len({row["event_id"] for row in lake(installation)}) == len(lake(installation)) == once["accepted"]


def test_no_row_of_a_user_who_withdrew_consent_moves(installation: Installation, entry: dict[str, Any]) -> None:
    name_products(installation)
    with installation.engine.begin() as connection:
        connection.execute(update(users).values(consent=False))
    assert replay_quarantine.fn(entry["batch_id"]) == entry


def test_a_batch_that_is_not_there_is_named(installation: Installation) -> None:  # noqa: ARG001
    with pytest.raises(TailorbirdError, match="There is no ingested batch 'nix'"):
        replay_quarantine.fn("nix")


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


@pytest.fixture
def folder(installation: Installation, tmp_path: Path) -> Path:  # noqa: ARG001
    (tmp_path / "shop.toml").write_text(MAPPING)
    (tmp_path / "items.csv").write_text("item,title\ncup,Cup\n")
    ingest_items.fn(str(tmp_path / "shop.toml"), str(tmp_path / "items.csv"))
    return tmp_path


def bring(folder: Path, file: str, corrected: int, orders: range = range(400)) -> dict[str, Any]:
    rows = [f"o{n},user{n},cup,purchase,2024-06-{n % 28 + 1:02}T10:00:00Z,{3 if n < corrected else 2}" for n in orders]
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text("\n".join(["order,user,item,kind,at,price", *rows]) + "\n")
    line = ingest_events.fn(str(folder / "shop.toml"), str(folder / file)) | {"file": str(folder / file)}
    [actual] = find_corrections([line])
    return actual


def test_a_corrected_file_names_the_commands_that_take_its_rows_in(
    installation: Installation, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    first = bring(folder, "may.csv", 0)
    assert "correction" not in first
    again = bring(folder, "corrected/may.csv", 40)
    assert (again["quarantined"], again["duplicate"]) == (40, 360)
    screen.show("ledger", [again])
    shown = capsys.readouterr().out
    undo, replay = (
        f"tailorbird ledger undo {first['batch_id']} --reason",
        f"tailorbird quarantine replay {again['batch_id']}",
    )
    assert "may.csv: 40 rows did not come in, because accepted rows with their ids" in shown
    assert shown.index(undo) < shown.index(replay)
    assert max(len(line) for line in shown.splitlines() if "tailorbird" not in line) <= 80

    undo_batches.fn([first["batch_id"]], None, "ann", "the file was corrected")
    replay_quarantine.fn(again["batch_id"])
    assert sorted(row["value"] for row in lake(installation)) == [2.0] * 360 + [3.0] * 40
    assert ledger.quarantined(installation.engine) == []
    assert ledger.correction(installation.engine, again["batch_id"]) is None


@pytest.mark.parametrize("file", ["other.csv", "next/may.csv"])
def test_an_undo_is_not_proposed_of_another_file_nor_of_another_week(
    folder: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bring(folder, "may.csv", 0)
    orders = range(400) if file == "other.csv" else range(380, 800)
    actual = bring(folder, file, 20 if file == "other.csv" else 390, orders)
    assert actual["correction"]["rows"] in (10, 20)
    assert actual["correction"]["earlier"] == ()
    screen.show("ledger", [actual])
    assert "ledger undo shop" not in capsys.readouterr().out
