"""Three dirty CSV files of a made-up shop, each as another tool would export it: orders, products, customers."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from benchmarks.foreign_shop.export import SERVICES, export

_ORDER_COLUMNS: Final = ["Bestellnummer", "Bestelldatum", "Kundennummer", "Artikelnummer", "Menge", "Einzelpreis"]
_MOMENT: Final = "%d.%m.%Y %H:%M"


@dataclass(frozen=True)
class CsvShop:
    """The order lines of such a shop, and its files."""

    lines: pd.DataFrame

    @property
    def months(self) -> list[pd.Timestamp]:
        """Return the first moment of each month with orders."""
        return sorted(self.lines["InvoiceDate"].dt.to_period("M").dt.start_time.unique())

    @property
    def regular(self) -> str:
        """Return the customer with the most orders."""
        orders = self.lines.drop_duplicates("InvoiceNo")["CustomerID"].value_counts()
        return str(orders.index[0]).removesuffix(".0")

    def write(self, folder: Path, until: pd.Timestamp | None = None) -> Path:
        """Write orders.csv up to a moment, products.csv and customers.csv; returns the folder."""
        folder.mkdir(exist_ok=True)
        lines = self.lines if until is None else self.lines[self.lines["InvoiceDate"] < until]
        _orders(lines).to_csv(folder / "orders.csv", sep=";", index=False, encoding="latin-1", lineterminator="\r\n")
        _products(self.lines).to_csv(folder / "products.csv", index=False, encoding="utf-8-sig", quoting=csv.QUOTE_ALL)
        _customers(self.lines).to_csv(folder / "customers.csv", sep="\t", index=False, encoding="utf-16")
        return folder


def made(n_items: int, n_customers: int, seed: int) -> CsvShop:
    """Make a shop of that size: goods alone, of customers and of guests, with cancellations and repeats."""
    rows = export(n_items, n_customers, seed).rows
    code = rows["StockCode"].str.strip().str.upper()
    goods = ~code.isin(SERVICES) & (rows["UnitPrice"] > 0) & (rows["Quantity"] > 0)
    return CsvShop(rows.assign(StockCode=code)[goods].reset_index(drop=True))


def _orders(lines: pd.DataFrame) -> pd.DataFrame:
    """Return the order lines with a decimal comma and German days, and in one of 400 an unreadable cell."""
    price = lines["UnitPrice"].map("{:.2f}".format).str.replace(".", ",")
    moment = lines["InvoiceDate"].dt.strftime(_MOMENT)
    place = np.arange(len(lines))
    table = pd.DataFrame(
        {
            "Bestellnummer": lines["InvoiceNo"],
            "Bestelldatum": moment.mask(place % 1_200 == 400, "31.02.2025 10:00"),
            "Kundennummer": lines["CustomerID"].str.removesuffix(".0").fillna("Gast"),
            "Artikelnummer": lines["StockCode"],
            "Menge": lines["Quantity"].astype(str).mask(place % 1_200 == 800, "zwölf"),
            "Einzelpreis": price.mask(place % 1_200 == 0, "k. A."),
        }
    )
    return table[_ORDER_COLUMNS]


def _products(lines: pd.DataFrame) -> pd.DataFrame:
    """Return a row a product: some titles go over two lines, the category is a path, the stock a number."""
    last = lines.dropna(subset=["Description"]).drop_duplicates("StockCode", keep="last").sort_values("StockCode")
    title = last["Description"].str.strip().str.upper()
    words = title.str.split()
    place = np.arange(len(last))
    return pd.DataFrame(
        {
            "sku": last["StockCode"],
            "name": title.mask(place % 20 == 3, title + "\nlimited edition"),
            "price": last["UnitPrice"].round(2),
            "category": words.str[0] + " > " + words.str[1],
            "stock": np.where(place % 15 == 7, 0, 5 + place % 40),
            "url": "https://shop.example/p/" + last["StockCode"],
        }
    )


def _customers(lines: pd.DataFrame) -> pd.DataFrame:
    """Return a row a customer."""
    first = lines.dropna(subset=["CustomerID"]).drop_duplicates("CustomerID").sort_values("CustomerID")
    return pd.DataFrame(
        {
            "id": first["CustomerID"].str.removesuffix(".0"),
            "email": "customer-" + first["CustomerID"].str.removesuffix(".0") + "@shop.example",
            "country": first["Country"],
            "since": first["InvoiceDate"].dt.strftime("%Y-%m-%d"),
        }
    )
