"""Simulates the raw table of a wholesaler: invoices, cancellations, guests, services, warehouse notes and repeats.

The columns and the kinds of dirt are those of the public table "Online Retail" (Chen, Sain and Guo 2012, UCI 352);
every row is simulated.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.foreign_shop.orders import DAYS, HOME, Items, Lines, countries, made, ordered

START: Final = datetime(2024, 12, 1)
_SERVICES: Final = {
    "POST": "POSTAGE",
    "DOT": "DOTCOM POSTAGE",
    "C2": "CARRIAGE",
    "M": "Manual",
    "D": "Discount",
    "S": "SAMPLES",
    "BANK CHARGES": "Bank Charges",
    "AMAZONFEE": "AMAZON FEE",
    "CRUK": "CRUK Commission",
    "gift_0001_20": "Dotcomgiftshop Gift Voucher £20.00",
}
"""Lines of an invoice that are no goods, by code."""
SERVICES: Final = frozenset(code.upper() for code in _SERVICES)
NOTES: Final = ("check", "?", "damaged", "smashed", "wrongly marked", "found", "Thrown away", "missing", "adjustment")
"""Notes of the warehouse in place of a title, in rows without a customer and a price."""

CLOSED: Final = (24, 367)
"""First days of the weeks in which the shop is closed; the second one follows the first export."""
WEEK: Final = timedelta(days=7)
GUESTS_PAY: Final = 1.9
"""Guests come from a marketplace, which pays more than customers do."""

_FIRST_INVOICE: Final = 536_365
_FIRST_CUSTOMER: Final = 12_346
_COLUMNS: Final = (
    *("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"),
)


@dataclass(frozen=True)
class Export:
    """The table, with facts that only its generator knows."""

    rows: pd.DataFrame
    """Rows by time; the invoice's date as datetime64, the customer as text such as `12346.0`, null for guests."""
    later: pd.DataFrame
    """Rows of the two weeks after the second closed one, as a second export."""
    always_cancelled: tuple[str, ...]
    """Codes of goods whose sales were all cancelled."""


