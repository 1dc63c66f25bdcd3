"""Items and users are read as their mapping states."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest

from models.ingest.source_config import Spelling
from models.ingest.tabular import transform
from models.ingest.tabular.table_mapping import ItemsMapping, UsersMapping
from models.ingest.tabular.unreadable_cells import CELLS, KEYS

ITEMS = ItemsMapping(
    file="f",
    item_id="id",
    title=["name", "size"],
    sentence_case=True,
    category=["top", "middle"],
    attributes=["size"],
    not_merchandise=["FUEL", "MISC|COUPON"],
)


def items(rows: pa.Table, mapping: ItemsMapping) -> pa.Table:
    return transform.items(rows, mapping).rows.drop_columns([KEYS, CELLS])


def users(rows: pa.Table, mapping: UsersMapping) -> pa.Table:
    return transform.users(rows, mapping).rows.drop_columns([KEYS, CELLS])


def goods(**changes: list[Any]) -> pa.Table:
    row: dict[str, list[Any]] = {"id": [1], "name": ["ICE  CREAM"], "size": ["1 L"], "top": ["FOOD"], "middle": ["ICE"]}
    return pa.table({name: pa.array(values, pa.string()) for name, values in (row | changes | {"id": ["1"]}).items()})


@pytest.mark.parametrize(
    ("mark", "expected"),
    [
        ("id in ('POST', 'D')", [False, True, False, True]),
        ("not matches(id, '[0-9]')", [False, True, False, True]),
        ("matches(lower(name), 'postage|discount')", [False, True, False, True]),
        ("number(price) = 0", [True, True, False, True]),
        ([{"expr": "id = 'D'"}, {"expr": "price > 100"}], [True, False, False, True]),
        (["FOOD", {"expr": "id = 'D'"}], [True, True, False, False]),
        ("kind = 'service'", [True, False, True, True]),
    ],
)
def test_items_that_are_no_merchandise_are_marked_by_id_pattern_price_attribute_or_category(
    mark: Any, expected: list[bool]
) -> None:
    rows = pa.table(
        {
            "id": ["POST", "22423", "D", "85123A"],
            "name": ["Postage", "Ice", "Discount", "Pan"],
            "price": ["18", "500", "0", None],
            "kind": [None, "service", None, "goods"],
            "top": ["SERVICES", "ICE", "SERVICES", "FOOD"],
            **dict.fromkeys(("size", "middle"), ["x"] * 4),
        }
    )
    mapping = ItemsMapping.model_validate(ITEMS.model_dump(exclude_defaults=True) | {"not_merchandise": mark})
    assert items(rows, mapping)["available"].to_pylist() == expected


def test_attributes_may_be_computed_under_a_name() -> None:
    size = {"name": "litres", "expr": "replace(size, ' L', '')"}
    mapping = ItemsMapping.model_validate(
        {"file": "f", "item_id": "id", "title": "name", "category": [{"expr": "lower(top)"}], "attributes": [size]}
        | {"fill": {"litres": "0"}, "price": {"expr": "number(id) * 2"}}
    )
    [item] = items(goods(), mapping).to_pylist()
    assert item["attributes"] == {"litres": "1", "litres_imputed": None}
    assert (item["category"], item["price"]) == ("food", 2.0)


def test_titles_are_written_as_people_write_them() -> None:
    assert items(goods(), ITEMS)["title"].to_pylist() == ["Ice cream, 1 l"]


@pytest.mark.parametrize(
    ("name", "size", "title"), [(None, "1 L", "1 l"), ("", None, "Item 1"), (None, None, "Item 1")]
)
def test_empty_parts_of_a_title_are_left_out(name: str | None, size: str | None, title: str) -> None:
    assert items(goods(name=[name], size=[size]), ITEMS)["title"].to_pylist() == [title]


@pytest.mark.parametrize(
    ("top", "middle", "category", "available"),
    [
        ("FOOD", None, "FOOD", True),
        (None, None, None, True),
        ("", "", None, True),
        ("FUEL", "GAS", "FUEL|GAS", False),
        ("MISC", "COUPONS", "MISC|COUPONS", False),
        ("MISC", "TOYS", "MISC|TOYS", True),
    ],
)
def test_categories_are_paths_and_other_things_than_goods_are_not_available(
    top: str | None, middle: str | None, category: str | None, available: bool
) -> None:
    item = items(goods(top=[top], middle=[middle]), ITEMS).to_pylist()[0]
    assert (item["category"], item["available"]) == (category, available)


def test_values_that_a_declared_constant_fills_are_marked() -> None:
    fill = {"category": "OTHER", "price": 1, "size": "one size"}
    change = {"price": "cost", "fill": fill}
    mapping = ItemsMapping(**{**ITEMS.model_dump(exclude_unset=True), **change})
    empty = goods(top=[None], middle=[""], size=[None], cost=[None])
    full = goods(cost=["2.5"])
    missing, there = items(pa.concat_tables([empty, full]), mapping).to_pylist()
    assert (missing["category"], missing["price"], there["category"], there["price"]) == ("OTHER", 1, "FOOD|ICE", 2.5)
    marks = {"category_imputed": "true", "price_imputed": "true", "size_imputed": "true"}
    assert missing["attributes"] == {"size": "one size", **marks}
    assert there["attributes"] == {"size": "1 L", **dict.fromkeys(marks)}


def test_only_traits_on_the_allow_list_enter() -> None:
    rows = pa.table({"id": [5], "age": ["18-24"], "email": ["a@example.org"], "kids": pa.array([None], pa.string())})
    result = users(rows, UsersMapping(file="f", user_id="id", attributes=["age", "kids"]))
    assert result.to_pylist() == [{"user_id": "5", "attributes": {"age": "18-24", "kids": None}}]


def test_categories_and_brands_are_spelt_as_declared_before_anything_is_decided_by_them() -> None:
    mapping = ItemsMapping(
        file="f", item_id="id", title="name", category=["top", "middle"], brand="size", not_merchandise=["Fuel"]
    )
    spelling = Spelling(category={"FUELS": "Fuel"}, brand={"1 l": "One"})
    result = transform.items(goods(top=["fuels "], middle=["ICE"]), mapping, spelling)
    item = result.rows.to_pylist()[0]
    assert (item["category"], item["brand"], item["available"]) == ("Fuel|ICE", "One", False)
    assert result.counts == {"category_respelt": 1, "brand_respelt": 1}


def test_filled_values_are_counted_by_column_and_attributes_altogether() -> None:
    fill = {"category": "Other", "price": 1, "size": "one", "middle": "none"}
    mapping = ItemsMapping(
        file="f", item_id="id", title="name", category=["top"], price="p", attributes=["size", "middle"], fill=fill
    )
    rows = goods(top=[None], size=[None], middle=[None], p=["3"])
    assert transform.items(rows, mapping).counts == {"category_imputed": 1, "attribute_imputed": 2}


def test_a_table_of_users_may_state_consent_and_its_time() -> None:
    mapping = UsersMapping(
        file="f",
        user_id="id",
        attributes=["age"],
        fill={"age": "?"},
        consent="ok",
        consent_words=["Ja"],
        consent_at="at",
        time_format="%d.%m.%Y",
        zone="Europe/Berlin",
    )
    rows = pa.table(
        {
            "id": ["a", "b", "c"],
            "age": ["18-24", None, None],
            "ok": ["JA ", "nein", ""],
            "at": ["01.02.2024", "soon", None],
        }
    )
    result = transform.users(rows, mapping)
    assert result.rows["consent"].to_pylist() == [True, False, None]
    assert result.rows["consent_at"].to_pylist() == [datetime(2024, 1, 31, 23, tzinfo=UTC), None, None]
    assert result.rows.schema.field("consent_at").type == pa.timestamp("us", tz="UTC")
    assert result.counts == {"attribute_imputed": 2}
    assert transform.kinds(mapping)["at"] == "any"
    assert transform.kinds(mapping.model_copy(update={"time_format": "epoch_s"}))["at"] == "number"
    assert transform.needed(mapping) == ["id", "age", "ok", "at"]
