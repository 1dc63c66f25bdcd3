"""Counts the ledger and the purchases that were kept, from raw rows, with code that is independent of the product.

Rows without a customer do not count. Services are no goods. A line without a price or with an absurd quantity is no
sale. A line that an invoice repeats exactly counts once. A cancellation takes back the pieces of the item that its
customer bought last, then earlier ones. If it names an order (`ReturnOf`), it takes back pieces of that order alone,
before those that name none.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

MOST_PIECES: Final = 100_000
"""Largest quantity of a line; the mapping's limit."""
ZONE: Final = "Europe/London"
"""Time zone of the table, as in the mapping."""
LINE: Final = ["InvoiceNo", "StockCode", "Quantity", "UnitPrice"]
"""Columns that identify a line of an invoice; an equal line is a repeat."""
COUNTS: Final = ("read", "accepted", "quarantined", "duplicate", "suppressed", "routed")


@dataclass
class Purchase:
    """One line of an invoice, and its pieces that were not taken back."""

    user: str
    item: str
    invoice: str
    at: pd.Timestamp
    remaining: float


def tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with codes in one spelling and times in UTC (without a zone)."""
    moments = rows["InvoiceDate"].dt.tz_localize(ZONE, ambiguous=True, nonexistent="shift_forward")
    utc = moments.dt.tz_convert("UTC").dt.tz_localize(None)
    return rows.assign(StockCode=rows["StockCode"].str.strip().str.upper(), InvoiceDate=utc)


def services_of(rows: pd.DataFrame) -> frozenset[str]:
    """Return the codes that are no goods: goods have five digits and possibly a letter."""
    codes = pd.Series(rows["StockCode"].str.strip().str.upper().unique())
    return frozenset(codes[~codes.str.match(r"\d{5}")])


def of_customers(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a customer, as `user`."""
    known = rows[rows["CustomerID"].notna()]
    return known.assign(user=known["CustomerID"].str.removesuffix(".0"))


def sound(rows: pd.DataFrame, services: Collection[str]) -> pd.Series:
    """Return which rows are sales or cancellations of goods with a price and a plausible quantity."""
    goods = ~rows["StockCode"].isin(services)
    return goods & (rows["UnitPrice"] > 0) & (rows["Quantity"] != 0) & (rows["Quantity"].abs() <= MOST_PIECES)


def net_purchases(
    rows: pd.DataFrame, services: Collection[str], until: pd.Timestamp
) -> tuple[list[Purchase], set[str]]:
    """Return the purchases before `until` with a kept piece, and the items without any kept piece.

    `rows` are tidy.
    """
    known = of_customers(rows)
    known = known[sound(known, services) & (known["InvoiceDate"] < until)].drop_duplicates([*LINE, "user"])
    cancelled = known["InvoiceNo"].str.startswith("C")
    made: defaultdict[tuple[str, str], list[Purchase]] = defaultdict(list)
    for row in known[~cancelled & (known["Quantity"] > 0)].sort_values("InvoiceDate", kind="stable").itertuples():
        entry = Purchase(row.user, row.StockCode, row.InvoiceNo, row.InvoiceDate, row.Quantity)
        made[row.user, row.StockCode].append(entry)
    returned = known[cancelled].sort_values("InvoiceDate", kind="stable")
    if "ReturnOf" in returned:
        returned = returned.sort_values("ReturnOf", key=pd.Series.isna, kind="stable")
    for row in returned.itertuples():
        back = abs(row.Quantity)
        for purchase in reversed(made[row.user, row.StockCode]):
            of_order = pd.isna(named := getattr(row, "ReturnOf", None)) or named == purchase.invoice
            if of_order and purchase.at <= row.InvoiceDate and purchase.remaining > 0 and back > 0:
                taken = min(back, purchase.remaining)
                purchase.remaining -= taken
                back -= taken
    everything = [purchase for lines in made.values() for purchase in lines]
    remaining = [purchase for purchase in everything if purchase.remaining > 0]
    return remaining, {purchase.item for purchase in everything} - {purchase.item for purchase in remaining}


def _expected_ledger(rows: pd.DataFrame, services: Collection[str]) -> dict[str, int]:
    """Return the expected counts of the table's events.

    Guests and services are routed. Of equal lines one counts; the others are duplicates, whether they are valid or not.
    """
    known = of_customers(tidy(rows))
    goods = known[~known["StockCode"].isin(services)]
    first = goods[~goods.duplicated([*LINE, "user", "InvoiceDate"])]
    accepted = int(sound(first, services).sum())
    return {
        "read": len(rows),
        "accepted": accepted,
        "quarantined": len(first) - accepted,
        "duplicate": len(goods) - len(first),
        "suppressed": 0,
        "routed": len(rows) - len(goods),
    }


def ledger_differences(
    rows: pd.DataFrame, entries: Sequence[Mapping[str, Any]], services: Collection[str]
) -> dict[str, float]:
    """Compare the ledger's line of events with the count, and print both if they differ."""
    entry = next(entry for entry in entries if entry["dataset"] == "events")
    expected_counts = _expected_ledger(rows, services)
    for name in COUNTS:
        if entry[name] != expected_counts[name]:
            print(f"ledger: {name} is {entry[name]:,}, counted {expected_counts[name]:,}")
    return {
        "rows": float(len(rows)),
        "accepted": float(entry["accepted"]),
        "ledger_difference": float(sum(abs(entry[name] - expected_counts[name]) for name in COUNTS)),
    }


def stored_again(entries: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return how many rows of the same table under another name were stored twice."""
    entry = next(entry for entry in entries if entry["dataset"] == "events")
    return {"stored_again_by_renaming": float(entry["accepted"] + entry["quarantined"])}
