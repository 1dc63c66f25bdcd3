"""Sentences that state why an item is on a list: one function per kind, and a parser.

docs/recommendations.md lists what each kind counts, and the evidence that it requires.
"""

import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.primitives.distinct import distinct
from models.primitives.time import DAY

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData

PICKED: Final = "Picked by the shop"
"""A pin that the model does not score."""
NONE: Final = "You may like this"
"""Claims nothing: there is too little evidence for any other kind."""
DUE: Final = "You bought this before"
VIEWED: Final = "You looked at this"
BOUGHT_ITEM: Final = "Because you bought "
VIEWED_ITEM: Final = "Because you looked at "
THEN: Final = ", and then "

HABIT_DAYS: Final = 3
HABIT_GAPS: Final = 2
"""A habit has at least so many different days, and ends so many gaps after the last one."""
CATEGORY_DAYS: Final = 2
CUSTOMERS: Final = 5
TOGETHER: Final = 3
NEAR_ORDERS: Final = 3
NEAR_DAYS: Final = 28
"""Two orders of a user are near each other if they are at most so many orders and days apart."""
LARGEST_SHARE: Final = 0.5
"""A category with a larger share of the items does not distinguish users."""
POPULAR_DAYS: Final = 28
WORDS: Final = 3
_LONGEST: Final = 80
_LONGEST_OF_TWO: Final = 40
_WITH_YEAR: Final = 300
_TIMES: Final = r"(slightly|[\d.]+ times)"

KINDS: Final = {
    "habit": r"You bought this on (\d+) days, about every (?:day|(\d+) days), last on (\d+ [A-Z][a-z]+(?: \d+)?)",
    "bought": r"You bought this on (?:(\d+) days, last on )?(\d+ [A-Z][a-z]+(?: \d+)?)",
    "bought_from": r"You bought from (.+) on (\d+) days",
    "bought_items": rf"Because you bought (.+?){THEN}(.+)",
    "bought_item": r"Because you bought (.+)",
    "due": re.escape(DUE),
    "looked": re.escape(VIEWED),
    "looked_items": rf"Because you looked at (.+?){THEN}(.+)",
    "looked_item": r"Because you looked at (.+)",
    "looked_in": r"You looked at (\d+) items? in (.+)",
    "popular": rf"Bought by (\d+) customers in the last {POPULAR_DAYS} days",
    "together": rf"Bought {_TIMES} more often than usual with this item",
    "near_order": rf"Bought {_TIMES} more often than usual shortly before or after this item",
    "buyers_of": rf"Bought {_TIMES} more often than usual by buyers of (.+)",
    "category_pair": rf"From (.+), bought {_TIMES} more often than usual with (.+)",
    "same_words": r"Titles share: (.+)",
    "same_category": r"Also in (.+)",
    "picked": re.escape(PICKED),
    "none": re.escape(NONE),
}
"""Each kind of reason, and the pattern of its whole text with its parameters as groups."""


class Reason(NamedTuple):
    """A sentence as a machine reads it."""

    kind: str
    parameters: tuple[str | None, ...]


def parse(text: str) -> Reason | None:
    """Return the kind of a sentence with its parameters, None for a sentence of no kind."""
    for kind, pattern in KINDS.items():
        if match := re.fullmatch(pattern, text):
            return Reason(kind, match.groups())
    return None


def shares(texts: Iterable[str], places: Iterable[int]) -> dict[str, float]:
    """Return the share of all places that each kind of reason has, the most frequent first."""
    counts: Counter[str] = Counter()
    for text, times in zip(texts, places, strict=True):
        reason = parse(text)
        counts[reason.kind if reason else "other"] += times
    return {kind: round(times / counts.total(), 4) for kind, times in counts.most_common() if times}


