"""Build training data: events and tags as arrays of positions, as known at one moment, and the purchases after it."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from models.columns import (
    AVAILABLE,
    CATEGORY,
    ITEM_ID,
    OCCURRED_AT,
    RECEIVED_AT,
    REFUNDED_AT,
    SESSION_ID,
    TITLE,
    USER_KEY,
)
from models.errors import NoHistoryError
from models.features.encoding.encoder import Tags
from models.features.tables.registry import FeatureTables
from models.primitives.arrow_types import ArrowColumn
from models.primitives.time import DAY
from models.primitives.vocabulary import as_text, index_of, words

T = TypeVar("T")


class Origin(Protocol):
    """The data set behind training data, for models that also learn from earlier moments."""

    def traits(self, cut: int) -> pa.Table:
        """Return `user_key` and the traits known at this moment, one row per user."""

    def training_data(self, cut: int) -> "TrainingData":
        """Return everything known before a moment (epoch s)."""

    def features(self, cut: int) -> FeatureTables:
        """Return the features at this moment."""

    def acts(self, cut: int) -> pa.Table | None:
        """Return the latest events of each user as stored for this cut; None if the data set stores none for it."""

    def before(self, cut: int, days: int) -> int:
        """Return a moment before the cut to learn from: the data set's latest one, else `days` before the cut."""

    def holdout(self, data: "TrainingData", end: int) -> sparse.csr_array:
        """Return what the users of `data` bought from its cut up to `end`: boolean CSR, users x items."""

    def once(self, key: Hashable, work: Callable[[], T], store: bool = True) -> T:
        """Return the result of `work` for this key, computed once if it is kept: several fits may need it."""


@dataclass(frozen=True)
class TrainingData:
    """The data known before `cut`. Arrays refer to users and items by their positions in `users` and `items`.

    The n event arrays hold one entry per product and basket, in order of user, basket and item.
    """

    users: NDArray[np.str_]
    """User keys with history, sorted."""
    items: NDArray[np.str_]
    """Item ids of the catalogue with history, sorted."""
    user: NDArray[np.int32]
    item: NDArray[np.int32]
    occurred_at: NDArray[np.int64]
    """Epoch seconds."""
    basket: NDArray[np.int32]
    """Dense code of (user, session): two users never share a basket."""
    user_tags: sparse.csr_array
    """float32 CSR, users x tags."""
    item_tags: sparse.csr_array
    """float32 CSR, items x tags."""
    user_tag_rules: Tags
    item_tag_rules: Tags
    """The rules of the tags, which also encode later rows."""
    item_titles: NDArray[np.str_]
    item_categories: NDArray[np.str_]
    """Full category path; empty if unknown."""
    available: NDArray[np.bool_]
    cut: int
    """The moment of training, in epoch seconds."""
    origin: Origin | None = None
    """The data set, used for moments before the cut only."""

    def user_index(self, keys: NDArray[np.str_] | ArrowColumn) -> NDArray[np.int32]:
        """Return the position of each user key, -1 for unknown users."""
        return index_of(self.users, keys)

    def item_index(self, ids: NDArray[np.str_] | ArrowColumn) -> NDArray[np.int32]:
        """Return the position of each item id, -1 for items without history."""
        return index_of(self.items, ids)

    def age_days(self) -> NDArray[np.float32]:
        """Return the days from each event to the cut ([n])."""
        return ((self.cut - self.occurred_at) / DAY).astype(np.float32)

    def first_events(self) -> NDArray[np.float64]:
        """Return the time of each item's first event in epoch seconds ([n_items])."""
        first = np.full(len(self.items), np.inf)
        np.minimum.at(first, self.item, self.occurred_at.astype(np.float64))
        return first

    def baskets(self) -> NDArray[np.int64]:
        """Return the number of different baskets of each user ([n_users])."""
        first = np.unique(self.basket, return_index=True)[1]
        return np.bincount(self.user[first], minlength=len(self.users))

    def history(self) -> sparse.csr_array:
        """Return the items that each user has bought: boolean CSR, users x items."""
        bought = np.ones(len(self.user), dtype=bool)
        return sparse.csr_array((bought, (self.user, self.item)), shape=(len(self.users), len(self.items)))


def build(
    interactions: pa.Table,
    users: pa.Table,
    items: pa.Table,
    cut: int,
    user_tag_columns: Sequence[str] = (),
    item_tag_columns: Sequence[str] = (),
    origin: Origin | None = None,
) -> TrainingData:
    """Return training data of the events known at `cut` (epoch s) whose item is in the catalogue `items`.

    An item counts once per basket; an event without a session is a basket of its own.
    Raises NoHistoryError if no event remains.
    """
    rows = _counted(interactions, items, cut)
    keys, ids = _vocabulary(rows[USER_KEY]), _vocabulary(rows[ITEM_ID])
    user_rows, item_rows = _ordered(users, USER_KEY, keys), _ordered(items, ITEM_ID, ids)
    user_rules, item_rules = Tags.fit(user_rows, user_tag_columns), Tags.fit(item_rows, item_tag_columns)
    return TrainingData(
        users=keys,
        items=ids,
        **_events(rows, keys, ids),
        user_tags=user_rules.encode(user_rows),
        item_tags=item_rules.encode(item_rows),
        user_tag_rules=user_rules,
        item_tag_rules=item_rules,
        item_titles=words(item_rows[TITLE]),
        item_categories=words(item_rows[CATEGORY]),
        available=np.asarray(pc.fill_null(item_rows[AVAILABLE], True), dtype=bool),
        cut=cut,
        origin=origin,
    )


