"""Computes realised accuracy: actions of users compared with the lists that they had, and with a control list.

Every action is compared with the user's list at that moment, and with the control, one list of best sellers for all.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

K: Final = 10
"""Places of a list that are evaluated."""
Floats = NDArray[np.float64]


class ShownLists(NamedTuple):
    """m lists with the times at which they were shown; the lists of one user do not overlap."""

    user: NDArray[np.int64]
    """[m] codes from 0 on, without gaps."""
    items: NDArray[np.int64]
    """[m, k] codes of items, best first, -1 in places without one."""
    since: Floats
    """[m] epoch seconds."""
    until: Floats
    """[m] epoch seconds at which the list was replaced."""


class Actions(NamedTuple):
    """n actions of users, such as purchases, in codes of `ShownLists`."""

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    at: Floats
    """[n] epoch seconds."""


class UserOutcomes(NamedTuple):
    """Outcomes per user [n_users]; the metrics are ratios of sums, so that users can be resampled.

    Recall is the sum of `hits` by that of `targets`, hit rate that of `hit` by `acted`, NDCG that of `ndcg` by `acted`.
    Users without an action while a list was shown are 0 in all of them.
    """

    targets: Floats
    """Different items of the actions, at most the length of the list."""
    acted: Floats
    """1 for users with targets."""
    hits: Floats
    """Different items that were among the first `K` of the list at the time, at most `targets`."""
    hit: Floats
    """1 for users with hits."""
    ndcg: Floats
    """0 to 1."""
    control_hits: Floats
    control_hit: Floats
    control_ndcg: Floats


def realised_outcomes(shown: ShownLists, acts: Actions, control: NDArray[np.int64]) -> UserOutcomes:
    """Return how well the lists predicted the actions per user, and the same for `control` (item codes, best first).

    Actions without a list at the time do not count. An item with several actions counts once, at its best place. Over
    several lists NDCG (Järvelin & Kekäläinen 2002) may then have two items in one place, so it is capped at 1. The
    control is as long as the lists.
    """
    n_users = int(shown.user.max(initial=-1)) + 1
    k = min(K, shown.items.shape[1])
    row = _list_of(shown, acts)
    known = row >= 0
    user, item = acts.user[known], acts.item[known]
    gains = _gains(shown.items[row[known], :k], item)
    against = _gains(np.broadcast_to(_first(control, k), (len(item), k)), item)
    of_pair, pair = _pairs(user, item)
    bought = np.bincount(of_pair, minlength=n_users)
    targets = np.minimum(bought, k).astype(np.float64)
    served, control_outcomes = (_scored(_best(gain, pair), of_pair, targets) for gain in (gains, against))
    return UserOutcomes(targets, (targets > 0).astype(np.float64), *served, *control_outcomes)


def _list_of(shown: ShownLists, acts: Actions) -> NDArray[np.int64]:
    """Return [n] the row of the user's list at the action; -1 without one."""
    order = np.lexsort((shown.since, shown.user))
    moments = np.unique(np.concatenate([shown.since, acts.at]))
    start = shown.user[order] * len(moments) + np.searchsorted(moments, shown.since[order])
    action_keys = acts.user * len(moments) + np.searchsorted(moments, acts.at)
    last = np.searchsorted(start, action_keys, side="right") - 1
    row: NDArray[np.int64] = np.append(order, -1)[last]  # -1 for actions before all lists
    shown_then = (row >= 0) & (shown.user[row] == acts.user) & (acts.at < shown.until[row]) if len(order) else row >= 0
    return np.where(shown_then, row, -1)


def _first(control: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    filled = np.full(k, -1, dtype=np.int64)
    filled[: len(control[:k])] = control[:k]
    return filled


def _gains(lists: NDArray[np.int64], item: NDArray[np.int64]) -> Floats:
    """Return [n] the discounted gain of an item at its place of a list [n, k]; 0 if it is not on the list."""
    result = (lists == item[:, None]) & (lists >= 0)
    return np.asarray((result * _discounts(lists.shape[1])).max(axis=1, initial=0.0))


def _discounts(k: int) -> Floats:
    return np.asarray(1 / np.log2(np.arange(2, k + 2)))


def _pairs(user: NDArray[np.int64], item: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the user of each distinct pair of user and item, and the pair of each action."""
    width = int(item.max(initial=0)) + 1
    pairs, of_act = np.unique(user * width + item, return_inverse=True)
    return pairs // width, of_act


def _best(gain: Floats, pair: NDArray[np.int64]) -> Floats:
    result = np.zeros(int(pair.max(initial=-1)) + 1)
    np.maximum.at(result, pair, gain)
    return result


def _scored(gain: Floats, user: NDArray[np.int64], targets: Floats) -> tuple[Floats, Floats, Floats]:
    """Return hits, whether there are any, and NDCG per user, from the gains of pairs."""
    n = len(targets)
    hits = np.minimum(np.bincount(user, gain > 0, minlength=n), targets)
    ideal = np.concatenate([[0.0], np.cumsum(_discounts(K))])[targets.astype(np.int64)]
    reached = np.bincount(user, gain, minlength=n)
    ndcg = np.divide(reached, ideal, out=np.zeros(n), where=ideal > 0)
    return hits, (hits > 0).astype(np.float64), np.minimum(ndcg, 1.0)
