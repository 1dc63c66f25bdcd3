"""Every published reason is recounted from raw rows, on a shop with categories and on one without."""

import csv
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from infra.database.schema.schema import items
from infra.installation import Installation
from serving.queries.explain import explain
from serving.queries.user_recommendations import user_list
from tasks.datasets.build_dataset import build_dataset, split_by
from tasks.ingest.events.ingest_events import ingest_events, ingest_segment
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users
from tasks.scoring.score_placement import score_placement
from tests.conftest import FUEL, UNKNOWN
from tests.recount import Bought, Facts, Place, recounted
from tests.tasks.ingest.events.test_ingest_segment import viewed, write
from tests.tasks.shelves import Place as Placements
from tests.tasks.stages import Stage

KINDS = ("most_popular", "own_and_popular", "als", "item_knn", "two_stage")
"""Models between them have every way to a reason; the contract of the catalogue holds all of them to its kinds."""
OF_USERS = text("SELECT user_id, item_id, reason FROM recommendations_by_user_id WHERE placement = ANY (:names)")
OF_ITEMS = text("SELECT for_item_id, item_id, reason FROM current_item_recommendations WHERE placement = ANY (:names)")


def places(installation: Installation, names: Sequence[str]) -> list[Place]:
    """All that readers see at some placements, by the users' own ids."""
    with installation.engine.connect() as connection:
        of_users = connection.execute(OF_USERS, {"names": list(names)})
        of_items = connection.execute(OF_ITEMS, {"names": list(names)})
        found = [Place(user, "", item, reason) for user, item, reason in of_users]
        return found + [Place("", own, item, reason) for own, item, reason in of_items]


def facts_of_the_journey(stage: Stage) -> Facts:
    """The rows that the ledger accepts: of repeats the first, without what breaks a rule and without fuel."""
    bought: dict[tuple[int, int], Bought] = {}
    for row in stage.shop.transactions.to_pylist():
        sound = row["quantity"] and 0 < row["quantity"] <= 1000 and row["sales_value"] > 0 and row["household_id"]
        if sound and row["product_id"] not in (None, FUEL, UNKNOWN):
            at = row["transaction_timestamp"].replace(tzinfo=UTC)
            line = Bought(str(row["household_id"]), str(row["product_id"]), str(row["basket_id"]), at)
            bought.setdefault((row["basket_id"], row["product_id"]), line)
    rows = {str(row["product_id"]): row for row in stage.shop.products.to_pylist()}
    levels = {item: [row[name] for name in ("department", "product_category")] for item, row in rows.items()}
    paths = {item: "|".join(filter(None, found)) or None for item, found in levels.items()}
    titles = {
        item: ", ".join(filter(None, (row["product_type"], row["package_size"]))).capitalize() or f"Item {item}"
        for item, row in rows.items()
    }
    return Facts.of(bought.values(), datetime.fromtimestamp(stage.manifest["as_of"], UTC), titles, paths)


def published_kinds(stage: Stage, facts: Facts, kinds: Sequence[str], names: Sequence[str]) -> Counter[str]:
    """Promote each kind of model in turn; every reason it publishes has to hold."""
    found: Counter[str] = Counter()
    for version, kind in enumerate(kinds, 1):
        stage.promote(kind, version)
        for name in names:
            score_placement.fn(name)
        seen, false = recounted(places(stage.here, names), facts)
        assert not false, (kind, false[:5])
        found += seen
    return found


def test_every_reason_holds_in_the_raw_rows_of_a_shop_with_categories(stage: Stage) -> None:
    facts = facts_of_the_journey(stage)
    found = published_kinds(stage, facts, KINDS, ["home"])
    for name in ("similar-items", "goes-well-with"):
        score_placement.fn(name)
    seen, false = recounted(places(stage.here, ["similar-items", "goes-well-with"]), facts)
    assert not false, false[:5]
    assert {"bought once", "bought", "bought_from", "bought_item", "together", "same_category"} <= {*found, *seen}


def test_every_reason_of_a_newcomers_clicks_holds(stage: Stage, tmp_path: Path) -> None:
    clicked = ("500006", "500007", "500013")
    calls = [viewed(number, item) for number, item in enumerate([*clicked, clicked[0]])]
    ingest_segment.fn("segment", write(tmp_path / "clicks", *calls))
    facts = replace(facts_of_the_journey(stage), viewed=frozenset(("ann", item) for item in clicked))
    found = published_kinds(stage, facts, ["als", "item_knn", "lightfm_hybrid"], ["home"])
    assert {"looked", "looked_item", "looked_in"} <= set(found)


