"""Recommendations for a basket, and published lists as files: complete, and without those who do not consent."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, insert, text, update

from infra.bundles import bundle
from infra.bundles.manifest import Origin
from infra.database.engine import engine
from infra.database.schema.schema import items, suppressions, users
from infra.installation import Installation
from infra.keys.identity import remember
from infra.overview.situation import NoChampionError
from models.errors import TailorbirdError
from models.recommenders.baselines.most_popular import Config, MostPopular
from serving.queries import export_lists as module
from serving.queries.basket_recommendations import UnknownProductError, basket_recommendations
from serving.queries.export_lists import export_lists
from serving.queries.user_recommendations import UnknownUserError
from tests.published import published, shelf
from tests.serving.bundle_folders import promote as record_promotion

GOODS = ("bread", "butter", "cups", "jam", "milk", "tea")
LISTS = {
    "tea": [("milk", 4.0, "often"), ("cups", 3.0, "often"), ("jam", 1.5, "often")],
    "bread": [("butter", 5.0, "often"), ("jam", 4.0, "often"), ("tea", 1.5, "often")],
    "milk": [],
}

NO_PAGE = {"url": None, "image": None}
TITLE = 'A "cup", =1+1'


@pytest.fixture
def store(installation: Installation) -> Engine:
    """Two products with lists, and a user who is known and agreed."""
    rows = [
        {"item_id": name, "title": name.title(), "price": 2.5, "attributes": {}, "available": True, "batch_id": "b"}
        for name in GOODS
    ]
    with installation.engine.begin() as connection:
        connection.execute(insert(items), rows)
        remember(connection, pa.table({"user_id": ["ann"], "user_key": ["key"]}))
        agreed = {"attributes": {}, "consent": True, "consent_source": "asked", "batch_id": "b"}
        connection.execute(insert(users), [{"user_key": "key", **agreed}])
    published(installation.engine, LISTS, shelf("run", "goes-well-with", 1, 3, "item"))
    return installation.engine


def promote(installation: Installation, liked: dict[str, float]) -> None:
    """A champion that likes things for everybody it knows: the user with the pseudonym `key`."""
    values = np.array([liked.get(name, 0) for name in GOODS], dtype=np.float32)
    model = MostPopular(Config(), np.array(["key"]), np.array(GOODS), values, np.zeros(len(GOODS), np.int32))
    draft = installation.settings.var / "draft"
    bundle.write(draft, model, values, Origin("v1", 7, "run"), None)
    folder, digest = bundle.store_bundle(draft, installation.bundles)
    record_promotion(installation.engine, folder, digest, 1, kind="most_popular")


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [row["item_id"] for row in rows]


def test_items_that_go_best_with_a_product_or_all_of_a_basket_come_first_with_title_and_price(store: Engine) -> None:
    recommended = basket_recommendations(store, ["tea"])
    assert names(recommended) == ["milk", "cups", "jam"]
    assert recommended[0] == {
        "rank": 1,
        "item_id": "milk",
        "title": "Milk",
        "price": 2.5,
        "currency": None,
        **NO_PAGE,
        "fit": round(float(np.log(4)), 4),
    }
    assert names(basket_recommendations(store, ["tea"], k=2)) == ["milk", "cups"]
    assert names(basket_recommendations(store, ["tea", "bread"])) == ["jam", "butter", "milk", "cups"]
    assert names(basket_recommendations(store, ["bread", "tea", "tea"])) == ["jam", "butter", "milk", "cups"]


@pytest.mark.parametrize("how", ["withdrew", "left"])
def test_items_that_a_user_likes_move_up_for_that_user_until_consent_is_withdrawn_or_the_user_left(
    store: Engine, installation: Installation, how: str
) -> None:
    promote(installation, {"cups": 9, "jam": 5})
    assert names(basket_recommendations(store, ["tea"], "ann")) == ["cups", "milk", "jam"]
    assert names(basket_recommendations(store, ["tea"])) == ["milk", "cups", "jam"]
    with store.begin() as connection:
        if how == "left":
            connection.execute(insert(suppressions).values(user_key="key", reason="left"))
        else:
            connection.execute(update(users).values(consent=False))
    assert names(basket_recommendations(store, ["tea"], "ann")) == ["milk", "cups", "jam"]


def test_the_id_of_a_variant_stands_for_its_item_unless_two_items_have_it(store: Engine) -> None:
    for name, ids in (("tea", "green\nblack\nbox\nmilk"), ("cups", "box\nbag")):
        with store.begin() as connection:
            connection.execute(update(items).where(items.c.item_id == name).values(attributes={"variant_ids": ids}))
    assert basket_recommendations(store, ["black", "bread", "green"]) == basket_recommendations(store, ["tea", "bread"])
    assert basket_recommendations(store, ["milk"]) == []  # an item of its own
    with pytest.raises(UnknownProductError, match="No catalogue names box"):
        basket_recommendations(store, ["box"])


def test_unknown_items_and_users_are_refused_by_name(store: Engine, installation: Installation) -> None:
    with pytest.raises(UnknownProductError, match="No catalogue names sand, wind"):
        basket_recommendations(store, ["sand", "tea", "wind"])
    with pytest.raises(NoChampionError):
        basket_recommendations(store, ["tea"], "ann")
    promote(installation, {})
    with pytest.raises(UnknownUserError, match="'bob'"):
        basket_recommendations(store, ["tea"], "bob")


@pytest.fixture
def filled(database: str) -> Engine:
    """Lists of two users who agree, of one who does not, and of one item."""
    opened = engine(database)
    goods = [{"item_id": name, "title": TITLE, "attributes": {}, "available": True, "batch_id": "b"} for name in "ab"]
    agreed = {"attributes": {}, "consent_source": "asked", "batch_id": "b"}
    with opened.begin() as connection:
        connection.execute(insert(items), goods)
        remember(connection, pa.table({"user_id": ["ann", "bob", "eve"], "user_key": ["k1", "k2", "k3"]}))
        people = [{"user_key": key, "consent": key != "k3", **agreed} for key in ("k1", "k2", "k3")]
        connection.execute(insert(users), people)
    lists = {key: [("a", 2.0, "why"), ("b", 1.0, "why")] for key in ("k1", "k2", "k3")}
    published(opened, lists, shelf("run", "email", k=2))
    published(opened, {"a": [("b", 1.0, "why")]}, shelf("run", "similar", k=1, about="item"))
    return opened


@pytest.mark.parametrize("part", [1, 3, 50_000])
def test_lists_are_written_by_the_ids_of_users_in_order(
    filled: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    monkeypatch.setattr(module, "_PART", part)
    written = export_lists(filled, "email", tmp_path / "email.csv")
    assert written == {"file": str(tmp_path / "email.csv"), "lists": 2, "rows": 4}
    with (tmp_path / "email.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["user_id"], row["rank"], row["item_id"], row["title"]) for row in rows] == [
        (user, rank, item, TITLE) for user in ("ann", "bob") for rank, item in (("1", "a"), ("2", "b"))
    ]
    export_lists(filled, "email", tmp_path / "email.parquet")
    table = pq.read_table(tmp_path / "email.parquet")
    assert table["user_id"].to_pylist() == ["ann", "ann", "bob", "bob"]
    assert table["score"].to_pylist() == [2.0, 1.0, 2.0, 1.0]
    assert {file.name for file in tmp_path.iterdir()} == {"email.csv", "email.parquet"}
    assert (tmp_path / "email.csv").stat().st_mode & 0o077 == 0


def test_lists_about_items_name_the_item_that_they_are_for(filled: Engine, tmp_path: Path) -> None:
    export_lists(filled, "similar", tmp_path / "similar.parquet")
    table = pq.read_table(tmp_path / "similar.parquet")
    assert table.select(["for_item_id", "rank", "item_id"]).to_pylist() == [
        {"for_item_id": "a", "rank": 1, "item_id": "b"}
    ]


def test_an_export_that_cannot_be_written_is_refused_in_a_sentence_and_leaves_no_file(
    filled: Engine, tmp_path: Path
) -> None:
    with pytest.raises(TailorbirdError, match=r"ends neither with \.csv nor with \.parquet"):
        export_lists(filled, "email", tmp_path / "email.txt")
    with pytest.raises(TailorbirdError, match="nowhere has no published lists"):
        export_lists(filled, "nowhere", tmp_path / "nowhere.csv")
    with filled.begin() as connection:
        connection.execute(text("DELETE FROM users"))
    assert export_lists(filled, "email", tmp_path / "none.csv")["rows"] == 0
    assert [file.name for file in tmp_path.iterdir()] == ["none.csv"]
