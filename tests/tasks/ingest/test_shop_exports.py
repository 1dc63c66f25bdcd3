"""The shipped mappings of Shopify and WooCommerce: rows agree with a recount in pandas, to the row."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from sqlalchemy import select

from infra.database.schema.schema import items, users
from infra.installation import Installation
from infra.keys.identity import pseudonyms
from tasks.ingest.check.check_mapping import check_mapping
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users
from tasks.sources.file_matching import files_of
from tasks.sources.mapping_files import table_mapping
from tests.tasks.ingest import shop_exports
from tests.tasks.ingest.stored import counted, lake, rows

CONSENT = {"consent": "given", "consent_note": "a test"}
STEPS = {"items": ingest_items.fn, "users": ingest_users.fn, "events": ingest_events.fn}
NEVER_PAID = ["pending", "authorized", "voided", "expired"]


@pytest.fixture
def shopify(tmp_path: Path) -> Path:
    shop_exports.shopify(tmp_path, 7)
    return tmp_path


@pytest.fixture
def woocommerce(tmp_path: Path) -> Path:
    shop_exports.woocommerce(tmp_path, 7)
    return tmp_path


def ingested(mapping: str, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the ledger's lines of the files of a folder, by part."""
    files = files_of(table_mapping(mapping, CONSENT), [str(path) for path in folder.glob("*.csv")])
    return {part: [STEPS[part](mapping, file, CONSENT) for file in files[part]] for part in STEPS}


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def stored_events(installation: Installation) -> Counter[tuple[Any, ...]]:
    """Return the events of the lake, each with user, item, variant, type, order, quantity, value and time."""
    names = ("user_key", "item_id", "variant_id", "event_type", "session_id", "quantity", "value")
    return Counter((*(row.get(name) for name in names), row["occurred_at"].isoformat()) for row in lake(installation))


def recounted(installation: Installation, lines: pd.DataFrame) -> Counter[tuple[Any, ...]]:
    """Return the lines of orders as events."""
    keys = pseudonyms(pa.array(lines["user"]), installation.key).to_pylist()
    names = ["item", "variant", "type", "order", "quantity", "value", "at"]
    cells: Iterable[tuple[Any, ...]] = lines[names].itertuples(index=False, name=None)
    return Counter(
        (key, *(None if pd.isna(cell) else cell for cell in row)) for key, row in zip(keys, cells, strict=True)
    )


def by_item(products: pd.DataFrame, item: str, *ids: pd.Series) -> dict[str, str]:
    """Return the items of ids that lead to one item alone, and to no other item's own id."""
    pairs = pd.concat([pd.DataFrame({"id": one.str.strip(), "item": products[item]}) for one in ids])
    pairs = pairs[(pairs["id"] != "") & pairs["id"].notna() & ~pairs["id"].isin(products[item])].drop_duplicates()
    return dict(pairs[~pairs.duplicated("id", keep=False)].itertuples(index=False, name=None))


def moments(texts: pd.Series) -> pd.Series:
    return pd.to_datetime(texts, utc=True).map(lambda at: at.isoformat())


def test_orders_of_shopify_agree_with_a_recount(installation: Installation, shopify: Path) -> None:
    entries = ingested("shopify", shopify)["events"]
    orders = pd.concat([read(path) for path in sorted(shopify.glob("orders*.csv"))])
    stated = ["Email", "Financial Status", "Created at", "Cancelled at"]
    orders[stated] = orders.groupby("Name")[stated].transform(lambda cells: next(filter(None, cells), ""))
    products = read(shopify / "products_export.csv")
    gifts = set(products.loc[products["Gift Card"] == "true", "Handle"])
    known = by_item(products, "Handle", products["Variant SKU"], shop_exports.variant_names(products))
    orders["user"] = orders["Email"].str.strip().str.lower()
    orders["variant"] = orders["Lineitem sku"].where(orders["Lineitem sku"] != "", orders["Lineitem name"])
    orders["item"] = orders["variant"].map(known)
    orders["quantity"] = pd.to_numeric(orders["Lineitem quantity"], errors="coerce")
    orders["value"] = orders["quantity"] * orders["Lineitem price"].astype(float)
    orders["value"] = (orders["value"] - orders["Lineitem discount"].astype(float)).round(2)
    back = (orders["Cancelled at"] != "") | (orders["Financial Status"] == "refunded")
    orders["type"], orders["order"] = back.map({True: "refund", False: "purchase"}), orders["Name"]
    orders["at"] = moments(orders["Cancelled at"].where(orders["Cancelled at"] != "", orders["Created at"]))
    excluded = (orders["user"] == "") | orders["Financial Status"].isin(NEVER_PAID) | orders["item"].isin(gifts)
    bad = orders["item"].isna() | orders["quantity"].isna() | (orders["Financial Status"] == "exploded")
    bad &= ~((orders["Financial Status"] == "exploded") & back & orders["item"].notna() & orders["quantity"].notna())
    good = orders[~excluded & ~bad].drop_duplicates(["Name", "variant", "Lineitem price", "Lineitem quantity"])

    returned = read(shopify / "returns.csv").rename(columns={"Order": "order", "SKU": "variant"})
    returned["user"], returned["item"] = returned["Email"].str.strip().str.lower(), returned["variant"].map(known)
    returned["type"], returned["quantity"] = "refund", 1.0
    returned["value"], returned["at"] = returned["Amount"].astype(float).abs(), moments(returned["Returned at"])
    kept = returned[(returned["user"] != "") & returned["item"].notna() & ~returned["item"].isin(gifts)]
    both = pd.concat([good, kept.drop_duplicates(["order", "variant", "Amount"])])
    assert stored_events(installation) == recounted(installation, both)
    assert len(orders) + len(returned) == sum(entry["read"] for entry in entries)
    assert sum(entry["accepted"] for entry in entries) == len(both) > 400
    assert min(sum(entry[name] for entry in entries) for name in ("quarantined", "duplicate", "routed")) > 5


