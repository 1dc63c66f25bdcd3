"""What models learn from: events and tags as arrays of positions, seen from one moment in time."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from models.columns import AVAILABLE, CATEGORY, ITEM_ID, OCCURRED_AT, SESSION_ID, TITLE, USER_KEY
from models.datasets.known_purchases import known_before
from models.errors import TailorbirdError
from models.features.encoding.tags import Tags
from models.features.tables.registry import FeatureTables
from models.primitives.vocabulary import _text, index_of, words

T = TypeVar("T")


class NoHistoryError(TailorbirdError):
    """There is nothing to learn from before the cut."""


class Origin(Protocol):
    """The data set that training data come from, for models that also learn from how things stood before."""

    def traits(self, cut: int) -> pa.Table:
        """`user_key` and the traits known at that moment, one row per user."""

    def training_data(self, cut: int) -> "TrainingData":
        """Everything known before a moment (epoch s)."""

    def features(self, cut: int) -> FeatureTables:
        """The features at that moment."""

    def before(self, cut: int, days: int) -> int:
        """A moment before the cut to learn from: the data set's own last one, or `days` before when it has none."""

    def holdout(self, data: "TrainingData", end: int) -> Any:
        """What the users of `data` bought from its cut up to `end`: boolean CSR, users x items."""

    def once(self, key: Hashable, work: Callable[[], T], keep: bool = True) -> T:
        """What `work` gave for that key the first time, if that was kept: several fits may need it."""


@dataclass(frozen=True)
class TrainingData:
    """Everything known before `cut`. Users and items are named by their position in `users` and `items`.

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
    """Dense code of (user, session): two users never share one."""
    user_tags: Any
    """float32 CSR, users x tags."""
    item_tags: Any
    """float32 CSR, items x tags."""
    user_tag_rules: Tags
    item_tag_rules: Tags
    """What made the tags, for rows that come later."""
    item_titles: NDArray[np.str_]
    item_categories: NDArray[np.str_]
    """Full category path; empty when unknown."""
    available: NDArray[np.bool_]
    cut: int
    """Epoch seconds: the model's now."""
    origin: Origin | None = None
    """Asked about moments before the cut only."""

    @property
    def user_tag_names(self) -> NDArray[np.str_]:
        """`column=value` of each column of `user_tags`."""
        return self.user_tag_rules.names

    @property
    def item_tag_names(self) -> NDArray[np.str_]:
        """`column=value` of each column of `item_tags`."""
        return self.item_tag_rules.names

    def user_index(self, keys: Any) -> NDArray[np.int32]:
        """Position of each user key, -1 for strangers."""
        return index_of(self.users, keys)

    def item_index(self, ids: Any) -> NDArray[np.int32]:
        """Position of each item id, -1 for items without history."""
        return index_of(self.items, ids)

    def age_days(self) -> NDArray[np.float32]:
        """[n] days from each event to the cut."""
        return ((self.cut - self.occurred_at) / 86_400).astype(np.float32)

    def baskets(self) -> NDArray[np.int64]:
        """[n_users] different baskets of each user."""
        first = np.unique(self.basket, return_index=True)[1]
        return np.bincount(self.user[first], minlength=len(self.users))

    def history(self) -> Any:
        """Boolean CSR, users x items: what each user has bought."""
        seen = np.ones(len(self.user), dtype=bool)
        return sparse.csr_array((seen, (self.user, self.item)), shape=(len(self.users), len(self.items)))


def position_of(vocabulary: NDArray[np.str_], word: str) -> int:
    """Position of one word in `vocabulary`, -1 if it is not there; of several words `index_of` takes less time."""
    found = np.flatnonzero(vocabulary == word)
    return int(found[0]) if len(found) else -1


def build(
    interactions: pa.Table,
    users: pa.Table,
    items: pa.Table,
    cut: int,
    user_tag_columns: Sequence[str] = (),
    item_tag_columns: Sequence[str] = (),
    origin: Origin | None = None,
) -> TrainingData:
    """Training data of the events known at `cut` (epoch s) whose item is in the catalogue `items`.

    The same product twice in one basket counts once; an event without a session is a basket of its own.
    Raises NoHistoryError when nothing is left.
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
    """[n_items] the items of `build`, without the rest. Raises NoHistoryError when there are none."""
    return _vocabulary(_counted(interactions, items, cut)[ITEM_ID])


def _counted(interactions: pa.Table, items: pa.Table, cut: int) -> pa.Table:
    rows = known_before(interactions, cut)
    rows = rows.filter(pc.is_in(_text(rows[ITEM_ID]), value_set=_text(items[ITEM_ID])))
    if rows.num_rows == 0:
        raise NoHistoryError("No purchases of catalogue items before the cut: ingest more data or cut later.")
    return rows


def _ordered(table: pa.Table, key: str, keys: NDArray[np.str_]) -> pa.Table:
    """One row per key, in order; nulls where the table does not know the key, its first row if several."""
    return table.take(pc.index_in(_text(keys), value_set=_text(table[key])))


def _events(rows: pa.Table, keys: NDArray[np.str_], ids: NDArray[np.str_]) -> dict[str, Any]:
    """The event arrays by user, basket and item; of repeats inside a basket the latest stays."""
    user = index_of(keys, rows[USER_KEY]).astype(np.int64)
    item = index_of(ids, rows[ITEM_ID])
    occurred_at = np.asarray(rows[OCCURRED_AT]).astype(np.int64)
    session = _session_code(rows)
    basket = np.unique(user * (session.max() + 1) + session, return_inverse=True)[1]
    order = np.lexsort((-occurred_at, item, basket))
    repeat = (np.diff(basket[order], prepend=-1) == 0) & (np.diff(item[order], prepend=-1) == 0)
    kept = order[~repeat]
    return {
        "user": user[kept].astype(np.int32),
        "item": item[kept],
        "occurred_at": occurred_at[kept],
        "basket": basket[kept].astype(np.int32),
    }


def _session_code(rows: pa.Table) -> NDArray[np.int64]:
    """Place of each row's session in alphabetical order, whatever the order of the rows."""
    moments = rows[OCCURRED_AT].cast(pa.large_string()).combine_chunks()
    coded = pc.coalesce(_text(rows[SESSION_ID]), moments).dictionary_encode()
    rank = np.asarray(pc.rank(coded.dictionary)).astype(np.int64)
    code: NDArray[np.int64] = rank[np.asarray(coded.indices)]
    return code


def _vocabulary(column: Any) -> NDArray[np.str_]:
    return np.sort(words(pc.unique(_text(column))))
