"""Rows leave quarantine by a replay, when a later batch accepts them, or when a person dismisses them."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from flows.commands import ingestion, running
from infra.database.schema.schema import LEDGER, ingest_batches, ingest_chunks, items, quarantine, users
from infra.installation import Installation
from models.errors import TailorbirdError
from serving.queries import ledger
from serving.terminal import screen
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.quarantine.dismiss_rows import dismiss
from tasks.ingest.quarantine.replay_rows import find_corrections, replay_quarantine
from tasks.ingest.reference.ingest_reference import ingest_items
from tasks.ingest.undo.undo_batches import undo_batches
from tests.tasks.ingest.stored import counted, lake

_MAPPING = """
consent = "given"
consent_note = "by the terms of the shop"

[events]
file = "orders.csv"
event_id = "order"
user_id = "user"
item_id = "item"
event_type = "kind"
occurred_at = "at"
{more}

[items]
file = "items.csv"
item_id = "item"
title = "title"
"""


_WITHOUT_IDS = _MAPPING.replace('event_id = "order"\n', "").replace(
    "{more}", 'quantity = "amount"\nrequired = ["quantity"]'
)
"""Rows are identified by their values, so that a corrected row is another event than the one that waits."""


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
    with installation.engine.connect() as connection:
        assert "699999" in connection.execute(select(items.c.item_id)).scalars().all()


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
def priced(installation: Installation, tmp_path: Path) -> Path:  # noqa: ARG001
    (tmp_path / "shop.toml").write_text(_MAPPING.format(more='value = "price"').replace("orders.csv", "*.csv"))
    (tmp_path / "items.csv").write_text("item,title\ncup,Cup\n")
    ingest_items.fn(str(tmp_path / "shop.toml"), str(tmp_path / "items.csv"))
    return tmp_path


def bring_prices(priced: Path, file: str, corrected: int, orders: range = range(400)) -> dict[str, Any]:
    rows = [f"o{n},user{n},cup,purchase,2024-06-{n % 28 + 1:02}T10:00:00Z,{3 if n < corrected else 2}" for n in orders]
    (priced / file).parent.mkdir(exist_ok=True)
    (priced / file).write_text("\n".join(["order,user,item,kind,at,price", *rows]) + "\n")
    line = ingest_events.fn(str(priced / "shop.toml"), str(priced / file)) | {"file": str(priced / file)}
    [actual] = find_corrections([line])
    return actual


def test_a_corrected_file_names_the_commands_that_take_its_rows_in(
    installation: Installation, priced: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    first = bring_prices(priced, "may.csv", 0)
    assert "correction" not in first
    again = bring_prices(priced, "corrected/may.csv", 40)
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
    priced: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bring_prices(priced, "may.csv", 0)
    orders = range(400) if file == "other.csv" else range(380, 800)
    actual = bring_prices(priced, file, 20 if file == "other.csv" else 390, orders)
    assert actual["correction"]["rows"] in (10, 20)
    assert actual["correction"]["earlier"] == ()
    screen.show("ledger", [actual])
    assert "ledger undo shop" not in capsys.readouterr().out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, 0)
    (tmp_path / "items.csv").write_text("item,title\ncup,Cup\npan,Pan\n")
    return tmp_path


def write(folder: Path, third: int, more: str = 'quantity = "amount"') -> None:
    rows = [f"o{n},user{n},cup,purchase,2024-06-{n % 28 + 1:02}T10:00:00Z,1" for n in range(400)]
    rows[2] = f"{rows[2][:-1]}{third}"
    (folder / "orders.csv").write_text("\n".join(["order,user,item,kind,at,amount", *rows]) + "\n")
    (folder / "shop.toml").write_text(_MAPPING.format(more=more))


def ingest(folder: Path) -> dict[str, Any]:
    entry: dict[str, Any] = ingest_events.fn(str(folder / "shop.toml"), str(folder / "orders.csv"))
    return entry


@pytest.fixture
def waiting(installation: Installation, folder: Path) -> dict[str, Any]:
    """The ledger's line of a file one of whose rows has a quantity of 0."""
    ingest_items.fn(str(folder / "shop.toml"), str(folder / "items.csv"))
    line = ingest(folder)
    assert line["quarantined"] == 1, line
    [row] = ledger.quarantined(installation.engine)
    assert (row["batch_id"], row["rows"], row["rules"]) == (line["batch_id"], 1, {"quantity_not_positive": 1})
    return line


