"""The guessed mapping of an ordinary shop passes its check, and its rows come in; any type is read or named."""

import json
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.installation import Installation
from models.errors import TailorbirdError
from tasks.ingest.check.check_mapping import check_mapping
from tasks.ingest.check.draft_mapping import draft_mapping, write_mapping
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users
from tests.models.ingest.draft.shops import SHOPS

EXPECTED: dict[str, dict[str, Any]] = {
    "shopify": {
        "events.item_id": "Lineitem sku",
        "events.session_id": "Name",
        "events.time_format": "%Y-%m-%d %H:%M:%S %z",
        "items.item_id": "Variant SKU",
        "items.category_separator": " > ",
        "items.where": '"Variant SKU" is not null',
        "users.user_id": "Email",
        "users.attributes": ["Default Address Country Code"],
    },
    "woocommerce": {
        "events.user_id": "Customer User ID",
        "events.quantity": {"expr": 'abs("Quantity (- Refund)")'},
        "events.event_type": {"expr": "if(\"Quantity (- Refund)\" < 0, 'refund', 'purchase')"},
        "items.price": "Regular price",
        "items.category_alternatives": ", ",
    },
    "german": {
        "events.separator": ";",
        "events.encoding": "windows-1252",
        "events.decimal": ",",
        "events.thousands": ".",
        "events.time_format": "%d.%m.%Y %H:%M",
        "events.event_id": ["Bestellnummer", "Artikelnummer"],
        "users.consent": "Einwilligung",
        "users.consent_words": ["ja"],
        "users.attributes": ["Land"],
    },
    "order_lines": {
        "events.time_format": "%m/%d/%Y %H:%M",
        "events.currency_signs": ["$"],
        "events.where": "CustomerID is not null",
        "items.choose": {"title": "most_frequent", "price": "recent"},
        "items.price": {"expr": "if(CustomerID is not null, UnitPrice, null)"},
        "users.attributes": ["Country"],
    },
    "clickstream": {
        "events.time_format": "epoch_ms",
        "events.event_types": {"addToCart": "add_to_cart", "page_view": "view", "transaction": "purchase"},
        "events.where": "not event in ('scroll')",
        "items.title": "name",
    },
    "ratings": {
        "events.time_format": "epoch_s",
        "events.rating": "rating",
        "events.constants": {"event_type": "rating"},
        "items.category_alternatives": "|",
    },
}
ROWS = 60
FAR = 5_000_000 * 365
"""Days: a date in year 5 million."""
MAPPING = """
name = "shop"
consent = "given"
consent_note = "test"
[events]
file = "orders*"
event_id = "order_id"
user_id = "customer_id"
item_id = "product_id"
occurred_at = "order_date"
quantity = "quantity"
constants = { event_type = "purchase" }
"""
USUAL = {
    "order_id": pa.array([f"o{n}" for n in range(ROWS)]),
    "customer_id": pa.array([f"c{n % 9}" for n in range(ROWS)]),
    "product_id": pa.array([f"p{n % 7}" for n in range(ROWS)]),
    "order_date": pa.array([19_000 + n for n in range(ROWS)], pa.int32()).cast(pa.date32()),
    "quantity": pa.array([1 + n % 2 for n in range(ROWS)]),
}
NUMBERS = pa.array(range(ROWS), pa.int64())
BYTES = [bytes([255, n, 254]) for n in range(ROWS)]
ODD: dict[str, pa.Array] = {
    "text view": USUAL["customer_id"].cast(pa.string_view()),
    "codes of text": USUAL["customer_id"].dictionary_encode(),
    "bytes": pa.array(BYTES, pa.binary()),
    "three bytes": pa.array(BYTES, pa.binary(3)),
    "far date": pa.array([FAR] * ROWS, pa.int32()).cast(pa.date32()),
    "one far date": pa.array([FAR, *range(19_000, 19_000 + ROWS - 1)], pa.int32()).cast(pa.date32()),
    "date before year 1": pa.array([-FAR] * ROWS, pa.int32()).cast(pa.date32()),
    "far time": pa.array([2**61] * ROWS, pa.timestamp("ms")),
    "time of day": NUMBERS.cast(pa.time64("us")),
    "duration": NUMBERS.cast(pa.duration("s")),
    "decimal": NUMBERS.cast(pa.decimal256(60, 5)),
    "true": pa.array([n % 2 == 0 for n in range(ROWS)]),
    "nothing": pa.nulls(ROWS),
    "list": pa.array([[n] for n in range(ROWS)]),
    "fields": pa.array([{"a": n} for n in range(ROWS)]),
    "pairs": pa.array([[("a", n)] for n in range(ROWS)], pa.map_(pa.string(), pa.int64())),
    "uuid": pa.array([bytes([n] * 16) for n in range(ROWS)], pa.uuid()),
}
NEW = "signature"


