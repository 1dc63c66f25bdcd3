"""Features of the users of a window, one number per user and feature.

The events of a user resemble each other. Tests that treat events as independent raise false alarms.
"""

from typing import Final

import numpy as np

from models.monitoring.drift.signals.event_columns import BOUGHT, DAY, MISSING_CODE, Events, Floats, Ints, ItemTable

FEATURES: Final = {
    "events": "events per active user",
    "items": "different items per active user",
    "sessions": "sessions per active user",
    "basket value": "value of a basket",
    "unit price": "price of what is bought",
    "evening share": "share of events after 18:00 (UTC)",
    "favourite category": "share of the category that a user cares for most",
    "repeat share": "share of interactions with items that the user has turned to of late",
}
_HOUR: Final = 3_600
_EVENING: Final = 18
_LATELY: Final = 28
"""Days."""


def features(acts: Events, goods: ItemTable) -> tuple[Ints, dict[str, Floats]]:
    """Return the users of these interactions, and each feature per user [n_users]; NaN if undefined."""
    users, place = np.unique(acts.user, return_inverse=True)
    n, times = len(users), np.bincount(place, minlength=len(users)).astype(np.float64)
    bought = acts.kind == BOUGHT
    session = np.where(acts.session == MISSING_CODE, acts.at // DAY, acts.session)
    baskets = _distinct(place[bought], session[bought], n)
    result = {
        "events": times,
        "items": _distinct(place, acts.item, n),
        "sessions": _distinct(place, session, n),
        "basket value": _share(np.bincount(place[bought], np.nan_to_num(acts.value[bought]), n), baskets),
        "unit price": _unit_price(acts.such(bought), place[bought], n),
        "evening share": np.bincount(place, (acts.at // _HOUR) % 24 >= _EVENING, n) / times,
        "favourite category": _favourite(place, goods.category[acts.item], n),
        "repeat share": np.bincount(place, (acts.gap > 0) & (acts.gap <= _LATELY), n) / times,
    }
    return users, result


def _share(part: Floats | Ints, whole: Floats | Ints) -> Floats:
    result: Floats = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return result


def _distinct(place: Ints, values: Ints, n: int) -> Floats:
    """Return [n] the number of different values per user."""
    order = np.lexsort((values, place))
    user, value = place[order], values[order]
    new = np.append(True, (user[1:] != user[:-1]) | (value[1:] != value[:-1]))[: len(user)]
    return np.bincount(user[new], minlength=n).astype(np.float64)


def _unit_price(bought: Events, place: Ints, n: int) -> Floats:
    """Return the mean logarithm of the price of one piece."""
    known = (bought.value > 0) & (bought.quantity > 0)
    logs = np.log(bought.value[known] / bought.quantity[known])
    return _share(np.bincount(place[known], logs, n), np.bincount(place[known], minlength=n).astype(np.float64))


def _favourite(place: Ints, category: Ints, n: int) -> Floats:
    known = category != MISSING_CODE
    if not known.any():
        return np.full(n, np.nan)
    width = int(category.max()) + 1
    numbers, times = np.unique(place[known].astype(np.int64) * width + category[known], return_counts=True)
    most = np.zeros(n)
    np.maximum.at(most, numbers // width, times)
    return _share(most, np.bincount(place[known], minlength=n).astype(np.float64))