@pytest.mark.usefixtures("waiting")
def test_a_corrected_file_resolves_the_row(installation: Installation, folder: Path) -> None:
    write(folder, 1)
    assert ingest(folder)["accepted"] == 1
    assert ledger.quarantined(installation.engine) == []


@pytest.fixture
def three(installation: Installation, folder: Path) -> Path:
    """A file of which three rows wait: an unreadable amount, an unreadable time and an unknown item."""
    ingest_items.fn(str(folder / "shop.toml"), str(folder / "items.csv"))
    (folder / "shop.toml").write_text(_WITHOUT_IDS)
    lines = (folder / "orders.csv").read_text().replace(",0\n", ",1\n").splitlines()
    (folder / "corrected.csv").write_text("\n".join(lines) + "\n")
    lines[3] = lines[3][:-1] + "one"
    lines[8] = lines[8].replace("2024-06-08T10:00:00Z", "on Monday")
    lines[20] = lines[20].replace(",cup,", ",cupp,")
    (folder / "orders.csv").write_text("\n".join(lines) + "\n")
    assert ingest(folder)["quarantined"] == 3
    assert waiting_rows(installation) == 3
    return folder


def waiting_rows(installation: Installation) -> int:
    return sum(row["rows"] for row in ledger.quarantined(installation.engine))


def bring(folder: Path, name: str) -> dict[str, Any]:
    line: dict[str, Any] = ingest_events.fn(str(folder / "shop.toml"), str(folder / name))
    return line


@pytest.mark.parametrize("again", [False, True])
def test_a_corrected_file_under_the_name_of_the_first_one_resolves_its_rows_whenever_it_gets_the_name(
    installation: Installation, three: Path, again: bool
) -> None:
    corrected = bring(three, "corrected.csv")
    assert corrected["accepted"] == 3
    if again:
        undo_batches.fn([corrected["batch_id"]], None, "ann", "a test")
        assert waiting_rows(installation) == 3
    (three / "moved").mkdir()
    (three / "corrected.csv").rename(three / "moved" / "orders.csv")
    assert bring(three, "moved/orders.csv")["status"] == ("committed" if again else "unchanged")
    assert waiting_rows(installation) == 0


def test_the_faulty_file_that_comes_again_resolves_nothing(installation: Installation, three: Path) -> None:
    shutil.copy(three / "orders.csv", three / "other.csv")
    lines = (three / "corrected.csv").read_text().splitlines()
    lines[50] = lines[50].replace("2024-", "in 2024-")
    (three / "orders.csv").write_text("\n".join(lines) + "\n")
    bring(three, "orders.csv")
    assert waiting_rows(installation) == 1
    (three / "again").mkdir()
    (three / "other.csv").rename(three / "again" / "orders.csv")
    assert bring(three, "again/orders.csv")["status"] == "unchanged"
    assert waiting_rows(installation) == 1


def test_the_row_waits_again_after_the_corrected_file_is_undone(
    installation: Installation, folder: Path, waiting: dict[str, Any]
) -> None:
    write(folder, 1)
    corrected = ingest(folder)
    undo_batches.fn([corrected["batch_id"]], None, "ann", "a test")
    [row] = ledger.quarantined(installation.engine)
    assert (row["batch_id"], row["rows"]) == (waiting["batch_id"], 1)


def test_a_rule_that_no_row_of_the_batch_broke_is_refused_with_the_nearest_one(
    installation: Installation, waiting: dict[str, Any]
) -> None:
    batch = waiting["batch_id"]
    [rule] = ledger.batch(installation.engine, batch)["rules"]
    with pytest.raises(TailorbirdError, match=f"the nearest rule that rows broke is '{rule}'"):
        ledger.require_rule(installation.engine, batch, rule[:-1])
    dismiss(installation.engine, batch, "ann", "a test order", rule=rule)
    ledger.require_rule(installation.engine, batch, rule)


