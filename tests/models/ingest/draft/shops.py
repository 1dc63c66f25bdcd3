"""Exports of made-up shops, dirty in the ways in which real ones are."""

import random
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from models.primitives.json_types import JsonObject

_START: Final = datetime(2024, 1, 3, 8, 0)
ORDERS: Final = 400
PRODUCTS: Final = 60
CUSTOMERS: Final = 80


def _rows(seed: int) -> list[JsonObject]:
    """Order lines: order, customer, product, pieces, price, time."""
    chance, lines = random.Random(seed), []  # noqa: S311 -- made-up data
    for order in range(ORDERS):
        customer, when = chance.randrange(CUSTOMERS), _START + timedelta(minutes=chance.randrange(400_000))
        for product in chance.sample(range(PRODUCTS), chance.randrange(1, 4)):
            pieces = chance.choice([1, 1, 2, 3])
            lines.append(
                {"order": 1000 + order, "customer": customer, "product": product, "pieces": pieces, "when": when}
                | {"price": round(3 + product * 1.37, 2)}
            )
    return lines


def _csv(path: Path, header: str, rows: Sequence[str], separator: str = ",", encoding: str = "utf-8") -> Path:
    """Write rows whose cells a bar separates."""

    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if any(sign in text for sign in (separator, '"', "\n")) else text

    lines = [separator.join(map(cell, row.split("|"))) for row in [header, *rows]]
    path.write_bytes(("\r\n".join(lines) + "\r\n").encode(encoding))
    return path


def shopify(folder: Path) -> list[Path]:
    """Orders whose further lines repeat only some columns, variants without a title, guests without an address."""
    rows, seen = [], set()
    for line in _rows(1):
        first = line["order"] not in seen
        seen.add(line["order"])
        email = "" if line["order"] % 25 == 0 else f"c{line['customer']}@mail.example"
        status = ("refunded" if line["order"] % 40 == 0 else "paid") if first else ""
        when = f"{line['when']:%Y-%m-%d %H:%M:%S} +0200"
        total = "99.00" if first else ""
        sku = "" if line["product"] == 7 else f"SKU-{line['product']:03}"
        name = f"Shirt {line['product']} - M"
        rows.append(
            f"#{line['order']}|{email}|{status}|{'USD' if first else ''}|{total}|{when}|"
            f"{line['pieces']}|{name}|{line['price']}|{sku}|{'DE' if first else ''}"
        )
    header = (
        "Name|Email|Financial Status|Currency|Total|Created at|Lineitem quantity|"
        "Lineitem name|Lineitem price|Lineitem sku|Shipping Country"
    )
    orders = _csv(folder / "orders_export.csv", header, rows)
    products = []
    for n in range(PRODUCTS):
        page = (
            f"shirt-{n}|Shirt {n}|<p>Soft</p>\n<p>Warm</p>|{'Acme' if n % 2 else 'Bolt'}|"
            f"Apparel > {'Shirts' if n % 3 else 'Coats'}|SKU-{n:03}|{round(3 + n * 1.37, 2)}|{n + 1}|"
            f"https://cdn.example/{n}.jpg|active"
        )
        products += [page, f"shirt-{n}||||||||https://cdn.example/{n}b.jpg|"]
    header = (
        "Handle|Title|Body (HTML)|Vendor|Product Category|Variant SKU|"
        "Variant Price|Variant Inventory Qty|Image Src|Status"
    )
    people = [
        (f"{n + 7000}|Ann|N{n}|c{n}@mail.example|{'yes' if n % 2 else 'no'}|{'DE' if n % 3 else 'AT'}|+49 1|{n}")
        for n in range(CUSTOMERS)
    ]
    made = _csv(folder / "products_export.csv", header, products)
    header = (
        "Customer ID|First Name|Last Name|Email|Accepts Email Marketing|Default Address Country Code|Phone|Total Orders"
    )
    return [orders, made, _csv(folder / "customers_export.csv", header, people)]


def woocommerce(folder: Path) -> list[Path]:
    """Order items with states of orders, products with paths of categories."""
    rows = [
        (
            f"{line['order']}|{'Cancelled' if line['order'] % 30 == 0 else 'Completed'}|"
            f"{line['when']:%Y-%m-%d %H:%M}|{line['customer'] + 1}|c{line['customer']}@mail.example|FR|"
            f"{place}|{line['product'] + 500}|W-{line['product']}|Mug {line['product']}|"
            f"{-line['pieces'] if line['order'] % 50 == 0 else line['pieces']}|{line['price']}|250.00"
        )
        for place, line in enumerate(_rows(2), 1)
    ]
    header = (
        "Order Number|Order Status|Order Date|Customer User ID|Email (Billing)|Country Code (Billing)|"
        "Item #|Product Id|SKU|Item Name|Quantity (- Refund)|Item Cost|Order Total Amount"
    )
    orders = _csv(folder / "orders.csv", header, rows)
    products = [
        (
            f"{n + 500}|simple|W-{n}|Mug {n}|1|{'Kitchen > Mugs, Sale' if n % 2 else 'Kitchen > Cups'}|"
            f"{round(3 + n * 1.37, 2)}|{'' if n % 4 else 2.5}|1|https://shop.example/{n}.png"
        )
        for n in range(PRODUCTS)
    ]
    header = "ID|Type|SKU|Name|Published|Categories|Regular price|Sale price|In stock?|Images"
    return [orders, _csv(folder / "wc-product-export.csv", header, products)]