MAPPING = """
consent = "given"
consent_note = "a test"

[events]
file = "invoices.csv"
event_id = ["invoice", "item", "kind"]
user_id = "customer"
item_id = "item"
session_id = "invoice"
occurred_at = "at"
event_type = "kind"
event_types = { sale = "purchase", cancelled = "refund" }
quantity = "pieces"
value = "total"

[items]
file = "items.csv"
item_id = "item"
title = "description"
price = "price"

[users]
file = "customers.csv"
user_id = "customer"
attributes = []
"""
COLOURS, PRODUCTS = ("Red", "Blue", "Green", "Pink", "White", "Black"), ("mug", "lamp", "bag", "sign", "clock", "tray")
START = datetime(2024, 1, 1, 9, tzinfo=UTC)
DAYS = 240


class Wholesale:
    """A shop without categories that cancels every eighth line; some baskets are three invoices within minutes."""

    def __init__(self, folder: Path, seed: int) -> None:
        draw = random.Random(seed)  # noqa: S311
        goods = {f"{at:05}": f"{colour} {product}" for at, (colour, product) in enumerate(_pairs())}
        self.titles, self.rows, number = goods, [], 0
        for customer in range(60):
            usual = draw.sample(sorted(goods), 8)
            gap = draw.choice((7, 20, 60))
            for day in range(draw.randrange(gap), DAYS, gap):
                for minute in range(draw.choice((1, 1, 1, 3))):
                    number += 1
                    at = START + timedelta(days=day, minutes=minute, hours=draw.randrange(8))
                    for item in draw.sample(usual, 4):
                        self.rows.append([str(number), item, "sale", f"c{customer}", at, 2, 9.5])
        for row in list(self.rows)[::8]:
            later = row[4] + timedelta(days=draw.randrange(1, 9))
            self.rows.append([row[0], row[1], "cancelled", row[3], later, 2, 9.5])
        self._write(folder, draw)

    def _write(self, folder: Path, draw: random.Random) -> None:
        customers = sorted({row[3] for row in self.rows})
        tables = {
            "invoices": (["invoice", "item", "kind", "customer", "at", "pieces", "total"], self.rows),
            "items": (["item", "description", "price"], [[i, t, draw.choice((2, 5))] for i, t in self.titles.items()]),
            "customers": (["customer"], [[customer] for customer in customers]),
        }
        for name, (header, rows) in tables.items():
            with (folder / f"{name}.csv").open("w", newline="") as file:
                csv.writer(file).writerows([header, *rows])
        (folder / "wholesale.toml").write_text(MAPPING)

    def facts(self, cut: datetime) -> Facts:
        cancelled = {(row[0], row[1]) for row in self.rows if row[2] == "cancelled" and row[4] < cut}
        sales = [row for row in self.rows if row[2] == "sale" and (row[0], row[1]) not in cancelled]
        lines = [Bought(customer, item, invoice, at) for invoice, item, _, customer, at, *_ in sales]
        return Facts.of(lines, cut, self.titles, {})


def _pairs() -> list[tuple[str, str]]:
    return [(colour, product) for colour in COLOURS for product in PRODUCTS]


@pytest.fixture
def wholesale(installation: Installation, tmp_path: Path, place: Placements) -> tuple[Stage, Facts]:
    shop = Wholesale(tmp_path, seed=5)
    mapping = str(tmp_path / "wholesale.toml")
    for ingest, name in ((ingest_items, "items"), (ingest_users, "customers"), (ingest_events, "invoices")):
        entry = ingest.fn(mapping, str(tmp_path / f"{name}.csv"))
        assert entry["quarantined"] == 0
    manifest = build_dataset.fn(split_by(validation_days=30, test_days=30))
    place(
        '[home]\nk = 12\n[email]\nk = 8\npolicy = "discover"\nrules.cap = { category = 2 }\n'
        '[alike]\nsubject = "item"\nmethod = "similarity"\nk = 6\n'
        '[pairs]\nsubject = "item"\nmethod = "co_purchase"\nk = 6\n'
    )
    return Stage(installation, shop, manifest), shop.facts(datetime.fromtimestamp(manifest["as_of"], UTC))


def test_without_categories_lists_are_full_and_every_reason_holds_in_the_raw_rows(
    wholesale: tuple[Stage, Facts],
) -> None:
    stage, facts = wholesale
    found = published_kinds(stage, facts, ["own_frequency", "als", "two_stage"], ["home", "email", "alike", "pairs"])
    assert {"bought once", "bought", "habit", "bought_item", "popular", "together", "same_words"} <= set(found)
    assert not {"bought_from", "same_category"} & set(found)
    with stage.here.engine.connect() as connection:
        assert set(connection.execute(select(items.c.category)).scalars()) == {None}
    rows = user_list(stage.here.engine, "c0", "email")
    assert len(rows) == 8  # a cap of two of a category does not cut the list
    first: dict[str, Any] = rows[0]
    explanation = explain(stage.here.engine, "c0", first["item_id"], "email")
    assert (explanation["rank"], explanation["reason"]) == (1, first["reason"])
    assert recounted([Place("c0", "", first["item_id"], first["reason"])], facts)[1] == []
    assert explanation["contributions"]
    assert all(value == value for value in explanation["contributions"].values())