def test_a_catalogue_of_shopify_has_one_item_for_all_variants(installation: Installation, shopify: Path) -> None:
    [entry] = ingested("shopify", shopify)["items"]
    products = read(shopify / "products_export.csv")
    assert counted(entry)["routed"] == products["Handle"].nunique() == 60
    stored = {row["item_id"]: row for row in rows(installation, items)}
    for handle, own in products.groupby("Handle"):
        first, variants, row = own.iloc[0], own[own["Variant Price"] != ""], stored[handle]
        assert row["title"] == (first["Title"] or f"Item {handle}")
        assert row["category"] == (first["Product Category"].replace(" > ", "|") or first["Type"])
        assert (row["brand"], row["image"]) == (first["Vendor"], first["Image Src"])
        assert row["price"] == variants["Variant Price"].astype(float).min()
        assert row["available"] == (first["Gift Card"] == "false")
        endless = (variants["Variant Inventory Tracker"] == "") | (variants["Variant Inventory Policy"] == "continue")
        in_stock = (endless | (variants["Variant Inventory Qty"].astype(int) > 0)).any()
        assert row["in_stock"] == (in_stock and first["Published"] == "true" and first["Status"] == "active"), handle


def test_customers_of_shopify_keep_their_country_alone(installation: Installation, shopify: Path) -> None:
    ingested("shopify", shopify)
    table = read(shopify / "customers_export.csv").query("Email != ''")
    keys = pseudonyms(pa.array(table["Email"].str.lower()), installation.key).to_pylist()
    with installation.engine.connect() as connection:
        countries = connection.execute(select(users.c.user_key, users.c.attributes["country"].astext))
        stored = {row.user_key: row[1] for row in countries}
    assert {key: stored[key] or "" for key in keys} == dict(
        zip(keys, table["Default Address Country Code"], strict=True)
    )


def test_orders_of_woocommerce_agree_with_a_recount(installation: Installation, woocommerce: Path) -> None:
    [entry] = ingested("woocommerce", woocommerce)["events"]
    orders, products = read(woocommerce / "orders.csv"), read(woocommerce / "wc-product-export-1.csv")
    stated = ["Order Status", "Order Date", "Email (Billing)"]
    orders["Order Number"] = orders["Order Number"].where(orders["Order Number"] != "").ffill()
    orders[stated] = orders.groupby("Order Number")[stated].transform("first")
    own = products["SKU"].where(products["SKU"] != "", "id:" + products["ID"])
    products["item"] = products["Parent"].where(products["Type"].str.startswith("variation"), own)
    known = by_item(products, "item", products["SKU"], products["Name"])
    orders["user"] = orders["Email (Billing)"].str.strip().str.lower()
    stated_id = orders["SKU"].where(orders["SKU"] != "", orders["Item Name"])
    is_item = stated_id.isin(products["item"])
    orders["item"], orders["variant"] = stated_id.where(is_item, stated_id.map(known)), stated_id.where(~is_item, None)
    orders["quantity"] = pd.to_numeric(orders["Quantity (- Refund)"], errors="coerce")
    orders["value"] = (orders["quantity"] * orders["Item Cost"].astype(float)).round(2)
    status = orders["Order Status"].str.lower()
    back = (orders["quantity"] <= 0) | status.isin(["refunded", "cancelled"])
    orders["type"], orders["order"] = back.map({True: "refund", False: "purchase"}), orders["Order Number"]
    orders.loc[orders["quantity"] == 0, ["quantity", "value"]] = None
    orders["at"] = moments(orders["Order Date"])
    excluded = (orders["user"] == "") | status.isin(["pending payment", "on hold", "failed"])
    bad = orders["item"].isna() | (orders["Quantity (- Refund)"] == "some")
    good = orders[~excluded & ~bad]
    assert stored_events(installation) == recounted(installation, good)
    assert counted(entry)["routed"] == int(excluded.sum()) > 50
    assert counted(entry)["accepted"] == len(good) > 400


