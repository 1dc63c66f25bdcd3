"""Checks published reasons against raw rows, with code that imports nothing of the product."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

_DATE: Final = r"(\d+ [A-Z][a-z]+(?: \d{4})?)"
_TIMES: Final = r"(slightly|[\d.]+ times) more often than usual"


class Bought(NamedTuple):
    """One line of an order that was kept."""

    user: str
    item: str
    basket: str
    at: datetime


class Place(NamedTuple):
    """A place on the list of a user or of an item (the other one is empty)."""

    user: str
    of_item: str
    item: str
    reason: str


@dataclass
class Facts:
    """Facts from raw rows before the cut."""

    cut: datetime
    titles: Mapping[str, str]
    paths: Mapping[str, str | None]
    viewed: frozenset[tuple[str, str]] = frozenset()
    """Return user and item of every sign of interest in an item."""
    days: dict[tuple[str, str], list[date]] = field(default_factory=dict)
    lately: dict[str, set[str]] = field(default_factory=dict)
    baskets: dict[str, set[str]] = field(default_factory=dict)
    all_baskets: set[str] = field(default_factory=set)
    category_days: dict[tuple[str, str], set[date]] = field(default_factory=dict)
    orders: dict[str, list[tuple[datetime, str, set[str]]]] = field(default_factory=dict)
    """The latest time, the basket and the items of each order of a user, in order."""
    lines: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Items in baskets, by user and category; the empty user is everybody, the empty category everything."""

    @classmethod
    def of(
        cls,
        rows: Iterable[Bought],
        cut: datetime,
        titles: Mapping[str, str],
        paths: Mapping[str, str | None],
        viewed: Iterable[tuple[str, str]] = (),
    ) -> "Facts":
        facts = cls(cut, titles, paths, frozenset(viewed))
        latest: dict[tuple[str, str, str], datetime] = {}
        for row in rows:
            if row.at < cut:
                pair = (row.user, row.item, row.basket)
                latest[pair] = max(row.at, latest.get(pair, row.at))
        days: defaultdict[tuple[str, str], set[date]] = defaultdict(set)
        orders: defaultdict[tuple[str, str], list[tuple[datetime, str]]] = defaultdict(list)
        for (user, item, basket), at in latest.items():
            orders[user, basket].append((at, item))
            day, category = at.astimezone(UTC).date(), name_of(paths.get(item))
            days[user, item].add(day)
            facts.baskets.setdefault(item, set()).add(f"{user} {basket}")
            facts.all_baskets.add(f"{user} {basket}")
            facts.lines.update([(user, ""), ("", "")] + ([(user, category), ("", category)] if category else []))
            if category:
                facts.category_days.setdefault((user, category), set()).add(day)
            if at >= cut - timedelta(days=28):
                facts.lately.setdefault(item, set()).add(user)
        for (user, basket), lines in orders.items():
            order = (max(at for at, _ in lines), basket, {item for _, item in lines})
            facts.orders.setdefault(user, []).append(order)
        for own in facts.orders.values():
            own.sort(key=lambda order: order[:2])
        facts.days = {pair: sorted(dates) for pair, dates in days.items()}
        return facts

    def small(self, category: str) -> bool:
        """Return whether a category has at most half of the items that were bought."""
        return sum(name_of(self.paths.get(item)) == category for item in self.baskets) <= len(self.baskets) / 2

    def on(self, text: str, day: date) -> bool:
        old = (self.cut.date() - day).days >= 300
        return text == f"{day.day} {day:%B}" + (f" {day.year}" if old else "")


def name_of(path: str | None) -> str:
    levels = [level for level in (path or "").split("|")[:2] if level]
    name = levels[-1] if levels else ""
    return name.lower() if name.isupper() else name


def _once(facts: Facts, place: Place, last: str) -> bool:
    days = facts.days.get((place.user, place.item), [])
    return len(days) == 1 and facts.on(last, days[0])


def _often(facts: Facts, place: Place, count: str, last: str) -> bool:
    days = facts.days.get((place.user, place.item), [])
    return len(days) == int(count) > 1 and facts.on(last, days[-1])


def _habit(facts: Facts, place: Place, count: str, gap: str, last: str) -> bool:
    days = facts.days.get((place.user, place.item), [])
    usual = (days[-1] - days[0]).days / (len(days) - 1) if len(days) > 1 else 0
    stated = 1 if gap == "day" else int(gap.split()[0])
    recent = len(days) >= 3 and (facts.cut.date() - days[-1]).days <= 2 * usual
    return _often(facts, place, count, last) and recent and abs(stated - usual) <= 0.5


def _bought_from(facts: Facts, place: Place, category: str, count: str) -> bool:
    own, all_users = facts.lines[place.user, category], facts.lines["", category]
    more = own * facts.lines["", ""] > all_users * facts.lines[place.user, ""]
    right = len(facts.category_days.get((place.user, category), ())) == int(count) >= 2
    return right and more and facts.small(category) and name_of(facts.paths.get(place.item)) == category


def _bought_item(facts: Facts, place: Place, title: str) -> bool:
    items = {item for user, item in facts.days if user == place.user and item != place.item}
    return any(_called(facts, item, title) for item in items)


def _bought_items(facts: Facts, place: Place, first: str, then: str) -> bool:
    days = {item: own for (user, item), own in facts.days.items() if user == place.user and item != place.item}
    earlier, later = ([own for item, own in days.items() if _called(facts, item, title)] for title in (first, then))
    return any(one[0] <= other[-1] for one in earlier for other in later)