def test_a_dismissed_row_waits_no_more_and_the_reason_is_kept(
    installation: Installation, waiting: dict[str, Any]
) -> None:
    batch = waiting["batch_id"]
    with pytest.raises(TailorbirdError, match="--reason"):
        dismiss(installation.engine, batch, "ann", " ")
    assert dismiss(installation.engine, batch, "ann", "a test order", rule="no_such_rule")["dismissed"] == 0
    done = dismiss(installation.engine, batch, "ann", "a test order")
    assert done == {"batch_id": batch, "dismissed": 1, "waiting": 0}
    assert ledger.quarantined(installation.engine) == []
    with installation.engine.connect() as connection:
        [entry] = connection.execute(text("SELECT action, subject, actor, reason FROM audit_log")).all()
    assert tuple(entry) == ("dismiss", batch, "ann", "a test order")


@pytest.mark.parametrize("grown", [False, True])
def test_a_dismissed_row_stays_dismissed_under_another_mapping_and_in_a_longer_file(
    grown: bool, installation: Installation, folder: Path, waiting: dict[str, Any]
) -> None:
    dismiss(installation.engine, waiting["batch_id"], "ann", "a test order", rows=[3])
    write(folder, 0, 'quantity = { expr = "if(number(amount) = 0, -1, number(amount))" }')
    if grown:
        with (folder / "orders.csv").open("a") as file:
            file.write("o900,user9,cup,purchase,2024-06-03T10:00:00Z,1\n")
    again = ingest(folder)
    assert again["batch_id"] != waiting["batch_id"]
    waiting_rows = ledger.quarantined_rows(installation.engine, again["batch_id"], None, 500)
    assert "o2" not in {row["payload"]["event_id"] for row in waiting_rows}


def test_a_dismissed_row_waits_again_if_it_breaks_another_rule(
    installation: Installation, folder: Path, waiting: dict[str, Any]
) -> None:
    dismiss(installation.engine, waiting["batch_id"], "ann", "a test order")
    rating = """case when number(amount) = 0 then 9999 when starts_with(\\"user\\", 'user39') then 1 end"""
    write(folder, 0, f'quantity = "amount"\nrating = {{ expr = "{rating}" }}')
    again = ingest(folder)
    rows = ledger.quarantined_rows(installation.engine, again["batch_id"], "rating_beyond_limit", 500)
    assert [(row["row_number"], row["payload"]["event_id"], row["payload"]["line"]) for row in rows] == [(3, "o2", 4)]


def test_rows_of_items_are_replayed_from_their_file(installation: Installation, folder: Path) -> None:
    mapping, more = folder / "shop.toml", "".join(f"item{n},Item {n}\n" for n in range(400))
    (folder / "items.csv").write_text(f"item,title\n{more},Lid\n")
    line = ingest_items.fn(str(mapping), str(folder / "items.csv"))
    assert line["quarantined"] == 1
    assert replay_quarantine.fn(line["batch_id"])["status"] == "unchanged"
    mapping.write_text(
        mapping.read_text().replace('item_id = "item"\ntitle', 'item_id = { expr = "lower(title)" }\ntitle')
    )
    again = replay_quarantine.fn(line["batch_id"])
    assert (again["quarantined"], again["routed"]) == (0, 401)
    assert ledger.quarantined(installation.engine) == []


def test_a_replay_that_moves_nothing_reports_it_with_the_likely_reason(
    installation: Installation, waiting: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(running, "flow", lambda _: replay_quarantine.fn)  # no Prefect server runs here
    monkeypatch.setattr(running, "database", lambda _: installation.engine)
    ingestion.quarantine_replay(waiting["batch_id"])

    shown = " ".join(capsys.readouterr().out.split())
    assert "0 of 1 rows moved." in shown
    assert "break the same rules under the mapping as it is now" in shown
    assert "for another item_id or event_id" in shown
    assert "accepted" not in shown, "the batch's old totals are no result of the replay"