class ReasonsFromCodes:
    """A model with few different sentences: a number per pair is cheaper than a sentence per pair."""

    def reason_codes(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> tuple[NDArray[np.int32], list[str]]:
        """Return [n] positions among the sentences, and the sentences."""
        raise NotImplementedError

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:
        """Return one sentence per pair."""
        codes, texts = self.reason_codes(users, items)
        return [texts[code] for code in codes.tolist()]


def bought(days: int, first_day: int, last_day: int, cut_day: int) -> str:
    """Return how often a user bought an item, and how regularly if that is a habit; days count from 1970."""
    last = _date(last_day, cut_day)
    if days == 1:
        return f"You bought this on {last}"
    gap = (last_day - first_day) / (days - 1)
    if days < HABIT_DAYS or cut_day - last_day > HABIT_GAPS * gap:
        return f"You bought this on {days} days, last on {last}"
    usual = int(gap + 0.5)
    return f"You bought this on {days} days, about every {'day' if usual == 1 else f'{usual} days'}, last on {last}"


def bought_from(category: str, days: int) -> str:
    """Return on how many days a user bought from a category."""
    return f"You bought from {short(category)} on {days} days"


def viewed_in(category: str, items: int) -> str:
    """Return how many items of a category a user viewed."""
    return f"You looked at {items} {'item' if items == 1 else 'items'} in {short(category)}"


def because(title: str, clicked: bool = False) -> str:
    """Return which of the user's own items is evidence for another one; NONE without a title to quote."""
    return f"{VIEWED_ITEM if clicked else BOUGHT_ITEM}{short(title)}" if title.strip() and THEN not in title else NONE


def because_of_both(earlier: str, later: str, clicked: bool = False) -> str:
    """Return which two of the user's own items are evidence, in their order; only those that have a title."""
    if not earlier.strip() or not later.strip() or earlier == later or THEN in earlier + later:
        return because(later if later.strip() else earlier, clicked)
    both = (short(title, _LONGEST_OF_TWO) for title in (earlier, later))
    return f"{VIEWED_ITEM if clicked else BOUGHT_ITEM}{THEN.join(both)}"


class PurchasedTitles:
    """The titles of items that a visitor bought lately, for the reasons of models that take every act for a look."""

    def __init__(self, titles: Iterable[str]) -> None:
        """Take the titles of these items."""
        different = set(titles)
        self._brief = {short(title, longest) for title in different for longest in (_LONGEST, _LONGEST_OF_TWO)}

    def named(self, text: str, is_item: bool) -> str:
        """Return a reason that names what was bought as bought; `is_item`: the listed item itself was bought."""
        if text == VIEWED and is_item:
            return DUE
        reason = parse(text)
        if reason is None or reason.kind not in ("looked_item", "looked_items"):
            return text
        own = [title for title in reason.parameters if title in self._brief]
        return f"{BOUGHT_ITEM}{THEN.join(own)}" if own else text


class ReasonsNaming:
    """The sentences that name one of some items as the user's own."""

    def __init__(self, titles: Iterable[str]) -> None:
        """Take the titles of these items."""
        different = set(titles)
        self._of_one = {because(title, clicked) for title in different for clicked in (False, True)} - {NONE}
        self._brief = {short(title, _LONGEST_OF_TWO) for title in different}

    def __contains__(self, text: str) -> bool:
        """Return whether a sentence names one of them."""
        if text in self._of_one or THEN not in text:
            return text in self._of_one
        reason = parse(text)
        return reason is not None and not self._brief.isdisjoint(reason.parameters)

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._of_one)


def popular(customers: int) -> str:
    """Return how many users bought an item in recent days; NONE if they are too few."""
    return f"Bought by {customers} customers in the last {POPULAR_DAYS} days" if customers >= CUSTOMERS else NONE


def together(lift: float) -> str:
    """Return how much more often than by chance the baskets with an item contain another one too."""
    return f"Bought {_times(lift)} more often than usual with this item"


def near_order(lift: float) -> str:
    """Return how much more often than by chance the same users order another item near an item."""
    return f"Bought {_times(lift)} more often than usual shortly before or after this item"


def buyers_of(title: str, lift: float) -> str:
    """Return how much more often than by chance the buyers of an item buy another one; NONE without a title."""
    return f"Bought {_times(lift)} more often than usual by buyers of {short(title)}" if title.strip() else NONE


def category_pair(category: str, lift: float, own: str) -> str:
    """Return how much more often than by chance the baskets with the category `own` contain another category too."""
    return f"From {short(category)}, bought {_times(lift)} more often than usual with {short(own)}"


def _times(lift: float) -> str:
    """Return a lift above 1 in words, with a decimal place only below 2."""
    if lift < 1.05:
        return "slightly"
    return f"{lift:.1f} times" if lift < 1.95 else f"{lift:.0f} times"


def same_category(category: str) -> str:
    """Return the category that two items share."""
    return f"Also in {short(category)}"


def same_words(words: list[str]) -> str:
    """Return the words that two titles share."""
    return f"Titles share: {', '.join(words)}"


def short(name: str, longest: int = _LONGEST) -> str:
    """Return a name on one line, cut to so many characters."""
    line = " ".join(name.split())
    return line if len(line) <= longest else f"{line[: longest - 1].rstrip()}…"


@lru_cache(maxsize=4096)
def _date(day: int, cut_day: int) -> str:
    """Return a day in words, with its year if a reader could take it for another year's."""
    date = datetime.fromtimestamp(day * DAY, tz=UTC)
    return f"{date.day} {date:%B}" if cut_day - day < _WITH_YEAR else f"{date.day} {date:%B %Y}"


_TOO_FEW: Final = 0


def recent_buyers(data: "TrainingData") -> NDArray[np.int32]:
    """Return [n_items] the different users who bought each item in the days before the cut that `popular` names."""
    late = data.occurred_at >= data.cut - POPULAR_DAYS * DAY
    width = max(1, len(data.users))
    pairs = distinct(data.item[late].astype(np.int64) * width + data.user[late])
    return np.bincount(pairs // width, minlength=len(data.items)).astype(np.int32)


def popular_codes(buyers: NDArray[np.int32]) -> tuple[NDArray[np.int32], list[str]]:
    """Return [n_items] positions among the sentences, and the sentences."""
    different, code = np.unique(np.where(buyers >= CUSTOMERS, buyers, _TOO_FEW), return_inverse=True)
    return code.astype(np.int32), [popular(count) for count in different.tolist()]


def popular_reasons(buyers: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:
    """Return one sentence for each of the items."""
    return [popular(count) for count in buyers[items].tolist()]