def german(folder: Path) -> list[Path]:
    """Semicolons, decimal commas, thousands with a dot, days first, Windows' own characters."""

    def money(value: float) -> str:
        return f"{value:,.2f}".replace(",", "x").replace(".", ",").replace("x", ".")

    rows = [
        (
            f"{line['order']}|{40_000 + line['customer']}|{line['when']:%d.%m.%Y %H:%M}|"
            f"{line['product']:05}|Stück {line['product']}|{line['pieces']}|{money(line['price'] * 40)}|"
            f"EUR|"
        )
        for line in _rows(3)
    ]
    header = "Bestellnummer|Kundennummer|Bestelldatum|Artikelnummer|Bezeichnung|Menge|Einzelpreis|Währung|Bemerkung"
    orders = _csv(folder / "bestellungen.csv", header, rows, ";", "windows-1252")
    items = [
        (
            f"{n:05}|Stühle & Tische {n}|{'Möbel' if n % 2 else 'Küche'}|{money((3 + n * 1.37) * 40)}|"
            f"{'Müller' if n % 3 else 'Nordic'}|{n}"
        )
        for n in range(PRODUCTS)
    ]
    header = "Artikelnummer|Bezeichnung|Warengruppe|Preis|Hersteller|Lagerbestand"
    articles = _csv(folder / "artikel.csv", header, items, ";", "windows-1252")
    people = [
        (
            f"{40_000 + n}|Frau|Müller{n}|k{n}@post.example|{'Österreich' if n % 4 else 'Schweiz'}|"
            f"{'ja' if n % 2 else 'nein'}|{n % 28 + 1:02}.02.2023"
        )
        for n in range(CUSTOMERS)
    ]
    header = "Kundennummer|Anrede|Nachname|E-Mail|Land|Einwilligung|angelegt am"
    return [orders, articles, _csv(folder / "kunden.csv", header, people, ";", "windows-1252")]


def order_lines(folder: Path) -> list[Path]:
    """One table of order lines with American dates, signs of currency, returns and customers that are missing."""
    rows = [
        (
            f"{line['order']}|{'' if line['order'] % 20 == 0 else line['customer'] + 10_000}|"
            f"{line['when'].month}/{line['when'].day}/{line['when']:%Y %H:%M}|A{line['product']}|"
            f"LAMP {line['product']}|{-line['pieces'] if line['order'] % 33 == 0 else line['pieces']}|"
            f"${line['price'] * 300:,.2f}|{'United Kingdom' if line['customer'] % 5 else 'France'}"
        )
        for line in _rows(4)
    ]
    header = "InvoiceNo|CustomerID|InvoiceDate|StockCode|Description|Quantity|UnitPrice|Country"
    return [_csv(folder / "lines.csv", header, rows)]


def clickstream(folder: Path) -> list[Path]:
    """Events with times in milliseconds and words of their own, and a catalogue, both Parquet."""
    chance = random.Random(5)  # noqa: S311 -- made-up data
    words = ["page_view", "page_view", "page_view", "addToCart", "transaction", "scroll"]
    rows = [
        {
            "visitorid": chance.randrange(1, 200),
            "event": chance.choice(words),
            "itemid": chance.randrange(PRODUCTS),
            "timestamp": 1_704_300_000_000 + 61_003 * n,
            "transactionid": None,
        }
        for n in range(2_000)
    ]
    names, kinds = ("timestamp", "visitorid", "event", "itemid", "transactionid"), {"event": pa.string()}
    events = folder / "events.parquet"
    pq.write_table(pa.Table.from_pylist(rows, pa.schema({name: kinds.get(name, pa.int64()) for name in names})), events)
    items = folder / "items.parquet"
    pq.write_table(
        pa.table(
            {
                "itemid": list(range(PRODUCTS)),
                "name": [f"Film {n}" for n in range(PRODUCTS)],
                "genre": ["Drama" if n % 2 else "Comedy" for n in range(PRODUCTS)],
                "release_year": [1990 + n % 30 for n in range(PRODUCTS)],
            }
        ),
        items,
    )
    return [events, items]


def ratings(folder: Path) -> list[Path]:
    """Ratings of films with seconds since 1970, as in research data."""
    chance = random.Random(6)  # noqa: S311 -- made-up data
    rows = [
        f"{chance.randrange(1, 90)}|{chance.randrange(1, PRODUCTS)}|"
        f"{chance.randrange(1, 11) / 2}|{1_260_759_144 + 977 * n}"
        for n in range(1_500)
    ]
    made = _csv(folder / "ratings.csv", "userId|movieId|rating|timestamp", rows)
    films = [f"{n},Film {n} ({1980 + n}),{'Comedy|Drama' if n % 2 else 'Action'}" for n in range(1, PRODUCTS)]
    movies = folder / "movies.csv"
    movies.write_bytes("\r\n".join(["movieId,title,genres", *films, ""]).encode())
    return [made, movies]


SHOPS: Final[MappingProxyType[str, Callable[[Path], list[Path]]]] = MappingProxyType(
    {
        "shopify": shopify,
        "woocommerce": woocommerce,
        "german": german,
        "order_lines": order_lines,
        "clickstream": clickstream,
        "ratings": ratings,
    }
)