def _before(facts: Facts, place: Place) -> bool:
    return (place.user, place.item) in facts.days


def _viewed(facts: Facts, place: Place) -> bool:
    return (place.user, place.item) in facts.viewed


def _viewed_item(facts: Facts, place: Place, title: str) -> bool:
    return any(user == place.user and _called(facts, item, title) for user, item in facts.viewed)


def _viewed_items(facts: Facts, place: Place, first: str, then: str) -> bool:
    return _viewed_item(facts, place, first) and _viewed_item(facts, place, then)


def _viewed_in(facts: Facts, place: Place, count: str, category: str) -> bool:
    items = {item for user, item in facts.viewed if user == place.user and name_of(facts.paths.get(item)) == category}
    return len(items) == int(count) > 0 and facts.small(category) and name_of(facts.paths.get(place.item)) == category


def _popular(facts: Facts, place: Place, count: str) -> bool:
    return len(facts.lately.get(place.item, ())) == int(count) >= 5


def _more(facts: Facts, both: int, own: int, other: int, times: str) -> bool:
    """Return whether `both` baskets are so much more than `own` and `other` of all baskets make likely."""
    lift = (both + 10) / (own * other / len(facts.all_baskets) + 10)
    stated, rounding = (1, 0.05) if times == "slightly" else (float(times.split()[0]), 0.05 if "." in times else 0.5)
    return both >= 3 and lift > 1 and abs(lift - stated) <= rounding + 1e-4


def _together(facts: Facts, place: Place, times: str) -> bool:
    items, other = (facts.baskets.get(item, set()) for item in (place.of_item, place.item))
    return _more(facts, len(items & other), len(items), len(other), times)


def _near_order(facts: Facts, place: Place, times: str) -> bool:
    counted = near = 0
    for orders in facts.orders.values():
        for number, (at, _, bought) in enumerate(orders):
            others = [*orders[max(0, number - 3) : number], *orders[number + 1 : number + 4]]
            close = [items for then, _, items in others if abs(then - at) <= timedelta(days=28)]
            is_near = any(place.item in items for items in close)
            near += is_near
            counted += place.of_item in bought and is_near
    return _more(facts, counted, len(facts.baskets[place.of_item]), near, times)


def _category_pair(facts: Facts, place: Place, category: str, times: str, of: str) -> bool:
    named = {of: set[str](), category: set[str]()}
    for item, baskets in facts.baskets.items():
        if (name := name_of(facts.paths.get(item))) in named:
            named[name] |= baskets
    right = _more(facts, len(named[of] & named[category]), len(named[of]), len(named[category]), times)
    names = [name_of(facts.paths.get(item)) for item in (place.item, place.of_item)]
    return right and names == [category, of] and len(named) == 2 and facts.small(of) and facts.small(category)


def _same_words(facts: Facts, place: Place, words: str) -> bool:
    titles = [facts.titles[item].casefold() for item in (place.of_item, place.item)]
    return all(re.search(rf"(?<!\w){re.escape(word)}", title) for word in words.split(", ") for title in titles)


def _same_category(facts: Facts, place: Place, category: str) -> bool:
    return {name_of(facts.paths.get(item)) for item in (place.of_item, place.item)} == {category}


def _called(facts: Facts, item: str, title: str) -> bool:
    known = " ".join(facts.titles[item].split())
    return known.startswith(title[:-1]) if title.endswith("…") else known == title


def _no_claim(_facts: Facts, _place: Place) -> bool:
    return True


CHECKS: Final[Mapping[str, tuple[str, Callable[..., bool]]]] = {
    "bought once": (rf"You bought this on {_DATE}", _once),
    "bought": (rf"You bought this on (\d+) days, last on {_DATE}", _often),
    "habit": (rf"You bought this on (\d+) days, about every (day|\d+ days), last on {_DATE}", _habit),
    "bought_from": (r"You bought from (.+) on (\d+) days", _bought_from),
    "bought_items": (r"Because you bought (.+?), and then (.+)", _bought_items),
    "bought_item": (r"Because you bought (.+)", _bought_item),
    "due": (r"You bought this before", _before),
    "looked": (r"You looked at this", _viewed),
    "looked_items": (r"Because you looked at (.+?), and then (.+)", _viewed_items),
    "looked_item": (r"Because you looked at (.+)", _viewed_item),
    "looked_in": (r"You looked at (\d+) items? in (.+)", _viewed_in),
    "popular": (r"Bought by (\d+) customers in the last 28 days", _popular),
    "together": (rf"Bought {_TIMES} with this item", _together),
    "near_order": (rf"Bought {_TIMES} shortly before or after this item", _near_order),
    "category_pair": (rf"From (.+), bought {_TIMES} with (.+)", _category_pair),
    "same_words": (r"Titles share: (.+)", _same_words),
    "same_category": (r"Also in (.+)", _same_category),
    "picked": (r"Picked by the shop", _no_claim),
    "none": (r"You may like this", _no_claim),
}


def recounted(places: Iterable[Place], facts: Facts) -> tuple[Counter[str], list[Place]]:
    """Return how many places have each kind of reason, and those whose reason is false or of no kind."""
    kinds: Counter[str] = Counter()
    false = []
    for place in places:
        matches = [(kind, re.fullmatch(pattern, place.reason), check) for kind, (pattern, check) in CHECKS.items()]
        true = [kind for kind, match, check in matches if match and check(facts, place, *match.groups())]
        kinds.update(true[:1])
        false += [] if true else [place]
    return kinds, false
