"""Stock, dates of sale, page, picture and currency come in with a catalogue, and decide what is recommended now."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from infra.database.schema.schema import items
from infra.installation import Installation
from models.lists.rules.placement_config import Placement
from tasks.ingest.reference.ingest_reference import ingest_items
from tasks.scoring import batch_work
from tasks.scoring.batch_work import catalogue_of, titles_not_for_sale

MAPPING = """consent = "given"
consent_note = "a test"
[items]
file = "*"
separator = ";"
item_id = "sku"
title = "name"
category = "path"
category_separator = ">"
price = "price"
currency = "money"
available = "stock"
available_words = { lieferbar = true, ausverkauft = false }
available_from = "release"
available_until = "end"
time_format = "%d.%m.%Y"
zone = "Europe/Berlin"
url = "page"
image = "picture"
"""
HEAD = "sku;name;path;price;money;stock;release;end;page;picture\n"
ROWS = """a;Tea;Food > Hot  > Tea;1.5;€;In_Stock;01.02.2024;31.12.2998;https://shop/a;/a.png
b;Ice;> Food >;2;USD;0;;;;
c;Jug;;;EUR;;;31.12.2020;;
d;Cup;;;;lieferbar;01.01.2999;;;
e;Pot;;;;https://schema.org/OutOfStock;;;;
f;Pan;;;;3;;;;
g;Lid;;;;ausverkauft;;;;
"""


@pytest.fixture
def ingest(installation: Installation, tmp_path: Path) -> Any:  # noqa: ARG001 - it has to be there
    def run(rows: str = ROWS, mapping: str = MAPPING) -> dict[str, Any]:
        (tmp_path / "shop.toml").write_text(mapping)
        (tmp_path / "items.csv").write_text(HEAD + rows)
        return ingest_items.fn(str(tmp_path / "shop.toml"), str(tmp_path / "items.csv"))

    return run


def stored(here: Installation) -> dict[str, Any]:
    with here.engine.connect() as connection:
        return {row["item_id"]: dict(row) for row in connection.execute(select(items)).mappings()}


def test_a_catalogue_states_offers(installation: Installation, ingest: Any) -> None:
    entry = ingest()
    result = stored(installation)

    assert (entry["quarantined"], len(result)) == (0, 7)
    tea = result["a"]
    assert (tea["category"], tea["currency"], tea["url"], tea["image"]) == (
        *("Food|Hot|Tea", "EUR", "https://shop/a", "/a.png"),
    )
    assert tea["available_from"] == datetime(2024, 1, 31, 23, tzinfo=UTC)
    assert result["c"]["available_until"] == datetime(2020, 12, 31, 23, tzinfo=UTC), "the last day is included"
    assert result["b"]["category"] == "Food"
    in_stock = {item: row["in_stock"] for item, row in result.items()}
    assert [in_stock[item] for item in "abcdefg"] == [True, False, None, True, False, True, False]
    assert all(row["available"] for row in result.values()), "what is sold out is merchandise: its events count"


def test_only_what_can_be_bought_now_is_recommended(
    installation: Installation, ingest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest()
    monkeypatch.setattr(batch_work, "fully_refunded", lambda _here, names, *_: np.zeros(len(names), dtype=bool))
    known = np.array(list("abcdefg"), dtype=np.str_)

    attributes = catalogue_of(installation, known, Placement())
    assert known[attributes.available].tolist() == ["a", "f"]
    assert (attributes.category[0], attributes.price[:2].tolist()) == ("Food|Hot|Tea", [1.5, 2])
    assert sorted(titles_not_for_sale(installation)) == ["Cup", "Ice", "Jug", "Lid", "Pot"]


def test_a_catalogue_without_stock_leaves_it(installation: Installation, ingest: Any) -> None:
    ingest()
    unscored = "\n".join(line for line in MAPPING.splitlines() if not line.startswith(("available", "url")))
    ingest(ROWS.replace("Ice", "Cream"), unscored)
    result = stored(installation)

    assert (result["b"]["title"], result["b"]["in_stock"], result["a"]["url"]) == ("Cream", False, "https://shop/a")