def test_a_catalogue_of_woocommerce_has_one_item_for_all_variations(
    installation: Installation, woocommerce: Path
) -> None:
    ingested("woocommerce", woocommerce)
    products = read(woocommerce / "wc-product-export-1.csv")
    parents = products[~products["Type"].str.startswith("variation")]
    stored = {row["item_id"]: row for row in rows(installation, items)}
    assert len(stored) == len(parents)
    for _, parent in parents.iterrows():
        item = parent["SKU"] or f"id:{parent['ID']}"
        all_rows, row = pd.concat([parent.to_frame().T, products[products["Parent"] == item]]), stored[item]
        prices = all_rows["Sale price"].where(all_rows["Sale price"] != "", all_rows["Regular price"])
        assert row["title"] == parent["Name"]
        paths = parent["Categories"].split(", ")
        assert (row["category"] or "") == next((one.replace(" > ", "|") for one in paths if ">" in one), paths[0])
        assert (row["brand"] or "") == parent["Brands"].split(", ")[0]
        assert row["price"] == pd.to_numeric(prices).min()
        assert (row["image"] or "") == parent["Images"].split(", ")[0]
        assert row["in_stock"] == (parent["Published"] == "1" and parent["In stock?"] == "1")


def test_products_in_json_make_the_catalogue_of_the_csv_export(
    installation: Installation, shopify: Path, tmp_path: Path
) -> None:
    def catalogue() -> dict[str, tuple[Any, ...]]:
        names = ("title", "price", "image", "brand", "in_stock")
        stored = {row["item_id"]: row for row in rows(installation, items)}
        return {
            item: (*(row[name] for name in names), row["attributes"].get("variant_ids")) for item, row in stored.items()
        }

    table = read(shopify / "products_export.csv")
    table["Variant Inventory Tracker"], table["Variant Inventory Policy"], table["Published"] = (
        "shopify",
        "deny",
        "true",
    )
    table.to_csv(shopify / "products_export.csv", index=False)
    ingested("shopify", shopify)
    by_csv = catalogue()
    products = []
    for handle, own in table.groupby("Handle"):
        first, variants = own.iloc[0], own[own["Variant Price"] != ""]
        sizes = [
            {
                "sku": row["Variant SKU"].strip(),
                "price": row["Variant Price"],
                "inventory_quantity": int(row["Variant Inventory Qty"]),
            }
            for _, row in variants.iterrows()
        ]
        named = {
            "handle": handle,
            "title": first["Title"] or None,
            "vendor": first["Vendor"],
            "product_type": "Kleidung",
        }
        products.append({**named, "status": first["Status"], "image": {"src": first["Image Src"]}, "variants": sizes})
    (tmp_path / "products.json").write_text(json.dumps({"products": products}))
    page = (Path(__file__).parents[3] / "docs" / "shopify.md").read_text()
    (tmp_path / "products.toml").write_text(re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[0])
    entry = ingest_items.fn(str(tmp_path / "products.toml"), str(tmp_path / "products.json"), None)
    assert counted(entry)["routed"] == 60
    by_json = catalogue()
    assert {item: row[:-1] for item, row in by_json.items()} == {item: row[:-1] for item, row in by_csv.items()}
    for item, row in by_json.items():
        assert set((row[-1] or "").split("\n")) - {""} <= set((by_csv[item][-1] or "").split("\n"))


@pytest.mark.usefixtures("installation")
@pytest.mark.parametrize("name", ["shopify", "woocommerce"])
def test_a_check_of_the_exports_finds_their_orders(name: str, tmp_path: Path) -> None:
    getattr(shop_exports, name)(tmp_path, 8)
    checked = check_mapping(name, [str(path) for path in tmp_path.glob("*.csv")], CONSENT)
    assert checked["accepted"], [(table["file"], table["refused"]) for table in checked["tables"]]
    assert {table["part"] for table in checked["tables"] if table["counts"]["accepted"]} == {"events"}
