"""Finds faults of the published lists: false reasons, services, junk titles, and goods that no customer kept."""

from collections import Counter
from collections.abc import Collection
from typing import Final

import pandas as pd

from benchmarks.foreign_shop.export import NOTES
from benchmarks.foreign_shop.history import net_purchases, of_customers, tidy
from benchmarks.foreign_shop.installation import Shop
from benchmarks.foreign_shop.reasons_recount import Facts, Place, false

_OF_USERS: Final = "SELECT user_id AS owner, placement, item_id, title, reason FROM recommendations_by_user_id"
_OF_ITEMS: Final = "SELECT for_item_id AS owner, placement, item_id, title, reason FROM current_item_recommendations"
_CUT: Final = """
SELECT (manifest->>'as_of')::bigint AS cut FROM datasets
WHERE version = (SELECT dataset_version FROM promotions ORDER BY promotion_id DESC LIMIT 1)"""
_SHOWN: Final = 5
_CENT: Final = 0.005


def figures(
    shop: Shop, rows: pd.DataFrame, services: Collection[str], always_cancelled: Collection[str]
) -> dict[str, float]:
    """Count faults over all live lists, and print some examples of each."""
    cut = pd.Timestamp(int(shop.query(_CUT)["cut"][0]), unit="s")
    rows = tidy(rows)
    purchases, cancelled = net_purchases(rows, services, cut)
    cancelled |= set(always_cancelled)
    facts = Facts.of(purchases, rows, cut)
    of_users, of_items = shop.query(_OF_USERS), shop.query(_OF_ITEMS)
    places = [Place(r.owner, "", r.item_id, r.reason) for r in of_users.itertuples()]
    places += [Place("", r.owner, r.item_id, r.reason) for r in of_items.itertuples()]
    wrong = false(places, facts)
    _print_examples(wrong)
    lists = pd.concat([of_users, of_items])
    junk = lists["title"].str.strip().str.casefold().isin([note.casefold() for note in NOTES])
    email = of_users[of_users["placement"] == "email"].groupby("owner").size()
    return {
        "places": float(len(places)),
        "reasons_false": float(len(wrong)),
        "reasons_empty": float((lists["reason"] == "You may like this").mean()),
        "services_shown": float(lists["item_id"].isin(services).sum() + of_items["owner"].isin(services).sum()),
        "cancelled_shown": float(lists["item_id"].isin(cancelled).sum()),
        "junk_titles_shown": float(junk.sum()),
        "email_items": float(email.mean()),
    }


def prices_not_paid(catalogue: pd.DataFrame, rows: pd.DataFrame) -> float:
    """Return how many items have a price that no customer paid in the item's last five weeks, and print some.

    `catalogue` has item_id and price, empty if unknown.
    """
    known = of_customers(tidy(rows))
    known = known[known["UnitPrice"] > 0]
    newest = known.groupby("StockCode")["InvoiceDate"].transform("max")
    recent = known[known["InvoiceDate"] > newest - pd.Timedelta(days=35)]
    paid = recent.groupby("StockCode")["UnitPrice"].agg(set).to_dict()
    wrong = [
        (row.item_id, row.price)
        for row in catalogue.itertuples()
        if not any(abs(float(row.price or "nan") - price) < _CENT for price in paid.get(row.item_id, ()))
        and (row.price or row.item_id in paid)
    ]
    for item, price in wrong[:_SHOWN]:
        print(f"{item} has the price {price or 'none'}, and customers paid {sorted(paid.get(item, ()))}")
    return float(len(wrong))


def _print_examples(wrong: list[Place]) -> None:
    kinds = Counter(" ".join(word for word in place.reason.split() if word.isalpha())[:30] for place in wrong)
    for kind, count in kinds.most_common(_SHOWN):
        print(f"{count:,} false reasons such as {kind!r}")
    for place in wrong[:_SHOWN]:
        print(f"  {place}")
