"""Finds the two own items that are most like a listed one, in the order in which the user came to them."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.recommenders.explanations.item import unit
from models.recommenders.explanations.sentences import NONE as NO_REASON
from models.recommenders.explanations.sentences import because, because_of_both
from models.recommenders.sequence.histories import PURCHASE, Histories

NONE: Final = -1


class Evidence(NamedTuple):
    """Own items of m pairs of user and listed item; NONE if there is none."""

    earlier: NDArray[np.int32]
    later: NDArray[np.int32]
    """The item of the later event, or the only one."""
    bought: NDArray[np.bool_]
    """Whether both are purchases; else neither is."""


def nearest_two(
    histories: Histories, vectors: NDArray[np.float32], users: NDArray[np.int32], items: NDArray[np.int32]
) -> Evidence:
    """Return the two items with the greatest cosines above zero, but never the listed one.

    They are purchases, or other acts of a user without purchases. Purchases within an hour have no order.
    """
    none = np.full(len(items), NONE, dtype=np.int32)
    evidence = Evidence(none, none.copy(), np.zeros(len(items), dtype=bool))
    order = np.argsort(users, kind="stable")
    for pairs in np.split(order, np.flatnonzero(np.diff(users[order])) + 1):
        user = int(users[pairs[0]]) if len(pairs) else NONE
        if user == NONE or not histories.counts[user]:
            continue
        own, moment, evidence.bought[pairs] = _latest(histories, user)
        cosines = (unit(vectors[own]) @ np.nan_to_num(vectors[items[pairs]]).T).T
        cosines[items[pairs][:, None] == own] = 0
        best, second = _greatest_two(cosines)
        found = np.flatnonzero(best != NONE)
        evidence.later[pairs[found]] = own[best[found]]
        both = found[(second[found] != NONE) & (moment[best[found]] != moment[second[found]])]
        first, then = (choose(best[both], second[both]) for choose in (np.minimum, np.maximum))
        evidence.earlier[pairs[both]], evidence.later[pairs[both]] = own[first], own[then]
    return evidence


def sentences(titles: NDArray[np.str_], evidence: Evidence) -> list[str]:
    """Return one sentence per pair."""
    return list(_sentences(titles, evidence))


def _sentences(titles: NDArray[np.str_], evidence: Evidence) -> Iterator[str]:
    for earlier, later, bought in zip(*(part.tolist() for part in evidence), strict=True):
        if later == NONE:
            yield NO_REASON
        elif earlier == NONE:
            yield because(str(titles[later]), not bought)
        else:
            yield because_of_both(str(titles[earlier]), str(titles[later]), not bought)


def _latest(histories: Histories, user: int) -> tuple[NDArray[np.int32], NDArray[np.int64], bool]:
    """Return the different items of a user by their latest events, the oldest first, and the moments of these.

    The third value states whether they are purchases.
    """
    rows = slice(histories.ends[user], histories.ends[user + 1])
    items, steps, bought = histories.items[rows], histories.gaps[rows] > 0, histories.kinds[rows] == PURCHASE
    has_bought = bool(bought.any())
    moment = np.cumsum(steps) - steps if has_bought else np.arange(len(items))
    used = bought if has_bought else ~bought
    items, moment = items[used], moment[used]
    last = np.sort(len(items) - 1 - np.unique(items[::-1], return_index=True)[1])
    return items[last], moment[last], has_bought


def _greatest_two(cosines: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return [m] the columns of the greatest two values above zero of each row."""
    columns = []
    for _ in range(2):
        greatest = cosines.argmax(axis=1)
        rows = np.arange(len(cosines))
        columns.append(np.where(cosines[rows, greatest] > 0, greatest, NONE))
        cosines[rows, greatest] = 0
    return columns[0], columns[1]
