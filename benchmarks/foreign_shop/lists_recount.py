"""Finds faults of the published lists: false reasons, services, junk titles, and goods that no customer kept.

Every reason is parsed, and recounted from raw rows with code independent of the product.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final, NamedTuple

import pandas as pd

from benchmarks.foreign_shop.export import NOTES
from benchmarks.foreign_shop.history import Purchase, net_purchases, of_customers, tidy

_OF_USERS: Final = "SELECT user_id AS owner, item_id, title, reason FROM recommendations_by_user_id"
_OF_ITEMS: Final = "SELECT for_item_id AS owner, item_id, title, reason FROM current_item_recommendations"
_CUT: Final = """
SELECT (manifest->>'as_of')::bigint AS cut FROM datasets
WHERE version = (SELECT dataset_version FROM promotions ORDER BY promotion_id DESC LIMIT 1)"""
_SHOWN: Final = 5
_CENT: Final = 0.005
_POPULAR_DAYS: Final = 28
_FEWEST_USERS: Final = 5
_FEWEST_BASKETS: Final = 3
_SHRINKAGE: Final = 10
_FLOAT: Final = 1e-4
"""The product's lifts have single precision."""
_TIMES: Final = r"(slightly|[\d.]+ times) more often than usual"
_NEAR_ORDERS: Final = 3
_NEAR: Final = pd.Timedelta(days=28)
_HABIT_DAYS: Final = 3
_LONG_AGO_DAYS: Final = 300


class Place(NamedTuple):
    """An item on the list of a user or of an item."""

    user: str
    of_item: str
    item: str
    reason: str


@dataclass(frozen=True)
class Facts:
    """The facts of the raw rows, up to the cut of the champion's data set."""

    cut: pd.Timestamp
    days: dict[tuple[str, str], list[date]]
    """The days on which a user bought an item, in order."""
    recent_users: dict[str, set[str]]
    """Users who bought an item in the last 28 days."""
    baskets: dict[str, set[tuple[str, str]]]
    titles: dict[str, set[str]] = field(repr=False)
    """All titles that an item ever had, by its code."""
    items_of: dict[str, set[str]] = field(repr=False)
    orders: dict[str, list[tuple[pd.Timestamp, str, set[str]]]] = field(repr=False)
    """Time, invoice and items of each order of a user, in order."""

    @classmethod
    def of(cls, purchases: Sequence[Purchase], rows: pd.DataFrame, cut: pd.Timestamp) -> "Facts":
        """Count the facts of the raw rows."""
        days: defaultdict[tuple[str, str], set[date]] = defaultdict(set)
        users: defaultdict[str, set[str]] = defaultdict(set)
        baskets: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
        items_of: defaultdict[str, set[str]] = defaultdict(set)
        lines: defaultdict[tuple[str, str], list[Purchase]] = defaultdict(list)
        since = cut - pd.Timedelta(days=_POPULAR_DAYS)
        for purchase in purchases:
            days[purchase.user, purchase.item].add(purchase.at.date())
            items_of[purchase.user].add(purchase.item)
            baskets[purchase.item].add((purchase.user, purchase.invoice))
            lines[purchase.user, purchase.invoice].append(purchase)
            if purchase.at >= since:
                users[purchase.item].add(purchase.user)
        titled = rows.dropna(subset=["Description"]).drop_duplicates(["StockCode", "Description"])
        titles: defaultdict[str, set[str]] = defaultdict(set)
        for code, title in zip(titled["StockCode"], titled["Description"], strict=True):
            titles[code].add(" ".join(title.split()).casefold())
        ordered = {pair: sorted(dates) for pair, dates in days.items()}
        orders: defaultdict[str, list[tuple[pd.Timestamp, str, set[str]]]] = defaultdict(list)
        for (user, invoice), bought in lines.items():
            orders[user].append((max(line.at for line in bought), invoice, {line.item for line in bought}))
        sorted_orders = {user: sorted(own, key=lambda order: order[:2]) for user, own in orders.items()}
        return cls(cut, ordered, dict(users), dict(baskets), dict(titles), dict(items_of), sorted_orders)

    def is_on(self, text: str, day: date) -> bool:
        """Return whether `3 May`, or `3 May 2024` for a day long ago, is this day."""
        long_ago = (self.cut.date() - day).days >= _LONG_AGO_DAYS
        return text == f"{day.day} {day:%B}" + (f" {day.year}" if long_ago else "")


def _bought_once(facts: Facts, place: Place, day: str) -> bool:
    days = facts.days.get((place.user, place.item), [])
    return len(days) == 1 and facts.is_on(day, days[0])


def _bought(facts: Facts, place: Place, count: str, last: str) -> bool:
    days = facts.days.get((place.user, place.item), [])
    return len(days) == int(count) >= 2 and facts.is_on(last, days[-1])


def _habit(facts: Facts, place: Place, count: str, every: str, last: str) -> bool:
    days = facts.days.get((place.user, place.item), [])
    if not _bought(facts, place, count, last) or len(days) < _HABIT_DAYS:
        return False
    gap = (days[-1] - days[0]).days / (len(days) - 1)
    stated = 1 if every == "day" else int(every.split()[0])
    recent = (facts.cut - pd.Timestamp(days[-1])).days <= 2 * gap + 1
    return abs(stated - gap) <= 0.5 + 1e-9 and recent


