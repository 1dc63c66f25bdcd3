"""A cut sees only data known before it: a random shop is built with and without all later data."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select

from infra.database.schema.schema import identities
from infra.installation import Installation, current
from models.datasets.dataset import Dataset
from models.features.tables.registry import TABLES
from tasks.datasets.build_dataset import build_dataset, split_by
from tasks.datasets.load_dataset import open_dataset
from tasks.ingest.events.ingest_events import ingest_segment
from tasks.ingest.reference.ingest_reference import ingest_items

START = datetime(2024, 6, 1, tzinfo=UTC)
CUT = datetime(2024, 6, 20, tzinfo=UTC)
SPLIT = split_by(validation_from=CUT.date(), test_from=date(2024, 6, 24), as_of=date(2024, 6, 29))
ITEMS = 14
"""Four of them are sold from the cut on only."""
EARLIER = int((CUT - timedelta(days=7)).timestamp())
"""A moment before the cuts, as a ranker learns from."""
CATALOGUE = """
consent = "given"
consent_note = "a test"
[items]
file = "items*"
item_id = "id"
title = "name"
category = ["kind"]
brand = "maker"
price = "price"
"""
DATED = CATALOGUE + 'updated_at = "Stand"\nchoose = { title = "latest", price = "latest" }\n'
"""Of a table with several rows an item, each with its time."""
KEYS = {name: table.keys for name, table in TABLES.items()} | {"sequences": ("user_key", "position")}
Call = dict[str, Any]


def calls(seed: int, count: int = 500) -> list[Call]:
    """Views, carts, orders, refunds and traits within four weeks; some come in up to twelve days late."""
    random = np.random.default_rng(seed)
    made, orders = [], []
    for number, second in enumerate(np.sort(random.integers(0, 28 * 86_400, count)).tolist()):
        at = START + timedelta(seconds=second)
        late = timedelta(seconds=int(random.integers(1, 12 * 86_400))) if random.random() < 0.15 else timedelta()
        user, kind = f"u{random.integers(8)}", random.choice(["view", "cart", "order", "refund", "traits"], p=P)
        call = {"type": "track", "messageId": f"{seed}-{number}", "userId": user, "timestamp": at.isoformat()}
        call |= {"context": {"consent": {"categoryPreferences": {"Personalization": True}}}}
        call |= {"receivedAt": (at + late).isoformat()}
        if kind == "traits":
            traits = {name: str(random.choice(["a", "b", "c"])) for name in ("plan", "country")}
            call |= {"type": "identify", "traits": traits, "receivedAt": at.isoformat()}
        elif kind == "order":
            orders.append((user, f"o{number}", [block(random, at) for _ in range(random.integers(1, 4))]))
            call |= {"event": "Order Completed", "properties": {"order_id": orders[-1][1], "products": orders[-1][2]}}
        elif kind == "refund":
            call |= {"event": "Order Refunded", "properties": refund(random, user, orders)}
        else:
            event = {"view": "Product Viewed", "cart": "Product Added"}[kind]
            call |= {"event": event, "properties": block(random, at)}
        made.append(call)
    return made


P = [0.3, 0.1, 0.35, 0.15, 0.1]


def block(random: Any, at: datetime) -> dict[str, Any]:
    """Return one product. Calls differ in the fields they give, and values change."""
    item = int(random.integers(10 if at < CUT else ITEMS))
    found = {"product_id": f"i{item}", "name": f"Item {item} {random.choice(['new', 'old'])}"}
    maybe = {"category": f"{random.choice(['x', 'y'])}/{item % 3}", "price": float(random.integers(1, 5))}
    return found | {name: value for name, value in (maybe | {"quantity": 2}).items() if random.random() < 0.6}


def refund(random: Any, user: str, orders: list[tuple[str, str, list[Any]]]) -> dict[str, Any]:
    """Of a whole order, of a piece of it, or of something that was bought some time."""
    own_orders = [one for one in orders if one[0] == user]
    if own_orders and random.random() < 0.6:
        _, order, products = own_orders[int(random.integers(len(own_orders)))]
        whole = random.random() < 0.3
        return {"order_id": order} | ({} if whole else {"products": [{"product_id": products[0]["product_id"]}]})
    return {"products": [{"product_id": f"i{random.integers(10)}", "quantity": int(random.integers(1, 4))}]}


def lines(seed: int) -> list[dict[str, Any]]:
    """Rows of a catalogue whose values change, in order of time; the first of each item come before the cut."""
    random = np.random.default_rng(seed)
    later = np.sort(random.integers(0, 28 * 86_400, 200)).tolist()
    found = []
    for number, second in enumerate([0] * ITEMS + later):
        item = number if number < ITEMS else int(random.integers(ITEMS))
        row = {"id": f"i{item}", "name": f"Line {random.integers(3)}", "kind": str(random.choice(["x", "y", "z"]))}
        row |= {"maker": str(random.choice(["m", "n"])), "price": float(random.integers(1, 9))}
        found.append(row | {"Stand": (START + timedelta(seconds=second)).isoformat()})
    return found


def known_before_the_cut(call: Call) -> bool:
    return max(call["timestamp"], call["receivedAt"]) < CUT.isoformat()


def build(
    folder: Path, history: list[Call], dated: list[dict[str, Any]], *makers: str
) -> tuple[Dataset, dict[str, str]]:
    """The data set of these calls and catalogues, and the users behind their keys."""
    path = folder / "calls.jsonl"
    path.write_text("".join(json.dumps(call) + "\n" for call in history))
    ingest_segment.fn("segment", str(path))
    (folder / "shop.toml").write_text(CATALOGUE)
    for number, maker in enumerate(makers):
        ids = [f"i{item}" for item in range(ITEMS)]
        rows = {"id": ids, "name": ids, "kind": [maker] * ITEMS, "maker": [f"{maker} {item[-1:]}" for item in ids]}
        rows |= {"price": [float(item + number) for item in range(ITEMS)]}
        pq.write_table(pa.table(rows), folder / f"items-{number}.parquet")
        ingest_items.fn(str(folder / "shop.toml"), str(folder / f"items-{number}.parquet"))
    if dated:
        (folder / "dated.toml").write_text(DATED)
        pq.write_table(pa.Table.from_pylist(dated), folder / "items-dated.parquet")
        ingest_items.fn(str(folder / "dated.toml"), str(folder / "items-dated.parquet"))
    version = build_dataset.fn(SPLIT)["version"]
    with current().engine.connect() as connection:
        people = {row.user_key: row.user_id for row in connection.execute(select(identities))}
    return open_dataset(version), people


@pytest.fixture
def elsewhere(other_database: str, installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Turns to another installation, which knows nothing yet."""

    def turn() -> None:
        monkeypatch.setenv("TAILORBIRD_DATABASE_URL", other_database)
        monkeypatch.setenv("TAILORBIRD_VAR", str(tmp_path / "other"))
        current.cache_clear()
        open_dataset.cache_clear()

    assert installation.settings.var != tmp_path / "other"
    return turn