def item_ids(interactions: pa.Table, items: pa.Table, cut: int) -> NDArray[np.str_]:
    """Return only the items of `build` ([n_items]). Raises NoHistoryError if there are none."""
    return _vocabulary(_counted(interactions, items, cut)[ITEM_ID])


def _counted(interactions: pa.Table, items: pa.Table, cut: int) -> pa.Table:
    rows = known_before(interactions, cut)
    rows = rows.filter(pc.is_in(as_text(rows[ITEM_ID]), value_set=as_text(items[ITEM_ID])))
    if rows.num_rows == 0:
        raise NoHistoryError("No purchases of catalogue items before the cut: ingest more data or cut later.")
    return rows


def _ordered(table: pa.Table, key: str, keys: NDArray[np.str_]) -> pa.Table:
    """Return one row per key, in order: nulls for an unknown key, the first row of several."""
    return table.take(pc.index_in(as_text(keys), value_set=as_text(table[key])))


def _events(rows: pa.Table, keys: NDArray[np.str_], ids: NDArray[np.str_]) -> dict[str, Any]:
    """Return the event arrays by name, ordered by user, basket and item; of repeats inside a basket the latest."""
    user = index_of(keys, rows[USER_KEY]).astype(np.int64)
    item = index_of(ids, rows[ITEM_ID])
    occurred_at = np.asarray(rows[OCCURRED_AT]).astype(np.int64)
    session = _session_code(rows)
    basket = np.unique(user * (session.max() + 1) + session, return_inverse=True)[1]
    order = np.lexsort((-occurred_at, item, basket))
    repeat = (np.diff(basket[order], prepend=-1) == 0) & (np.diff(item[order], prepend=-1) == 0)
    used = order[~repeat]
    codes = {"user": user[used], "item": item[used], "basket": basket[used]}
    return {name: code.astype(np.int32) for name, code in codes.items()} | {"occurred_at": occurred_at[used]}


def _session_code(rows: pa.Table) -> NDArray[np.int64]:
    """Return the alphabetical position of the session of each row, independent of the order of the rows."""
    moments = rows[OCCURRED_AT].cast(pa.large_string()).combine_chunks()
    coded = pc.coalesce(as_text(rows[SESSION_ID]), moments).dictionary_encode()
    rank = np.asarray(pc.rank(coded.dictionary)).astype(np.int64)
    code: NDArray[np.int64] = rank[np.asarray(coded.indices)]
    return code


def _vocabulary(column: ArrowColumn) -> NDArray[np.str_]:
    return np.sort(words(pc.unique(as_text(column))))


def known_before(interactions: pa.Table, moment: int, since: int | None = None) -> pa.Table:
    """Return the purchases that had happened (from `since` on) and were known before `moment` (epoch s).

    A refunded purchase counts until its refund was known. Missing columns exclude no rows.
    """
    occurred = interactions[OCCURRED_AT]
    selected: pa.ChunkedArray = pc.less(occurred, moment)
    if since is not None:
        selected = pc.and_(selected, pc.greater_equal(occurred, since))
    if RECEIVED_AT in interactions.column_names:
        selected = pc.and_(selected, pc.less(interactions[RECEIVED_AT], moment))
    if REFUNDED_AT in interactions.column_names:
        stands = pc.fill_null(pc.greater_equal(interactions[REFUNDED_AT], moment), True)
        selected = pc.and_(selected, stands)
    return interactions.filter(selected)


def targets(interactions: pa.Table, data: TrainingData, start: int, end: int) -> sparse.csr_array:
    """Return the items bought in [start, end), epoch seconds, as known at the end: boolean CSR, users x items.

    Users and items without history before the cut are left out, because no model could know them.
    Raises ValueError if the window begins before the cut, because the models have seen those purchases.
    """
    if start < data.cut:
        raise ValueError(f"Targets from {start} on, but the training data reach up to {data.cut}.")
    rows = known_before(interactions, end, since=start)
    user, item = data.user_index(rows[USER_KEY]), data.item_index(rows[ITEM_ID])
    known = (user >= 0) & (item >= 0)
    bought = np.ones(int(known.sum()), dtype=bool)
    shape = (len(data.users), len(data.items))
    return sparse.csr_array((bought, (user[known], item[known])), shape=shape)
