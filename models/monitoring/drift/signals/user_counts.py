"""Counts the actions of each user of a window, relative to the reference time.

All signals are functions of sums over users, so that users can be resampled without reading their events again. The
events of a user resemble each other. Tests that treat events as independent raise false alarms.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.columns import EVENT_TYPES
from models.monitoring.drift.signals.event_columns import (
    BOUGHT,
    CLICKED,
    DAY,
    INTERACTIONS,
    MISSING_CODE,
    SHOWN,
    Events,
    Floats,
    Ints,
    ItemTable,
)

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
BINS: Final = 10
PLACES: Final = 11
"""Positions on a list with counts of their own; the last one covers all positions below."""
MISSING: Final = ("value", "quantity", "currency", "session", "position", "recommendation_id")
"""Columns that may be empty: the first three of purchases, the last two of impressions."""

_WIDTHS: Final = {
    **dict.fromkeys(FEATURES, BINS + 1),  # and one for unknown values
    "popularity": BINS,
    **dict.fromkeys(("interactions", "new items", "users", "new users", "buyers"), 1),
    **dict.fromkeys(("anchors", "likeness"), 1),
    **dict.fromkeys(("shown", "clicked", "control shown", "control clicked"), PLACES),
    "types": len(EVENT_TYPES),
    **dict.fromkeys(("missing", "of"), len(MISSING)),
    **dict.fromkeys(("priced", "odd prices"), 1),
}
_ENDS: Final = np.cumsum(list(_WIDTHS.values()))
PLACE: Final = {name: slice(end - _WIDTHS[name], end) for name, end in zip(_WIDTHS, _ENDS.tolist(), strict=True)}
"""The columns of each count."""
WIDTH: Final = int(_ENDS[-1])
Edges = dict[str, list[float]]
"""By feature, up to nine edges between its bins."""
_ODD: Final = np.log(10)
"""A price that differs by a factor of ten has another unit, or belongs to another item."""


@dataclass(frozen=True)
class Sums:
    """Counts summed over users, for one or several samples."""

    values: Floats
    """[..., WIDTH]"""

    def __getitem__(self, name: str) -> Floats:
        """Return one count [..., width]; of width 1 as [...]."""
        counts: Floats = self.values[..., PLACE[name]]
        return counts[..., 0] if _WIDTHS[name] == 1 else counts


@dataclass(frozen=True)
class Reference:
    """The reference time of a window."""

    cut: int
    """End of the champion's training data; later items and users are new to it."""
    decile: Ints
    """[n_items] popularity tenth of the interactions, 0 the most popular; `MISSING_CODE` without interactions."""
    anchor: Ints
    """[n_users] positions of anchors in `taste`, `MISSING_CODE` for other users."""
    taste: NDArray[np.float32]
    """[n_anchors, d] taste of anchors, of length 1; 0 without interactions."""
    log_price: Floats
    """[n_items] usual log price of a piece; NaN if unknown."""


@dataclass(frozen=True)
class UserCounts:
    """The counts of a window by user."""

    users: Ints
    values: Floats
    """[n_users, WIDTH]"""

    @property
    def sums(self) -> Floats:
        """The counts summed over users [WIDTH]."""
        return np.asarray(self.values.sum(axis=0))


def edges_of(result: dict[str, Floats]) -> Edges:
    """Return edges of bins with equally many users."""
    tenths = np.linspace(0, 1, BINS + 1)[1:-1]
    known = {name: values[np.isfinite(values)] for name, values in result.items()}
    return {name: np.unique(np.quantile(v, tenths)).tolist() if len(v) else [] for name, v in known.items()}


def count_users(events: Events, goods: ItemTable, before: Reference, edges: Edges) -> UserCounts:
    """Count the events of a window by user."""
    users, place = np.unique(events.user, return_inverse=True)
    table = np.zeros((len(users), WIDTH))
    acts = events.such(INTERACTIONS[events.kind])
    active, result = features(acts, goods)
    rows = np.searchsorted(users, active)
    for name in FEATURES:
        table[rows, PLACE[name].start + _bins(result[name], edges[name])] = 1
    table[rows, PLACE["users"]] = 1
    _count(table, "buyers", place, events.kind == BOUGHT)
    np.minimum(table[:, PLACE["buyers"]], 1, out=table[:, PLACE["buyers"]])
    _count(table, "types", place, None, events.kind)
    _against_before(table, np.searchsorted(users, acts.user), acts, goods, before)
    _lists(table, place, events)
    _feed(table, place, events, before.log_price)
    return UserCounts(users, table)


def counts_by_age(events: Events, goods: ItemTable, before: Reference) -> Floats:
    """Return [WIDTH] sums of the counts that depend on the champion's age; 0 elsewhere."""
    acts, total = events.such(INTERACTIONS[events.kind]), np.zeros((1, WIDTH))
    _against_before(total, np.zeros(len(acts.at), dtype=np.int64), acts, goods, before)
    return np.asarray(total[0])


def tastes(acts: Events, goods: ItemTable, anchor: Ints, anchors: int) -> NDArray[np.float32]:
    """Return [anchors, d] the sums of the vectors of the items that each anchor interacted with."""
    selected = acts.such(anchor[acts.user] != MISSING_CODE)
    pairs = (np.ones(len(selected.at), dtype=np.float32), (anchor[selected.user], selected.item))
    times = sparse.csr_array(pairs, shape=(anchors, len(goods)))
    return np.asarray(times @ goods.vectors)


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale rows to length 1; rows of length 0 stay."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0))