def by_name(rows: pa.Table, keys: tuple[str, ...], people: dict[str, str]) -> dict[Any, dict[str, Any]]:
    """The rows by their keys, with users by their own ids."""
    with_names = [
        {**row, "user_key": people[row["user_key"]]} if "user_key" in row else row for row in rows.to_pylist()
    ]
    return {tuple(row.pop(key) for key in keys): row for row in with_names}


def tables(dataset: Dataset, people: dict[str, str]) -> dict[str, Any]:
    """The feature tables of the cut."""
    cut = dataset.cuts.validation_from
    return {name: by_name(dataset.stored(name, cut), keys, people) for name, keys in KEYS.items()}


def learned(dataset: Dataset, people: dict[str, str], cut: int) -> dict[str, Any]:
    """Return the training data at a moment, and the targets between the earlier moment and it."""
    data = dataset.training_data(cut)
    users = [people[key] for key in data.users.tolist()]
    items = data.items.tolist()
    moments = zip(data.user.tolist(), data.item.tolist(), data.occurred_at.tolist(), strict=True)
    baskets: dict[int, set[Any]] = {}
    for basket, row in zip(data.basket.tolist(), ((users[u], items[i], at) for u, i, at in moments), strict=True):
        baskets.setdefault(basket, set()).add(row)
    found = {
        "baskets": sorted(map(sorted, baskets.values())),
        "titles": dict(zip(items, data.item_titles.tolist(), strict=True)),
        "categories": dict(zip(items, data.item_categories.tolist(), strict=True)),
        "available": dict(zip(items, data.available.tolist(), strict=True)),
        "item tags": tags(data.item_tags, data.item_tag_rules.names, items),
        "user tags": tags(data.user_tags, data.user_tag_rules.names, users),
    }
    if cut > EARLIER:
        past = dataset.training_data(EARLIER)
        bought = dataset.holdout(past, cut).tocoo()
        names = [people[key] for key in past.users.tolist()]
        found["targets"] = {(names[u], str(past.items[i])) for u, i in zip(bought.row, bought.col, strict=True)}
    return found


def tags(matrix: Any, names: Any, rows: list[str]) -> dict[str, dict[str, float]]:
    whole = matrix.toarray()
    return {
        row: {str(names[at]): float(whole[place, at]) for at in np.flatnonzero(whole[place])}
        for place, row in enumerate(rows)
    }


@pytest.mark.parametrize(("seed", "dated"), [(1, []), (2, lines(2))])
def test_a_cut_is_the_same_with_and_without_what_came_later(
    tmp_path: Path, elsewhere: Any, seed: int, dated: list[dict[str, Any]]
) -> None:
    history = calls(seed)
    before = [call for call in history if known_before_the_cut(call)]
    assert len(history) - len(before) > 50
    first, both = ([], []) if dated else (["first"], ["first", "second"])
    whole, people = build(tmp_path, history, dated, *both)
    assert min(whole.manifest["refunds"].values()) > 5
    assert whole.item_history.num_rows > 100
    found = tables(whole, people), *(learned(whole, people, cut) for cut in (EARLIER, whole.cuts.validation_from))
    elsewhere()
    part, people = build(tmp_path, before, [row for row in dated if row["Stand"] < CUT.isoformat()], *first)
    expected = tables(part, people), *(learned(part, people, cut) for cut in (EARLIER, part.cuts.validation_from))
    for one, other in zip(found, expected, strict=True):
        for name in one:
            assert same(one[name], other[name]), name


def same(one: Any, other: Any) -> bool:
    """Equal, but for the order in which an engine adds up."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, nan_ok=True)
    return bool(one == other)
