"""A wholesale export: one table of order lines, from which events, items and users are read."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from infra.database.schema.schema import item_appearances, items, quarantine, users
from infra.installation import Installation
from serving.terminal import screen
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.quarantine.replay_rows import replay_quarantine
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users
from tasks.ingest.undo.undo_batches import undo_batches
from tasks.lake.find_non_goods import find_suspects
from tasks.sources.file_matching import files_of
from tasks.sources.mapping_files import table_mapping
from tests.tasks.ingest.stored import counted, lake

MAPPING = """
consent = "given"
consent_note = "a test"
limits.highest_quantity = 100_000

[events]
file = "*.parquet"
where = "CustomerID is not null and not matches(StockCode, '^[A-Z]+$')"
event_id = ["InvoiceNo", "StockCode", "Quantity"]
session_id = "InvoiceNo"
user_id = { expr = "replace(CustomerID, '.0', '')" }
item_id = { expr = "upper(StockCode)" }
occurred_at = "InvoiceDate"
event_type = { expr = "if(starts_with(InvoiceNo, 'C') or Quantity < 0, 'refund', 'purchase')" }
quantity = { expr = "abs(Quantity)" }
value = { expr = "abs(Quantity) * UnitPrice" }
constants = { currency = "GBP" }

[items]
file = "*.parquet"
where = "UnitPrice > 0"
item_id = { expr = "upper(StockCode)" }
title = { expr = "trim(Description)" }
price = "UnitPrice"
fill = { category = "Goods" }

