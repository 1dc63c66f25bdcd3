"""What customers usually pay for an item, beside the catalogue's price."""

from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from sqlalchemy import insert

from infra.database.schema.schema import items
from infra.installation import Installation
from tasks.datasets.prices_paid import store_prices_paid
from tasks.ingest.events.ingest_events import ingest_events
from tasks.lake.event_engine import event_engine
from tests.tasks.ingest.stored import lake, rows

MAPPING = """
consent = "given"
consent_note = "by the terms of the shop"

[events]
file = "orders*.csv"
user_id = "user"
item_id = "item"
occurred_at = "at"
value = "total"
quantity = "pieces"
currency = "currency"
constants = { event_type = "purchase" }
"""


def paid(here: Installation) -> dict[str, tuple[float | None, str | None]]:
    """Return price and currency by item."""
    return {row["item_id"]: (row["price_paid"], row["currency_paid"]) for row in rows(here, items)}


def test_a_data_set_stores_the_median_price_of_a_piece_of_each_item(stage: Any) -> None:
    pieces = defaultdict(list)
    for line in lake(stage.here):
        if line["quantity"] > 0 and line["value"] > 0:
            pieces[line["item_id"]].append(line["value"] / line["quantity"])
    found = {item: price for item, (price, currency) in paid(stage.here).items() if currency == "USD"}
    assert found
    assert found == {item: pytest.approx(median(pieces[item]), abs=1e-4) for item in found}


def test_the_most_frequent_currency_counts_and_the_price_ends_with_the_purchases(
    installation: Installation, tmp_path: Path
) -> None:
    (tmp_path / "shop.toml").write_text(MAPPING)
    lines = [
        "a,tea,2026-01-01,9,3,EUR",
        "b,tea,2026-01-02,4,1,EUR",
        "c,tea,2026-01-03,900,1,JPY",
    ]
    (tmp_path / "orders.csv").write_text("\n".join(["user,item,at,total,pieces,currency", *lines]) + "\n")
    ingest_events.fn(str(tmp_path / "shop.toml"), str(tmp_path / "orders.csv"))
    with installation.engine.begin() as connection:
        known = {"item_id": "mug", "attributes": {}, "available": True, "batch_id": "b"}
        connection.execute(insert(items).values(**known, price_paid=7, currency_paid="EUR"))
    with event_engine(installation) as engine:
        assert engine is not None
        store_prices_paid(installation, engine.connection, engine.files)
    assert paid(installation) == {"tea": (3.5, "EUR"), "mug": (None, None)}
