"""Counts the expected ledger of the table from raw rows, with code that is independent of the product."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import pandas as pd

from benchmarks.foreign_shop.history import LINE, of_customers, sound, tidy

COUNTS: Final = ("read", "accepted", "quarantined", "duplicate", "suppressed", "routed")


def expected(rows: pd.DataFrame, services: Collection[str]) -> dict[str, int]:
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


def differences(
    rows: pd.DataFrame, entries: Sequence[Mapping[str, Any]], services: Collection[str]
) -> dict[str, float]:
    """Compare the ledger's line of events with the count, and print both if they differ."""
    entry = next(entry for entry in entries if entry["dataset"] == "events")
    expected_counts = expected(rows, services)
    for name in COUNTS:
        if entry[name] != expected_counts[name]:
            print(f"ledger: {name} is {entry[name]:,}, counted {expected_counts[name]:,}")
    return {
        "rows": float(len(rows)),
        "accepted": float(entry["accepted"]),
        "ledger_difference": float(sum(abs(entry[name] - expected_counts[name]) for name in COUNTS)),
    }


def of_renamed(entries: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return how many rows of the same table under another name were stored twice."""
    entry = next(entry for entry in entries if entry["dataset"] == "events")
    return {"stored_again_by_renaming": float(entry["accepted"] + entry["quarantined"])}
