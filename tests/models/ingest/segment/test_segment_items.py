import json

import pyarrow as pa

from models.ingest.segment.parse import parse_lines
from models.ingest.source_config import Spelling
from models.primitives.json_types import JsonObject


def items(*calls: tuple[str, str, JsonObject]) -> dict[str, JsonObject]:
    """Return the catalogue updates of events, each a day of June 2024, a name and its properties."""
    events = [
        {"type": "track", "event": event, "properties": properties, "timestamp": f"2024-06-{day}T00:00:00Z"}
        for day, event, properties in calls
    ]
    lines = pa.table({"row_number": range(len(events)), "text": [json.dumps(event) for event in events]})
    return {row["item_id"]: row for row in parse_lines(lines).items.to_pylist()}


def test_the_latest_value_of_each_column_counts_in_any_order_of_the_lines() -> None:
    cup = items(
        ("03", "Product Viewed", {"product_id": "cup", "name": "New cup", "price": 3}),
        ("01", "Product Viewed", {"product_id": "cup", "name": "Old cup", "brand": "Clay", "price": 1}),
        ("02", "Product Viewed", {"product_id": "cup", "name": "Cup", "brand": "", "category": "Kitchen", "price": 2}),
    )["cup"]
    assert (cup["title"], cup["brand"], cup["category"], cup["price"]) == ("New cup", "Clay", "Kitchen", 3.0)
    assert (cup["occurred_at"].day, cup["row_number"]) == (3, 0)


def test_carts_and_checkouts_are_no_interactions_but_describe_their_products() -> None:
    block = {"sku": "a", "name": "Cup", "price": 2}
    for event in ("Cart Viewed", "Checkout Started", "Order Updated"):
        cup = items(("01", event, {"currency": "EUR", "products": [block]}))["a"]
        assert (cup["title"], cup["price"], cup["currency"]) == ("Cup", 2.0, "EUR")


def test_the_price_of_a_refund_is_not_that_of_today() -> None:
    result = items(
        ("01", "Product Viewed", {"sku": "a", "price": 2}),
        ("02", "Order Refunded", {"products": [{"sku": "a", "price": 1}]}),
    )
    assert result["a"]["price"] == 2.0


def test_a_product_that_is_only_named_and_an_unknown_event_give_no_item() -> None:
    assert items(("01", "Product Viewed", {"sku": "a"}), ("01", "Stock Counted", {"sku": "b", "name": "Pan"})) == {}


def test_spelling_is_normalised_in_events_and_in_the_catalogue_and_counted() -> None:
    block = {"sku": "a", "name": "Cup", "category": "kitchen", "brand": "CLAY  Co", "price": 2}
    line = {"type": "track", "event": "Order Completed", "properties": {"currency": "€", "products": [block, block]}}
    lines = pa.table({"row_number": [0], "text": [json.dumps(line)]})
    result = parse_lines(lines, spelling=Spelling(category={"Kitchen": "Cooking"}, brand={"clay co": "Clay & Co"}))
    item = result.items.to_pylist()[0]
    assert (item["category"], item["brand"], item["currency"]) == ("Cooking", "Clay & Co", "EUR")
    assert result.events["currency"].to_pylist() == ["EUR", "EUR"]
    assert result.cleaned == {"currency_respelt": 2, "category_respelt": 1, "brand_respelt": 1}
    assert parse_lines(lines).cleaned == {"currency_respelt": 2}


def test_each_column_has_its_time_if_the_times_differ() -> None:
    result = items(
        ("03", "Product Viewed", {"product_id": "cup", "price": 3}),
        ("01", "Product Viewed", {"product_id": "cup", "name": "Cup", "sku": "C-1", "price": 1}),
        ("01", "Product Viewed", {"product_id": "pan", "name": "Pan", "price": 1}),
    )
    days = {name: moment.day for name, moment in result["cup"]["said_at"].items() if moment}
    assert days == {"title": 1, "sku": 1, "price": 3}
    assert (result["pan"]["said_at"], result["pan"]["occurred_at"].day) == (None, 1)