def drafted(name: str, folder: Path) -> tuple[str, list[Path]]:
    """The text of the mapping for a shop's files."""
    files = SHOPS[name](folder)
    return draft_mapping([str(file) for file in files], name, "given", "test").text, files


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The mapping of each shop, in the folder of its files."""
    result = {}
    for name in SHOPS:
        folder = tmp_path_factory.mktemp(name)
        result[name] = folder / "shop.toml"
        write_mapping(drafted(name, folder)[0], result[name])
    return result


@pytest.mark.parametrize("name", SHOPS)
def test_the_guessed_columns_are_those_of_the_shop(name: str, shops: dict[str, Path]) -> None:
    stated = tomllib.loads(shops[name].read_text())
    result = {key: stated[key.split(".")[0]].get(key.split(".")[1]) for key in EXPECTED[name]}
    assert result == EXPECTED[name]


@pytest.mark.parametrize("name", SHOPS)
def test_the_guessed_mapping_passes_its_check(name: str, shops: dict[str, Path]) -> None:
    result = check_mapping(str(shops[name]))

    assert result["accepted"], [table["refused"] for table in result["tables"]]
    events = result["tables"][-1]
    assert events["counts"]["quarantined"] == events["counts"]["duplicate"] == 0
    assert events["counts"]["accepted"] >= (400 if name == "german" else 700)  # where half of the users refused


def test_uncertain_guesses_carry_the_alternatives_and_unused_columns_are_listed(shops: dict[str, Path]) -> None:
    text = shops["woocommerce"].read_text()
    assert 'user_id = "Customer User ID"  # or "Email (Billing)"' in text
    assert 'zone = "UTC"  # the times name no zone' in text
    assert "# Not used: Email (Billing), Country Code (Billing), Item #" in text


def test_without_a_column_of_consent_a_person_has_to_decide(tmp_path: Path) -> None:
    files = SHOPS["ratings"](tmp_path)
    text = draft_mapping([str(file) for file in files], "films").text
    assert 'consent = "opt-in"' in text
    assert "# No column states consent." in text


def test_dates_that_fit_two_orders_are_marked(tmp_path: Path) -> None:
    rows = [f"u{n % 5},i{n % 7},0{n % 9 + 1}/0{n % 8 + 1}/2024,3" for n in range(60)]
    (tmp_path / "orders.csv").write_text("\n".join(["customer_id,product_id,order_date,quantity", *rows]))
    text = draft_mapping([str(tmp_path / "orders.csv")], "shop").text
    assert '# uncertain: "%m/%d/%Y" reads as many' in text


def test_an_amount_of_pieces_is_the_quantity(tmp_path: Path) -> None:
    rows = [f"2024-03-{n % 28 + 1:02},c{n % 9},p{n % 7},{n % 4 + 1},{n % 50 + 20}" for n in range(90)]
    (tmp_path / "sales.csv").write_text("\n".join(["TRANSACTION_DT,CUSTOMER_ID,PRODUCT_ID,AMOUNT,SALES_PRICE", *rows]))
    events = tomllib.loads(draft_mapping([str(tmp_path)], "shop").text)["events"]
    assert (events["quantity"], events.get("value")) == ("AMOUNT", None)
    assert events["constants"] == {"event_type": "purchase"}


def test_ids_that_a_program_wrote_as_numbers_lose_their_zero(tmp_path: Path) -> None:
    lines = [
        f"5{n // 3:05},{85000 + n % 40}A,{1 + n % 3},2010-12-{1 + n % 28:02} 08:26,2.50,{17850 + n % 30}.0"
        for n in range(400)
    ]
    (tmp_path / "o.csv").write_text(
        "\n".join(["InvoiceNo,StockCode,Quantity,InvoiceDate,UnitPrice,CustomerID", *lines])
    )
    events = tomllib.loads(draft_mapping([str(tmp_path / "o.csv")], "shop").text)["events"]
    assert events["user_id"] == {"expr": "regexp_replace(CustomerID, '[.]0$', '')"}
    assert events["item_id"] == "StockCode"


def test_a_catalogue_in_json_is_drafted(tmp_path: Path) -> None:
    products = [
        {"sku": f"S{n}", "title": f"Blue porcelain cup {n}", "price": 3.5, "image": {"src": "https://x.test/a"}}
        for n in range(60)
    ]
    (tmp_path / "products.json").write_text(json.dumps({"products": products}))
    items = tomllib.loads(draft_mapping([str(tmp_path / "products.json")], "shop").text)["items"]
    assert {name: items[name] for name in ("item_id", "title", "price", "image")} == {
        "item_id": "sku",
        "title": "title",
        "price": "price",
        "image": "image.src",
    }


def test_a_catalogue_in_a_list_beside_other_values_is_unnested(tmp_path: Path) -> None:
    listings = [
        {"listing_id": f"L{n}", "title": f"Lamp {n}", "price": {"amount": n + 0.5, "currency": "EUR"}}
        for n in range(60)
    ]
    (tmp_path / "listings.json").write_text(json.dumps({"exported": "2024-03-01", "count": 60, "results": listings}))
    text = draft_mapping([str(tmp_path / "listings.json")], "shop", "given", "terms").text
    items = tomllib.loads(text)["items"]
    assert {name: items[name] for name in ("unnest", "item_id", "title", "price", "currency")} == {
        "unnest": "results",
        "item_id": "results.listing_id",
        "title": "results.title",
        "price": "results.price.amount",
        "currency": "results.price.currency",
    }
    (tmp_path / "shop.toml").write_text(text)
    report = check_mapping(str(tmp_path / "shop.toml"), [])
    assert report["accepted"], report


def test_a_visitor_beside_a_buyer_is_the_device(tmp_path: Path) -> None:
    after = [f"L{n % 7},2024-03-{n % 28 + 1:02},listing_view" for n in range(99)]
    rows = [f"v{n % 11},{'' if n % 3 else f'b{n % 5}'},{rest}" for n, rest in enumerate(after)]
    (tmp_path / "clicks.csv").write_text("\n".join(["visitor,buyer,listing,ts,action", *rows]))
    events = tomllib.loads(draft_mapping([str(tmp_path)], "shop").text)["events"]
    assert (events["user_id"], events["device_id"]) == ("buyer", "visitor")
    assert (events["event_types"], events.get("where")) == ({"listing_view": "view"}, None)
    alone = [f"v{n % 11},{rest}" for n, rest in enumerate(after)]
    (tmp_path / "clicks.csv").write_text("\n".join(["visitor,listing,ts,action", *alone]))
    events = tomllib.loads(draft_mapping([str(tmp_path)], "shop").text)["events"]
    assert (events["user_id"], events.get("device_id")) == ("visitor", None)


@pytest.mark.parametrize(
    ("bought", "titles", "grouped"),
    [("sku", "first row", True), ("sku", "each row", False), ("style_id", "each row", True)],
)
def test_sizes_of_one_title_are_the_variants_of_their_item(
    bought: str, titles: str, grouped: bool, tmp_path: Path
) -> None:
    sizes = [(style, size) for style in range(9) for size in "SML"]
    title = {size: "Dress" if size == "S" or titles == "each row" else "" for size in "SML"}
    catalogue = [
        f"S{style},S{style}-{size},{title[size] and f'Dress {style}'},{size},{style}.50" for style, size in sizes
    ]
    (tmp_path / "catalogue.csv").write_text("\n".join(["style_id,sku,title,size,price", *catalogue]))
    ids = [f"S{style}-{size}" if bought == "sku" else f"S{style}" for style, size in sizes * 3]
    orders = [f"{n // 2},{n % 2 + 1},u{n % 5},{one},2024-03-{n % 28 + 1:02},1" for n, one in enumerate(ids)]
    orders += orders[:5]  # rows that an export repeats
    (tmp_path / "orders.csv").write_text("\n".join([f"order_id,line_no,customer,{bought},ordered_at,qty", *orders]))
    text = draft_mapping([str(tmp_path)], "shop", "given", "test").text
    items, events = (tomllib.loads(text)[name] for name in ("items", "events"))
    assert (events["item_id"], events["event_id"]) == (bought, ["order_id", "line_no"])
    if grouped:
        assert (items["item_id"], items["variant_ids"]) == ("style_id", ["sku"])
        assert items["choose"] == {"title": "first", "price": "lowest", "size": "all"}
    else:
        assert (items["item_id"], items.get("variant_ids")) == ("sku", None)
        assert 'write item_id = "style_id" and variant_ids = ["sku"]' in text
    report = check_mapping(str(_written(tmp_path, text)))
    assert report["accepted"], report


def test_a_column_of_devices_is_no_column_of_users(tmp_path: Path) -> None:
    rows = [f"{'' if n % 3 else f'u{n % 5}'},d{n % 11},i{n % 7},2024-03-{n % 28 + 1:02},view" for n in range(99)]
    (tmp_path / "clicks.csv").write_text("\n".join(["customer_id,anonymous_id,item_id,time,event", *rows]))
    events = tomllib.loads(draft_mapping([str(tmp_path)], "shop").text)["events"]
    assert (events["user_id"], events["device_id"], events.get("where")) == ("customer_id", "anonymous_id", None)
    bare = [row.partition(",")[2] for row in rows]
    (tmp_path / "clicks.csv").write_text("\n".join(["device_id,item_id,time,event", *bare]))
    text = draft_mapping([str(tmp_path)], "shop").text
    events = tomllib.loads(text)["events"]
    assert (events["device_id"], events.get("user_id")) == ("device_id", None)
    assert '# user_id = "device_id"' in text
    assert check_mapping(str(_written(tmp_path, text)))["accepted"]


def _written(folder: Path, text: str) -> Path:
    (folder / "shop.toml").write_text(text)
    return folder / "shop.toml"


def test_a_table_of_returns_holds_refunds_of_its_orders(tmp_path: Path) -> None:
    rows = [f"r{n},o{n % 60},c{n % 9},p{n % 7},1,2024-04-{n % 28 + 1:02}" for n in range(90)]
    header = "return_no,original_order,customer,sku,qty,returned_at"
    (tmp_path / "returns.csv").write_text("\n".join([header, *rows]))
    events = tomllib.loads(draft_mapping([str(tmp_path)], "shop").text)["events"]
    assert (events["constants"], events["session_id"]) == ({"event_type": "refund"}, "original_order")
    (tmp_path / "returns.csv").rename(tmp_path / "sales.csv")
    (tmp_path / "sales.csv").write_text("\n".join([header.replace("returned_at", "sold_at"), *rows]))
    events = tomllib.loads(draft_mapping([str(tmp_path)], "shop").text)["events"]
    assert events["constants"] == {"event_type": "purchase"}


def test_a_category_that_stands_in_for_the_title_is_the_category_too(tmp_path: Path) -> None:
    (tmp_path / "products.csv").write_text(
        "\n".join(["product_id,product_category_name,weight_g", *(f"p{n},group {n % 5},{n * 10}" for n in range(60))])
    )
    items = tomllib.loads(draft_mapping([str(tmp_path)], "shop").text)["items"]
    assert (items["title"], items["category"]) == ("product_category_name", ["product_category_name"])


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("user_id,book_id,rating", "has no column of times, which events need"),
        ("196,b242,3", "seems to begin with a row in place of names of columns"),
    ],
)
def test_the_reason_why_a_table_cannot_be_read_is_named(header: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text("\n".join([header, *(f"{n % 9},b{n % 7},{n % 5}" for n in range(60))]))
    with pytest.raises(TailorbirdError, match=reason):
        draft_mapping([str(tmp_path / "ratings.csv")], "shop")


def test_files_with_the_same_columns_are_one_part(tmp_path: Path) -> None:
    for year in (2023, 2024):
        rows = [f"u{n % 5},i{n % 7},{year}-03-{n % 28 + 1:02},3" for n in range(60)]
        header = "customer_id,product_id,order_date,quantity"
        (tmp_path / f"orders-{year}.csv").write_text("\n".join([header, *rows]))
    stated = tomllib.loads(draft_mapping([str(tmp_path)], "shop").text)
    assert stated["events"]["file"] == ["orders-2023.csv", "orders-2024.csv"]


def test_without_sales_what_users_read_is_the_purchase_that_lists_learn_from(tmp_path: Path) -> None:
    kinds = ["read", "open", "share"]
    rows = [f"u{n % 5},c{n % 11},a{n % 7},2024-03-{n % 28 + 1:02},{kinds[n % 3]}" for n in range(99)]
    (tmp_path / "reads.csv").write_text("\n".join(["reader_id,reader_cookie,article_id,time,action", *rows]))
    text = draft_mapping([str(tmp_path)], "news", "given", "test").text
    events = tomllib.loads(text)["events"]
    assert events["event_types"] == {"open": "view", "read": "purchase", "share": "like"}
    assert (events["user_id"], events["device_id"]) == ("reader_id", "reader_cookie")
    assert "# lists learn from purchases" in text
    (tmp_path / "reads.csv").write_text((tmp_path / "reads.csv").read_text().replace("share", "buy"))
    assert tomllib.loads(draft_mapping([str(tmp_path)], "news").text)["events"]["event_types"]["read"] == "consume"


def test_of_many_unknown_event_types_only_the_known_ones_are_read(tmp_path: Path) -> None:
    words = ["view", *(f"it's {n}" for n in range(40))]
    rows = [f"u{n % 5},i{n % 7},2024-03-{n % 28 + 1:02},{words[n % 41]}" for n in range(400)]
    (tmp_path / "clicks.csv").write_text("\n".join(["user_id,item_id,time,event", *rows]))
    stated = tomllib.loads(draft_mapping([str(tmp_path / "clicks.csv")], "shop").text)
    assert stated["events"]["where"] == "event in ('view')"


def test_names_that_no_list_has_are_found_by_their_parts(tmp_path: Path) -> None:
    header = "order_id,order_item_id,product_id,customer_unique_id,order_purchase_timestamp,price"
    rows = [f"o{n // 2},{n % 2 + 1},p{n % 9},c{n % 40},2017-03-{n % 28 + 1:02} 10:56:33,9.90" for n in range(200)]
    (tmp_path / "lines.csv").write_text("\n".join([header, *rows]))
    events = tomllib.loads(draft_mapping([str(tmp_path / "lines.csv")], "shop").text)["events"]
    assert (events["user_id"], events["occurred_at"]) == ("customer_unique_id", "order_purchase_timestamp")
    assert events["event_id"] == ["order_id", "order_item_id"]


def joined_tables(folder: Path, catalogue: str, customers: str, orders: str = "Artikelnr;Kundennr") -> dict[str, Any]:
    """The mapping for orders, and for a catalogue and customers whose columns are called so."""
    chance = list(range(0, 400, 7))
    lines = [f"GA-{n % 50};K{n % 30};{n % 28 + 1:02}.01.2025 10:00;{n % 3 + 1};9,90" for n in (*chance, *range(400))]
    write = {
        "bestellungen.csv": [f"{orders};Bestelldatum;Menge;Einzelpreis", *lines],
        "artikel.csv": [catalogue, *(f"GA-{n}|Sorte {n % 45}|Garten > Beet {n % 5}|€ {n},90" for n in range(60))],
        "kunden.csv": [customers, *(f"K{n};{10_000 + n % 9};{('privat', 'Verein')[n % 2]}" for n in range(40))],
    }
    for name, rows in write.items():
        (folder / name).write_text("\n".join(rows) + "\n", encoding="cp1252")
    return tomllib.loads(draft_mapping([str(folder / name) for name in write], "shop").text)


@pytest.mark.parametrize("code", ["ArtNr", "Kennung", "Ref.", "x"])
@pytest.mark.parametrize("person", ["KdNr", "Kennung", "y"])
def test_a_table_whose_ids_join_the_events_is_read_whatever_its_columns_are_called(
    tmp_path: Path, code: str, person: str
) -> None:
    stated = joined_tables(tmp_path, f"{code}|Bezeichnung|Kategorie|VK", f"{person};Gebiet;Kundentyp")

    assert (stated["events"]["item_id"], stated["items"]["item_id"]) == ("Artikelnr", code)
    assert (stated["events"]["user_id"], stated["users"]["user_id"]) == ("Kundennr", person)
    assert (stated["items"]["title"], stated["items"]["separator"]) == ("Bezeichnung", "|")


def test_a_table_that_joins_nothing_is_a_part_to_complete(tmp_path: Path) -> None:
    orders = ["user_id,item_id,time,quantity", *(f"u{n % 9},i{n % 7},2024-01-{n % 28 + 1:02},1" for n in range(90))]
    (tmp_path / "orders.csv").write_text("\n".join(orders))
    (tmp_path / "stuff.csv").write_text("Kürzel|Rest\n" + "".join(f"z{n}|{n}\n" for n in range(50)), encoding="cp1252")

    result = draft_mapping([str(tmp_path / "orders.csv"), str(tmp_path / "stuff.csv")], "shop")

    assert "# If stuff.csv has the items, complete this part; docs/mapping.md has all keys." in result.text
    assert '# [items]\n# file = "stuff.csv"\n# separator = "|"\n# encoding = "windows-1252"\n' in result.text
    assert "# Columns: Kürzel, Rest" in result.text
    assert "items" not in result.parts


@pytest.mark.parametrize("refunds", [False, True])
def test_a_position_in_an_order_identifies_its_line_and_is_no_place_on_a_list(tmp_path: Path, refunds: bool) -> None:
    rows = [
        f"{n // 2};{n % 2 + 1};K{n // 2 % 40};A{n // 2 % 9};{n % 28 + 1:02}.03.2025;{n % 3 + 1}" for n in range(400)
    ]
    rows += [f"{n};1;K{n % 40};A{n % 9};29.03.2025;-1" for n in range(0, 200, 5) if refunds]
    header = "Bestellnummer;Position;Kundennummer;Artikelnummer;Datum;Menge"
    (tmp_path / "zeilen.csv").write_text("\n".join([header, *rows]))
    events = tomllib.loads(draft_mapping([str(tmp_path / "zeilen.csv")], "shop").text)["events"]
    assert "position" not in events
    assert events.get("event_id") == (None if refunds else ["Bestellnummer", "Position"])


def lines_with_refunds(tmp_path: Path, order: str, user: str) -> dict[str, Any]:
    """The part for sales with refunds, whose orders and users these texts make of a number."""
    rows = [f"o{n // 2};u{n // 2 % 40};a{n % 9};{n % 28 + 1:02}.03.2025;2" for n in range(400)]
    rows += [f"{order.format(n)};{user.format(n % 40)};a{2 * n % 9};29.03.2025;-1" for n in range(0, 200, 5)]
    (tmp_path / "sales.csv").write_text("\n".join(["order_id;customer_id;sku;date;quantity", *rows]))
    part: dict[str, Any] = tomllib.loads(draft_mapping([str(tmp_path / "sales.csv")], "shop").text)["events"]
    return part


def test_refunds_that_share_the_orders_of_sales_take_back_these_alone(tmp_path: Path) -> None:
    assert lines_with_refunds(tmp_path, "o{}", "u{}")["refund_order"] == "order_id"
    assert "refund_order" not in lines_with_refunds(tmp_path, "C{}", "u{}")  # numbers of their own
    assert "refund_order" not in lines_with_refunds(tmp_path, "o{}", "u1{}")  # the same numbers by chance


@pytest.mark.parametrize("beside", [None, "returns.csv", "reviews.csv"])
def test_refunded_orders_are_kept_if_a_table_of_returns_takes_them_back(tmp_path: Path, beside: str | None) -> None:
    states = ("completed", "completed", "refunded", "cancelled")
    rows = [f"o{n},u{n % 40},a{n % 9},2025-03-{n % 28 + 1:02},2,{states[n % 4]}" for n in range(400)]
    (tmp_path / "orders.csv").write_text("\n".join(["order_id,customer_id,sku,date,quantity,status", *rows]))
    back = [f"r{n},o{n},2025-04-02,1" for n in range(2, 400, 4)]
    files = [str(tmp_path / name) for name in ("orders.csv", beside) if name]
    (tmp_path / str(beside)).write_text("\n".join(["number,bestellung,day,score", *back]))
    text = draft_mapping(files, "shop").text
    assert ("'refunded'" in text) == (beside != "returns.csv")
    assert "'cancelled'" in text
    assert ('and refund_order = "bestellung".' in text) == (beside == "returns.csv")


def test_a_mapping_that_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text("mine")
    with pytest.raises(TailorbirdError, match="is there already"):
        write_mapping("other", tmp_path / "shop.toml")
    assert (tmp_path / "shop.toml").read_text() == "mine"


def test_rows_that_the_check_announced_come_in(installation: Installation, tmp_path: Path) -> None:
    assert installation.engine
    text, files = drafted("german", tmp_path)
    mapping = str(tmp_path / "shop.toml")
    write_mapping(text, Path(mapping))
    announced = check_mapping(mapping)["tables"]
    steps = {"items": ingest_items, "users": ingest_users, "events": ingest_events}
    names = {"items": "artikel.csv", "users": "kunden.csv", "events": "bestellungen.csv"}

    for table in announced:
        entry = steps[table["part"]].fn(mapping, str(tmp_path / names[table["part"]]))
        assert {name: entry[name] for name in table["counts"]} == table["counts"]
    assert len(files) == len(announced)


def test_other_columns_are_named_for_an_id_only_if_they_hold_the_ids_of_the_events(tmp_path: Path) -> None:
    orders = [f"u{n % 30};{n % 50 + 4000};2024-03-{n % 28 + 1:02};1" for n in range(200)]
    goods = [f"{n + 4000};{n + 4000};Lamp of glass {n};https://shop.example/{n}.jpg;9,{n % 90 + 10}" for n in range(60)]
    for name, rows in {
        "orders.csv": ["customer;product;date;quantity", *orders],
        "goods.csv": ["Ref.;Kennung;Title;Picture;Price", *goods],
    }.items():
        (tmp_path / name).write_text("\n".join(rows))
    text = draft_mapping([str(tmp_path / "orders.csv"), str(tmp_path / "goods.csv")], "shop").text
    [line] = [line for line in text.partition("[items]")[2].splitlines() if line.startswith("item_id")][:1]
    assert line == 'item_id = "Ref."  # or "Kennung"'


def odd_shop(folder: Path, kind: str, column: str) -> tuple[str, str]:
    """Write a mapping and a file with a column of this kind."""
    (folder / "shop.toml").write_text(MAPPING)
    pq.write_table(pa.table(USUAL | {column: ODD[kind]}), folder / "orders.parquet")
    return str(folder / "shop.toml"), str(folder / "orders.parquet")


@pytest.mark.parametrize("column", ["customer_id", "order_date", "quantity", NEW])
@pytest.mark.parametrize("kind", ODD)
def test_a_column_of_any_type_is_checked_and_drafted_or_named(tmp_path: Path, kind: str, column: str) -> None:
    mapping, path = odd_shop(tmp_path, kind, column)
    [table] = check_mapping(mapping, [path])["tables"]
    assert table["refused"] or table["counts"]["read"] == ROWS
    with suppress(TailorbirdError):
        assert draft_mapping([path], "shop").text
    if column == NEW:
        assert table["counts"]["accepted"] == ROWS
        assert 'user_id = "customer_id"' in draft_mapping([path], "shop").text


@pytest.mark.usefixtures("installation")
@pytest.mark.parametrize(
    ("kind", "column", "accepted"), [("text view", "customer_id", ROWS), ("one far date", "order_date", ROWS - 1)]
)
def test_text_views_are_ingested_and_a_far_date_costs_its_row(
    tmp_path: Path, kind: str, column: str, accepted: int
) -> None:
    mapping, path = odd_shop(tmp_path, kind, column)
    limits = "[limits]\nevents = { quarantined_share = 0.5 }\n"
    Path(mapping).write_text(MAPPING + limits)
    entry: Any = ingest_events.fn(mapping, path)
    assert (entry["read"], entry["accepted"], entry["quarantined"]) == (ROWS, accepted, ROWS - accepted)


@pytest.mark.parametrize("size", [200_000, 10_000_000])
def test_a_long_cell_is_read_or_named_by_its_line(tmp_path: Path, size: int) -> None:
    (tmp_path / "shop.toml").write_text(MAPPING)
    lines = [f"o{n},c{n % 9},p{n % 7},2024-03-{n % 28 + 1:02},1,{'x' * (size if n == 40 else 3)}" for n in range(ROWS)]
    path = tmp_path / "orders.csv"
    path.write_text("\n".join([",".join([*USUAL, NEW]), *lines]) + "\n")
    [table] = check_mapping(str(tmp_path / "shop.toml"), [str(path)])["tables"]
    if size < 8 << 20:
        assert table["counts"]["accepted"] == ROWS
        assert draft_mapping([str(path)], "shop").text
        return
    assert "line 42: a value is longer than 8 MiB" in table["refused"]
    with pytest.raises(TailorbirdError, match="a value is longer than 8 MiB"):
        draft_mapping([str(path)], "shop")