def _bought_item(facts: Facts, place: Place, title: str) -> bool:
    return any(_is_called(facts, item, title) for item in facts.items_of.get(place.user, set()))


def _popular(facts: Facts, place: Place, count: str) -> bool:
    return len(facts.recent_users.get(place.item, set())) == int(count.replace(",", "")) >= _FEWEST_USERS


def _is_lift(facts: Facts, both: int, own: int, other: int, times: str) -> bool:
    """Return whether `both` baskets are so much more than `own` and `other` of all baskets make likely."""
    lift = (both + _SHRINKAGE) / (own * other / sum(map(len, facts.orders.values())) + _SHRINKAGE)
    stated, rounding = (1, 0.05) if times == "slightly" else (float(times.split()[0]), 0.05 if "." in times else 0.5)
    return both >= _FEWEST_BASKETS and lift > 1 and abs(lift - stated) <= rounding + _FLOAT


def _together(facts: Facts, place: Place, times: str) -> bool:
    subject, other = facts.baskets.get(place.of_item, set()), facts.baskets.get(place.item, set())
    return _is_lift(facts, len(subject & other), len(subject), len(other), times)


def _near_order(facts: Facts, place: Place, times: str) -> bool:
    subject, counted, near = facts.baskets.get(place.of_item, set()), 0, 0
    for orders in (facts.orders[user] for user in {user for user, _ in facts.baskets.get(place.item, set())}):
        for number, (at, _, items) in enumerate(orders):
            others = [*orders[max(0, number - _NEAR_ORDERS) : number], *orders[number + 1 : number + 1 + _NEAR_ORDERS]]
            close = any(place.item in bought and abs(then - at) <= _NEAR for then, _, bought in others)
            near += close
            counted += place.of_item in items and close
    return _is_lift(facts, counted, len(subject), near, times)


def _same_words(facts: Facts, place: Place, words: str) -> bool:
    return all(
        any(word.casefold() in title for title in facts.titles.get(code, set()))
        for word in words.split(", ")
        for code in (place.of_item, place.item)
    )


def _before(facts: Facts, place: Place) -> bool:
    return (place.user, place.item) in facts.days


def _is_called(facts: Facts, item: str, title: str) -> bool:
    words = " ".join(title.split()).casefold()
    if words.endswith("…"):
        return any(name.startswith(words[:-1].rstrip()) for name in facts.titles.get(item, set()))
    return words in facts.titles.get(item, {f"item {item}".casefold()})


_CHECKS: Final[dict[str, Callable[..., bool]]] = {
    r"You bought this on (\d+ [A-Z][a-z]+(?: \d{4})?)": _bought_once,
    r"You bought this on ([\d,]+) days, last on (\d+ [A-Z][a-z]+(?: \d{4})?)": _bought,
    r"You bought this on (\d+) days, about every (day|\d+ days), last on (\d+ [A-Z][a-z]+(?: \d{4})?)": _habit,
    r"Because you bought (.+)": _bought_item,
    r"You bought this before": _before,
    r"Bought by ([\d,]+) customers in the last 28 days": _popular,
    rf"Bought {_TIMES} with this item": _together,
    rf"Bought {_TIMES} shortly before or after this item": _near_order,
    r"Titles share: (.+)": _same_words,
    r"You may like this": lambda _facts, _place: True,
}
"""Checks by pattern. A shop without categories, brands, views or pins can have no other reason."""


def false(places: Collection[Place], facts: Facts) -> list[Place]:
    """Return the places whose reason contradicts the raw rows, or has no known form."""
    return [place for place in places if not _holds(place, facts)]


def _holds(place: Place, facts: Facts) -> bool:
    dates = ((check, re.fullmatch(pattern, place.reason)) for pattern, check in _CHECKS.items())
    return any(check(facts, place, *match.groups()) for check, match in dates if match)


def figures(
    query: Callable[[str], pd.DataFrame],
    rows: pd.DataFrame,
    services: Collection[str],
    always_cancelled: Collection[str],
) -> dict[str, float]:
    """Count faults over all live lists, and print some examples of each."""
    cut = pd.Timestamp(int(query(_CUT)["cut"][0]), unit="s")
    rows = tidy(rows)
    purchases, cancelled = net_purchases(rows, services, cut)
    cancelled |= set(always_cancelled)
    facts = Facts.of(purchases, rows, cut)
    of_users, of_items = query(_OF_USERS), query(_OF_ITEMS)
    places = [Place(r.owner, "", r.item_id, r.reason) for r in of_users.itertuples()]
    places += [Place("", r.owner, r.item_id, r.reason) for r in of_items.itertuples()]
    wrong = false(places, facts)
    _print_examples(wrong)
    lists = pd.concat([of_users, of_items])
    junk = lists["title"].str.strip().str.casefold().isin([note.casefold() for note in NOTES])
    return {
        "places": float(len(places)),
        "reasons_false": float(len(wrong)),
        "reasons_empty": float((lists["reason"] == "You may like this").mean()),
        "services_shown": float(lists["item_id"].isin(services).sum() + of_items["owner"].isin(services).sum()),
        "cancelled_shown": float(lists["item_id"].isin(cancelled).sum()),
        "junk_titles_shown": float(junk.sum()),
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