def _bins(values: Floats, edges: list[float]) -> Ints:
    """Return bins [n], 0 to 9; 10 for unknown values."""
    return np.where(np.isfinite(values), np.searchsorted(edges, values, side="right"), BINS)


def _count(table: Floats, name: str, place: Ints, mask: NDArray[np.bool_] | None, column: Ints | None = None) -> None:
    """Add 1 to a count for each event of a mask; events whose column is `MISSING_CODE` do not count."""
    included = np.ones(len(place), dtype=np.bool_) if mask is None else mask
    if column is not None:
        included = included & (column != MISSING_CODE)
    selected = table[:, PLACE[name]]
    width = selected.shape[1]
    cell = place[included] * width + (0 if column is None else column[included])
    selected += np.bincount(cell, minlength=selected.size).reshape(selected.shape)


def _against_before(table: Floats, place: Ints, acts: Events, goods: ItemTable, before: Reference) -> None:
    _count(table, "popularity", place, None, before.decile[acts.item])
    _count(table, "interactions", place, None)
    _count(table, "new items", place, acts.item_since >= before.cut)
    user, first = np.unique(acts.user, return_index=True)
    _count(table, "new users", place[first], acts.user_since[first] >= before.cut)
    known = before.anchor[user] != MISSING_CODE
    at, rows = before.anchor[user[known]], place[first[known]]
    taste = unit(tastes(acts, goods, before.anchor, len(before.taste)))
    both = taste[at].any(axis=1) & before.taste[at].any(axis=1)
    _count(table, "anchors", rows, both)
    alike = (taste * before.taste).sum(axis=1)[at[both]]
    table[:, PLACE["likeness"].start] += np.bincount(rows[both], alike, len(table))


def _lists(table: Floats, place: Ints, events: Events) -> None:
    """Count impressions and clicks by position, of published lists and of others."""
    position = np.where(events.position > 0, np.minimum(events.position, PLACES) - 1, PLACES - 1)
    for name, kind in (("shown", SHOWN), ("clicked", CLICKED)):
        _count(table, name, place, (events.kind == kind) & events.listed, position)
        _count(table, f"control {name}", place, (events.kind == kind) & ~events.listed, position)


def _feed(table: Floats, place: Ints, events: Events, log_price: Floats) -> None:
    """Count empty columns and implausible prices."""
    bought, shown = events.kind == BOUGHT, events.kind == SHOWN
    amounts = (np.isnan(events.value), np.isnan(events.quantity), ~events.currency)
    empty = (*amounts, events.session == MISSING_CODE, events.position <= 0, ~events.listed)
    everything = np.ones(len(events.at), dtype=np.bool_)
    relevant = (bought, bought, bought, everything, shown, shown)
    for number, (missing, of) in enumerate(zip(empty, relevant, strict=True)):
        column = np.full(len(place), number)
        _count(table, "missing", place, missing & of, column)
        _count(table, "of", place, of, column)
    usual = log_price[events.item]
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.abs(np.log(events.value / events.quantity) - usual)
    known = bought & np.isfinite(off)
    _count(table, "priced", place, known)
    _count(table, "odd prices", place, known & (off >= _ODD))


def log_prices(events: Events, items: int) -> Floats:
    """Return [items] the median log price of a piece; NaN without purchases."""
    sold = events.such((events.kind == BOUGHT) & (events.value > 0) & (events.quantity > 0))
    logs = np.log(sold.value / sold.quantity)
    order = np.lexsort((logs, sold.item))
    item, logs = sold.item[order], logs[order]
    start = np.searchsorted(item, np.arange(items + 1))
    middle = (start[:-1] + start[1:]) // 2
    return np.where(start[1:] > start[:-1], np.append(logs, np.nan)[middle], np.nan)


def deciles(counts: Ints) -> Ints:
    """Return [n_items] the popularity tenth of each item, 0 the most popular; `MISSING_CODE` without interactions."""
    order = np.argsort(-counts, kind="stable")
    reached = np.cumsum(counts[order]) - counts[order] / 2
    result = np.full(len(counts), MISSING_CODE)
    result[order] = np.minimum(BINS * reached / max(1, counts.sum()), BINS - 1).astype(np.int64)
    return np.where(counts > 0, result, MISSING_CODE)


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
        "basket value": ratio(np.bincount(place[bought], np.nan_to_num(acts.value[bought]), n), baskets),
        "unit price": _unit_price(acts.such(bought), place[bought], n),
        "evening share": np.bincount(place, (acts.at // _HOUR) % 24 >= _EVENING, n) / times,
        "favourite category": _favourite(place, goods.category[acts.item], n),
        "repeat share": np.bincount(place, (acts.gap > 0) & (acts.gap <= _LATELY), n) / times,
    }
    return users, result


def ratio(part: Floats | Ints, whole: Floats | Ints) -> Floats:
    """Return part / whole; NaN if the whole is 0."""
    part, whole = np.broadcast_arrays(part, whole)
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0))


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
    return ratio(np.bincount(place[known], logs, n), np.bincount(place[known], minlength=n).astype(np.float64))


def _favourite(place: Ints, category: Ints, n: int) -> Floats:
    known = category != MISSING_CODE
    if not known.any():
        return np.full(n, np.nan)
    width = int(category.max()) + 1
    numbers, times = np.unique(place[known].astype(np.int64) * width + category[known], return_counts=True)
    most = np.zeros(n)
    np.maximum.at(most, numbers // width, times)
    return ratio(most, np.bincount(place[known], minlength=n).astype(np.float64))