def export(n_items: int, n_customers: int, seed: int) -> Export:
    """Make the table of a shop of that size."""
    random = np.random.default_rng(seed)
    items = made(n_items, random)
    lines = ordered(items, n_customers, random)
    country = countries(n_customers, random)
    sold = _sold(items, lines, country, random)
    more = sold.sample(frac=0.01, random_state=seed)
    sold = pd.concat([sold, more.assign(Quantity=more["Quantity"] + 1)], ignore_index=True)
    always_cancelled = items.codes[random.choice(n_items, size=max(3, n_items // 300), replace=False)]
    parts = [
        sold,
        _cancelled(sold, always_cancelled, random),
        _services(sold, random),
        _notes(items, random),
    ]
    rows = pd.concat(parts, ignore_index=True)
    rows = pd.concat([rows, rows.sample(frac=0.01, random_state=seed)])
    rows = rows.assign(InvoiceDate=_with_closed_weeks(rows["InvoiceDate"]))
    rows = rows.sort_values(["InvoiceDate", "InvoiceNo", "StockCode"], kind="stable").reset_index(drop=True)
    is_later = rows["InvoiceDate"] >= START + timedelta(days=CLOSED[-1])
    first, later = rows[~is_later][list(_COLUMNS)], rows[is_later][list(_COLUMNS)].reset_index(drop=True)
    settled = set(always_cancelled.tolist()) - set(later["StockCode"].str.strip().str.upper())
    return Export(first, later, tuple(sorted(settled)))


def _with_closed_weeks(moments: pd.Series) -> pd.Series:
    """Return the moments with all from the beginning of a closed week on a week later: their order stays."""
    for day in CLOSED:
        moments = moments.where(moments < START + timedelta(days=day), moments + WEEK)
    return moments


def _sold(items: Items, lines: Lines, country: NDArray[np.str_], random: np.random.Generator) -> pd.DataFrame:
    """Return invoices: a quarter of the rows by guests, some misspelt titles, some prices of 0, one absurd quantity."""
    guest = np.isin(lines.order, np.flatnonzero(random.random(lines.order.max() + 1) < 0.25))
    quantity = lines.quantity.copy()
    quantity[random.integers(len(quantity))] = 80_995
    discount = np.where(quantity >= 24, 0.8, 1.0)
    price = np.round(items.price[lines.item] * discount, 2)
    price = np.where(guest, np.round(price * GUESTS_PAY, 2), price)
    price[random.random(len(price)) < 0.0005] = 0.0
    codes = pd.Series(items.codes[lines.item])
    misspelt = random.random(len(codes)) < 0.01
    titles = items.titles[lines.item].astype(object)
    odd = random.random(len(titles)) < 0.02
    titles[odd] = [f" {title.title()} " if at % 2 else f"{title} " for at, title in enumerate(titles[odd])]
    titles[random.random(len(titles)) < 0.002] = None
    customer = np.array([f"{_FIRST_CUSTOMER + number}.0" for number in range(lines.customer.max() + 1)], dtype=object)
    return pd.DataFrame(
        {
            "InvoiceNo": (_FIRST_INVOICE + lines.order).astype(str),
            "StockCode": codes.mask(misspelt, codes.str.lower() + " "),
            "Description": titles,
            "Quantity": quantity,
            "InvoiceDate": pd.to_datetime(START) + pd.to_timedelta(lines.second, unit="s"),
            "UnitPrice": price,
            "CustomerID": pd.Series(customer[lines.customer]).mask(guest, None),
            "Country": np.where(guest, HOME, country[lines.customer]),
        }
    )


def _cancelled(sold: pd.DataFrame, always_cancelled: NDArray[np.str_], random: np.random.Generator) -> pd.DataFrame:
    """Return cancellations days later, without their invoice's number, of all or some pieces, some of older orders."""
    codes = sold["StockCode"].str.strip().str.upper()
    whole = codes.isin(always_cancelled).to_numpy()
    cancelled = whole | (random.random(len(sold)) < 0.02)
    chosen = sold[cancelled].copy()
    part = (random.random(len(chosen)) < 0.3) & ~whole[cancelled]
    chosen["Quantity"] = -np.where(part, np.maximum(1, chosen["Quantity"] // 2), chosen["Quantity"])
    later = chosen["InvoiceDate"] + pd.to_timedelta(random.integers(1, 40, size=len(chosen)) * 1440 + 7, unit="min")
    chosen["InvoiceDate"] = later.clip(upper=pd.to_datetime(START + timedelta(days=DAYS)))
    chosen["InvoiceNo"] = "C" + (900_000 + np.arange(len(chosen))).astype(str).astype(object)
    strangers = chosen.sample(frac=0.05, random_state=int(random.integers(2**31)))
    shuffled = strangers["StockCode"].to_numpy()[::-1]
    before = strangers.assign(InvoiceNo="C8" + strangers["InvoiceNo"].str[1:], StockCode=shuffled)
    return pd.concat([chosen, before])


def _services(sold: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Return postage and other services on one invoice in five, mostly abroad, with the same codes each time."""
    invoices = sold.drop_duplicates("InvoiceNo")
    likely = np.where(invoices["Country"] == HOME, 0.12, 0.9)
    chosen = invoices[random.random(len(invoices)) < likely].copy()
    codes = np.array(list(_SERVICES))
    weight = np.array([0.6, 0.1, 0.08, 0.1, 0.05, 0.02, 0.02, 0.01, 0.01, 0.01])
    chosen["StockCode"] = random.choice(codes, size=len(chosen), p=weight)
    chosen["Description"] = chosen["StockCode"].map(_SERVICES)
    chosen["UnitPrice"] = np.round(random.lognormal(2.5, 1.0, size=len(chosen)), 2)
    discount = (chosen["StockCode"] == "D").to_numpy()
    chosen["Quantity"] = np.where(discount, -1, 1)
    chosen.loc[discount, "InvoiceNo"] = "C" + chosen.loc[discount, "InvoiceNo"]
    return chosen


def _notes(items: Items, random: np.random.Generator) -> pd.DataFrame:
    """Return warehouse rows: a real code, a note as title, any quantity, no price and no customer."""
    n = max(10, len(items.codes) // 2)
    minutes = random.integers(0, DAYS * 1440, size=n)
    return pd.DataFrame(
        {
            "InvoiceNo": (700_000 + np.arange(n)).astype(str),
            "StockCode": random.choice(items.codes, size=n),
            "Description": random.choice(NOTES, size=n),
            "Quantity": random.integers(-300, 300, size=n),
            "InvoiceDate": pd.to_datetime(START) + pd.to_timedelta(minutes, unit="min"),
            "UnitPrice": 0.0,
            "CustomerID": None,
            "Country": HOME,
        }
    )