[users]
file = "*.parquet"
where = "CustomerID is not null"
user_id = { expr = "replace(CustomerID, '.0', '')" }
attributes = ["Country"]
"""
NAMES = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
ROWS = [
    ("536365", "85123A", "WHITE HOLDER", "6", "2010-12-01 08:26:00", "2.55", "17850.0", "United Kingdom"),
    ("536365", "85123a", " WHITE HOLDER ", "2", "2010-12-01 08:26:00", "2.55", "17850.0", "United Kingdom"),
    ("536366", "22423", "CAKESTAND", "80995", "2010-12-01 09:00:00", "1.04", "12346.0", "France"),
    ("C536379", "85123A", "WHITE HOLDER", "-6", "2010-12-02 08:26:00", "2.55", "17850.0", "United Kingdom"),
    ("536380", "POST", "POSTAGE", "1", "2010-12-02 09:00:00", "18.00", "12346.0", "France"),
    ("536381", "22423", "damaged", "-30", "2010-12-02 10:00:00", "0", None, "United Kingdom"),
    ("536382", "22423", "CAKESTAND", "some", "2010-12-02 11:00:00", "1.04", "12346.0", "France"),
    *(
        (f"5364{n:02}", "22423", "CAKESTAND", "1", f"2010-12-03 10:{n:02}:00", "1.04", "12346.0", "France")
        for n in range(20)
    ),
]


@pytest.fixture
def export(tmp_path: Path) -> Path:
    (tmp_path / "shop.toml").write_text(MAPPING, encoding="utf-8")
    columns = dict(zip(NAMES, map(list, zip(*ROWS, strict=True)), strict=True))
    pq.write_table(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), tmp_path / "e")
    (tmp_path / "e").rename(tmp_path / "online.parquet")
    return tmp_path


STEPS = {"items": ingest_items.fn, "users": ingest_users.fn, "events": ingest_events.fn}


def ingested(folder: Path) -> dict[str, dict[str, int]]:
    """Return the counts of each part, all read from one file that is given by its path."""
    mapping, actual = str(folder / "shop.toml"), {}
    for part, [file] in files_of(table_mapping(mapping, None), [str(folder / "online.parquet")]).items():
        entry = STEPS[part](mapping, file, None)
        actual[part] = counted(entry)
    return actual


def test_events_items_and_users_are_read_from_one_table_of_texts(installation: Installation, export: Path) -> None:
    assert ingested(export) == {
        "items": {"read": 27, "routed": 4, "duplicate": 23},
        "users": {"read": 27, "routed": 3, "duplicate": 24},
        "events": {"read": 27, "accepted": 24, "quarantined": 1, "routed": 2},  # a quantity of "some"
    }
    events = lake(installation)
    remaining = [(row["item_id"], row["event_type"], row["quantity"], row["value"]) for row in events]
    assert ("85123A", "purchase", 2.0, pytest.approx(5.1)) in remaining
    assert ("22423", "purchase", 80995.0, pytest.approx(84234.8)) in remaining, "the mapping allows as many pieces"
    assert ("85123A", "refund", 6.0, pytest.approx(15.3)) in remaining
    assert (None, None) not in [entry[2:] for entry in remaining], "a quantity that is no number waits in quarantine"
    with installation.engine.connect() as connection:
        titles = {row.item_id: row.title for row in connection.execute(select(items))}
        countries = [row.attributes["Country"] for row in connection.execute(select(users))]
    assert titles == {"85123A": "WHITE HOLDER", "22423": "CAKESTAND", "POST": "POSTAGE"}
    assert sorted(countries) == ["France", "United Kingdom"]


def test_an_item_appears_with_the_first_file_that_names_it(
    installation: Installation, export: Path, tmp_path: Path
) -> None:
    def appearances() -> dict[str, Any]:
        with installation.engine.connect() as connection:
            return {row.item_id: row.first_seen_at for row in connection.execute(select(item_appearances))}

    ingested(export)
    first = appearances()
    assert first.keys() == {"85123A", "22423", "POST"}
    more = ("536390", "90000", "NEW LAMP", "1", "2010-12-05 09:00:00", "4.00", "12346.0", "France")
    later = tmp_path / "later.parquet"
    pq.write_table(pa.table(dict(zip(NAMES, map(list, zip(*ROWS, more, strict=True)), strict=True))), later)
    entry = ingest_items.fn(str(tmp_path / "shop.toml"), str(later))
    undo_batches.fn((entry["batch_id"],), None, "ann", "a test")
    ingest_items.fn(str(tmp_path / "shop.toml"), str(later))
    both = appearances()
    assert {item: both[item] for item in first} == first
    assert both["90000"] > max(first.values())


def test_an_item_that_looks_like_no_goods_is_pointed_out_until_the_mapping_marks_it(
    installation: Installation, export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mapping = str(export / "shop.toml")
    [*_, file] = files_of(table_mapping(mapping, None), [str(export / "online.parquet")])["items"]
    entry = ingest_items.fn(mapping, file, None)
    [actual] = find_suspects.fn(mapping, [entry])
    assert [(row["item_id"], row["why"]) for row in actual["suspects"]] == [("POST", "its title has the word postage")]
    screen.show("ledger", [actual])
    shown = capsys.readouterr().out
    assert "1 items may be no goods" in shown
    assert actual["suspects_mark"] in shown
    marked = MAPPING.replace("title = {", f"{actual['suspects_mark']}\ntitle = {{")
    (export / "shop.toml").write_text(marked, encoding="utf-8")
    entry = ingest_items.fn(mapping, file, None)
    assert find_suspects.fn(mapping, [entry]) == [entry]
    with installation.engine.connect() as connection:
        available = {row.item_id: row.available for row in connection.execute(select(items))}
    assert available == {"85123A": True, "22423": True, "POST": False}


def test_a_replay_takes_rows_in_that_a_raised_limit_lets_pass(installation: Installation, export: Path) -> None:
    allowed = "limits.highest_quantity = 100_000"
    (export / "shop.toml").write_text(MAPPING.replace(allowed, ""), encoding="utf-8")
    assert ingested(export)["events"] == {"read": 27, "accepted": 23, "quarantined": 2, "routed": 2}
    (export / "shop.toml").write_text(MAPPING, encoding="utf-8")
    again = ingested(export)["events"]
    assert again["quarantined"] == 2, "limits change nothing of what the file means"
    with installation.engine.connect() as connection:
        [batch] = connection.execute(select(quarantine.c.batch_id).distinct()).scalars()
    assert replay_quarantine.fn(batch)["accepted"] == 24
    assert max(row["quantity"] or 0 for row in lake(installation)) == 80_995


def test_a_table_of_which_a_part_reads_no_row_is_counted_and_adds_up(installation: Installation, export: Path) -> None:
    empty = MAPPING.replace('where = "UnitPrice > 0"', "where = \"Country = 'Nowhere'\"")
    empty = empty.replace('where = "CustomerID is not null', "where = \"Country = 'Nowhere'")
    (export / "shop.toml").write_text(empty, encoding="utf-8")
    assert ingested(export) == {part: {"read": 27, "routed": 27} for part in ("items", "users", "events")}
    assert lake(installation) == []
