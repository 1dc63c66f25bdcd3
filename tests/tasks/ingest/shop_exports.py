"""Made-up exports of Shopify and WooCommerce, with the dirt of real ones."""

from pathlib import Path

import numpy as np
import pandas as pd

_WORDS = ("Hemd", "Hose", "Jacke", "Schal", "Mütze")
_STATUSES = ("paid", "partially_refunded", "partially_paid", "refunded", "pending", "voided", "authorized", "expired")
_SHARES = (0.62, 0.04, 0.02, 0.06, 0.1, 0.08, 0.04, 0.04)


def emails(random: np.random.Generator, count: int) -> list[str]:
    """Return addresses as people type them: the same user in several spellings, and orders without one."""
    people = random.integers(0, max(2, count // 6), count)
    forms = ("p{}@shop.test", "P{}@Shop.test", " p{}@shop.test ")
    return [forms[random.choice(3, p=[0.8, 0.1, 0.1])].format(one) if random.random() > 0.03 else "" for one in people]


def shopify(folder: Path, seed: int) -> None:
    """Write products_export.csv, orders_export_1.csv, orders_export_2.csv (overlapping), customers and returns."""
    random = np.random.default_rng(seed)
    products = _shopify_products(random)
    products.to_csv(folder / "products_export.csv", index=False)
    orders = _shopify_orders(random, products)
    names = orders["Name"].drop_duplicates().tolist()
    for number, kept in enumerate((names[:200], names[150:]), 1):
        orders[orders["Name"].isin(kept)].to_csv(folder / f"orders_export_{number}.csv", index=False)
    sold = orders[(orders["Lineitem sku"] != "") & (orders["Lineitem sku"] != "CUSTOM")]
    back = sold.sample(40, random_state=seed)
    first = orders.drop_duplicates("Name").set_index("Name")["Email"]
    returns = {
        "Order": back["Name"],
        "Email": back["Name"].map(first),
        "SKU": back["Lineitem sku"],
        "Quantity": "1",
        "Amount": "-" + back["Lineitem price"],
        "Returned at": "2024-09-01 10:00:00 +0200",
    }
    pd.DataFrame(returns).to_csv(folder / "returns.csv", index=False)
    users = pd.DataFrame({"Customer ID": range(80), "Email": [f"P{n}@shop.test" for n in range(79)] + [""]})
    users["Accepts Email Marketing"], users["Default Address Country Code"] = "no", random.choice(["DE", "AT", ""], 80)
    users.to_csv(folder / "customers_export.csv", index=False)


def _shopify_products(random: np.random.Generator) -> pd.DataFrame:
    rows = []
    for number in range(60):
        own = {
            "Handle": f"p-{number}",
            "Title": f"{_WORDS[number % 5]} {number}" if number != 7 else "",
            "Vendor": f"Marke {number % 4}",
            "Product Category": "Apparel > Clothing" if number % 3 else "",
            "Type": "Kleidung",
            "Published": "false" if number == 11 else "true",
            "Gift Card": "true" if number == 12 else "false",
            "Status": "draft" if number == 13 else "active",
        }
        sizes = ["Default Title"] if number % 5 == 0 else list("SMLX")[: 1 + number % 4]
        for place, size in enumerate(sizes):
            sku = f"SKU-{number}-{place}" if number % 9 else ""
            sku = "DOUBLE" if number in (21, 22) and place == 0 else sku
            rows.append(
                {
                    **(own if place == 0 else {"Handle": own["Handle"]}),
                    "Option1 Value": size,
                    "Option2 Value": "Rot" if number % 4 == 1 and size != "Default Title" else "",
                    "Variant SKU": f" {sku}" if number == 31 else sku,
                    "Variant Inventory Tracker": "shopify" if number % 7 else "",
                    "Variant Inventory Policy": "continue" if number == 15 else "deny",
                    "Variant Inventory Qty": str(random.integers(-1, 3)),
                    "Variant Price": f"{random.integers(500, 9000) / 100:.2f}",
                    "Image Src": f"https://cdn.test/{number}.jpg" if place == 0 else "",
                }
            )
        rows.append({"Handle": own["Handle"], "Image Src": f"https://cdn.test/{number}-back.jpg"})
    return pd.DataFrame(rows).fillna("")


def variant_names(products: pd.DataFrame) -> pd.Series:
    """Return the name of each variant in lines of orders."""
    titles = products["Handle"].map(products[products["Title"] != ""].set_index("Handle")["Title"])
    options = products[["Option1 Value", "Option2 Value"]].apply(lambda row: " / ".join(filter(None, row)), axis=1)
    return titles.where(products["Option1 Value"].isin(["", "Default Title"]), titles + " - " + options)


def _shopify_orders(random: np.random.Generator, products: pd.DataFrame) -> pd.DataFrame:
    variants = products[products["Variant Price"] != ""].assign(name=variant_names(products))
    addresses, rows = emails(random, 420), []
    for number, address in enumerate(addresses):
        status, cancelled = random.choice(_STATUSES, p=_SHARES), random.random() < 0.05
        at = pd.Timestamp("2024-01-01 09:00") + pd.Timedelta(minutes=int(random.integers(0, 200_000)))
        order = {
            "Name": f"#{1000 + number}",
            "Email": address,
            "Financial Status": "exploded" if number == 5 else status,
            "Currency": "EUR",
            "Created at": f"{at} +0100",
            "Cancelled at": f"{at + pd.Timedelta(days=1)} +0100" if cancelled else "",
        }
        lines = variants.sample(int(random.integers(1, 5)), random_state=int(random.integers(1 << 30)))
        for place, (_, variant) in enumerate(lines.iterrows()):
            custom = random.random() < 0.02
            rows.append(
                {
                    **(order if place == 0 else {"Name": order["Name"]}),
                    "Lineitem quantity": "some" if number == 9 and place == 0 else str(random.integers(1, 4)),
                    "Lineitem name": "Trinkgeld" if custom else variant["name"] or "?",
                    "Lineitem price": variant["Variant Price"],
                    "Lineitem sku": "CUSTOM" if custom else variant["Variant SKU"].strip(),
                    "Lineitem discount": random.choice(["0.00", "1.00"]),
                }
            )
    return pd.DataFrame(rows).fillna("")


def woocommerce(folder: Path, seed: int) -> None:
    """Write wc-product-export.csv, orders.csv and customers.csv."""
    random = np.random.default_rng(seed)
    products = _woo_products(random)
    products.to_csv(folder / "wc-product-export-1.csv", index=False)
    sellable = products[products["Type"] != "variable"]
    statuses = ("Completed", "Processing", "Refunded", "Cancelled", "Pending payment", "On hold", "Failed")
    rows = []
    for number, address in enumerate(emails(random, 400)):
        at = pd.Timestamp("2024-01-01 09:00") + pd.Timedelta(minutes=int(random.integers(0, 200_000)))
        order = {
            "Order Number": str(500 + number),
            "Order Status": random.choice(statuses, p=[0.5, 0.14, 0.08, 0.08, 0.1, 0.05, 0.05]),
            "Order Date": at.strftime("%Y-%m-%d %H:%M"),
            "Email (Billing)": address,
        }
        lines = sellable.sample(int(random.integers(1, 4)), random_state=int(random.integers(1 << 30)))
        for place, (_, product) in enumerate(lines.iterrows(), 1):
            quantity = "some" if number == 9 and place == 1 else str(random.integers(0, 4))
            own = {"SKU": product["SKU"], "Item #": str(place), "Item Name": product["Name"], "Item Cost": "9.50"}
            on_all = {"Order Number": order["Order Number"]} if number % 2 else {}
            repeated = order if place == 1 else on_all
            rows.append({**repeated, **own, "Quantity (- Refund)": quantity})
    pd.DataFrame(rows).fillna("").to_csv(folder / "orders.csv", index=False)
    users = pd.DataFrame({"Name": "x", "Email": [f"P{n}@shop.test" for n in range(60)], "Country / Region": "DE"})
    users.to_csv(folder / "customers.csv", index=False)


def _woo_products(random: np.random.Generator) -> pd.DataFrame:
    rows = []
    for number in range(60):
        sizes, sku = range(number % 4), f"W{number}" if number % 6 else ""
        own = {
            "ID": str(100 + 10 * number),
            "Type": "variable" if len(sizes) else "simple, virtual" if number % 8 else "simple",
            "SKU": sku,
            "Name": f"{_WORDS[number % 5]} {number}",
            "Published": "0" if number == 13 else "1",
            "In stock?": str(int(random.random() < 0.8)),
            "Categories": ("Mode, Mode > Damen, Neu", "Mode, Neu", "")[number % 3],
            "Brands": f"Marke {number % 3}, Eigene" if number % 5 else "",
            "Regular price": "" if len(sizes) else "20.00",
            "Images": f"https://cdn.test/{number}.jpg, https://cdn.test/{number}-2.jpg" if number % 2 else "",
        }
        rows.append(own)
        for size in sizes:
            variation = {
                "ID": str(101 + 10 * number + size),
                "Type": "variation, virtual" if size == 2 else "variation",
                "Name": f"{own['Name']} - {size}",
            }
            variation |= {"SKU": f"{sku}-{size}" if sku and size else "", "Parent": sku or f"id:{own['ID']}"}
            prices = {"Regular price": f"{random.integers(10, 30)}.00", "Sale price": random.choice(["", "8.00"])}
            rows.append({**variation, **prices, "Published": "1", "In stock?": "1"})
    return pd.DataFrame(rows).fillna("")
