"""The latest events of users in order of time, the times between them, and the stored network that reads them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.columns import EVENT_TYPE, ITEM_ID, OCCURRED_AT, USER_KEY
from models.primitives.arrow_types import pa, pc
from models.primitives.state import State, entries

if TYPE_CHECKING:
    from models.datasets.cold_start import InOrder
    from models.datasets.training_data import TrainingData

GAPS: Final = 16
"""Classes of times between events: 0 is less than an hour, and class n is about 2^n hours."""
_HOUR: Final = 3_600
_HIDDEN: Final = np.float32(-1e9)
"""What an event adds to the attention of earlier ones."""
KINDS: Final = ("view", "cart", "purchase")
VIEW, CART, PURCHASE = range(len(KINDS))
_KIND_OF: Final = {"view": VIEW, "click": VIEW, "consume": VIEW, "add_to_cart": CART, "wishlist": CART, "like": CART}
"""The kinds of event types. Purchases come from the training data, which know their refunds."""


class Acts(NamedTuple):
    """n events in any order, with users and items by their positions in the training data."""

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    occurred_at: NDArray[np.int64]
    kind: NDArray[np.uint8]


def acts_of(data: "TrainingData") -> Acts:
    """Return the acts besides purchases, on items with purchases, that the data set stores for this cut.

    There are none at moments for which it stores none, in data sets of earlier formats and without a data set.
    """
    rows = data.origin.acts(data.cut) if data.origin else None
    if rows is None:
        empty = np.empty(0, dtype=np.int32)
        return Acts(empty, empty, empty.astype(np.int64), empty.astype(np.uint8))
    types = pa.array(list(_KIND_OF))
    place = pc.index_in(rows[EVENT_TYPE].cast(pa.string()), value_set=types)
    rows, place = rows.filter(place.is_valid()), place.drop_null()
    user, item = data.user_index(rows[USER_KEY]), data.item_index(rows[ITEM_ID])
    known = (user >= 0) & (item >= 0)
    kind = np.array(list(_KIND_OF.values()), dtype=np.uint8)[np.asarray(place)]
    at = np.asarray(rows[OCCURRED_AT]).astype(np.int64)
    return Acts(user[known], item[known], at[known], kind[known])


class Padded(NamedTuple):
    """Histories of m users as rows of the same length, filled up on the right."""

    items: NDArray[np.int64]
    """[m, length]"""
    gaps: NDArray[np.int64]
    """[m, length]"""
    kinds: NDArray[np.int64]
    counts: NDArray[np.int64]
    """[m] events of each row, at least 1."""


class Ordered(NamedTuple):
    """n events by user and time; those of the same moment are a basket, by kind and item."""

    user: NDArray[np.int32]
    item: NDArray[np.int32]
    occurred_at: NDArray[np.int64]
    gap: NDArray[np.uint8]
    """The class of the time to the user's next event, of the last one to the cut."""
    kind: NDArray[np.uint8]
    """Its position in `KINDS`."""

    @classmethod
    def of(cls, data: "TrainingData", time_gaps: bool = True) -> Self:
        """Return the purchases of the data, and the other acts that their data set stores for the cut.

        Without `time_gaps` all classes are 0.
        """
        acts, bought = acts_of(data), np.full(len(data.user), PURCHASE, dtype=np.uint8)
        kind, at = np.concatenate([bought, acts.kind]), np.concatenate([data.occurred_at, acts.occurred_at])
        user, item = np.concatenate([data.user, acts.user]), np.concatenate([data.item, acts.item])
        order = np.lexsort((item, kind, at, user))
        user, item, at, kind = user[order], item[order], at[order], kind[order]
        later = np.append(at[1:], data.cut)
        later[np.append(np.diff(user) != 0, True)] = data.cut
        gap = gap_class(later - at)
        return cls(user, item, at, gap if time_gaps else np.zeros_like(gap), kind)

    def of_users(self, users: NDArray[np.int64]) -> Self:
        """Return the events of some users, in ascending order, numbered by their places among them."""
        own = np.isin(self.user, users)
        place = np.searchsorted(users, self.user[own]).astype(np.int32)
        return type(self)(place, self.item[own], self.occurred_at[own], self.gap[own], self.kind[own])

    @property
    def starts_basket(self) -> NDArray[np.bool_]:
        """[n] whether an event is the first one of its user and moment."""
        first: NDArray[np.bool_] = (np.diff(self.user, prepend=-1) != 0) | (np.diff(self.occurred_at, prepend=0) != 0)
        return first

    @property
    def bought(self) -> NDArray[np.bool_]:
        """[n] whether an event is a purchase."""
        purchases: NDArray[np.bool_] = self.kind == PURCHASE
        return purchases


def gap_class(seconds: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return the class of each time between two events."""
    classes = np.log2(1 + np.maximum(seconds, 0) / _HOUR).astype(np.int64)
    return np.minimum(classes, GAPS - 1).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Histories:
    """The events of n users, the oldest first, one user after the other."""

    items: NDArray[np.int32]
    gaps: NDArray[np.uint8]
    """The class of the time from each event to the next one, of the last one to the moment of the lists."""
    kinds: NDArray[np.uint8]
    """Positions in `KINDS`."""
    ends: NDArray[np.int64]
    """[n + 1] the events of user u are at ends[u]:ends[u + 1]."""

    @classmethod
    def of(cls, events: Ordered, n_users: int, length: int) -> Self:
        """Return the last `length` events of each user."""
        counts = np.bincount(events.user, minlength=n_users)
        from_end = np.cumsum(counts)[events.user] - np.arange(len(events.user))
        kept = from_end <= length
        ends = np.concatenate([[0], np.cumsum(np.minimum(counts, length))])
        return cls(events.item[kept], events.gap[kept], events.kind[kept], ends)

    @classmethod
    def of_clicks(cls, clicks: "InOrder", length: int, usual_gap: int) -> Self:
        """Return the last `length` clicks of each new user as views at usual gaps, because their times are unknown."""
        counts = np.diff(clicks.ends)
        from_end = np.repeat(clicks.ends[1:], counts) - np.arange(len(clicks.items))
        items = clicks.items[from_end <= length]
        ends = np.concatenate([[0], np.cumsum(np.minimum(counts, length))])
        gaps, kinds = (np.full(len(items), value, dtype=np.uint8) for value in (usual_gap, VIEW))
        return cls(items.astype(np.int32), gaps, kinds, ends)

    @property
    def counts(self) -> NDArray[np.int64]:
        """[n] the events of each user."""
        return np.diff(self.ends)

    def padded(self, users: NDArray[np.integer[Any]]) -> Padded:
        """Return the histories of users with events."""
        found, counts = entries(self.ends, users), self.counts[users]
        place = found.at - self.ends[users][found.row]
        shape = (len(users), int(counts.max(initial=0)))
        items, gaps, kinds = (np.zeros(shape, dtype=np.int64) for _ in range(3))
        items[found.row, place], gaps[found.row, place] = self.items[found.at], self.gaps[found.at]
        kinds[found.row, place] = self.kinds[found.at]
        return Padded(items, gaps, kinds, counts)

    def matrix(self, n_items: int) -> sparse.csr_array:
        """Return the items of each user: boolean CSR, users x items."""
        row = np.repeat(np.arange(len(self.ends) - 1), self.counts)
        ones = np.ones(len(row), dtype=bool)
        return sparse.csr_array((ones, (row, self.items)), shape=(len(self.ends) - 1, n_items))

    def state(self) -> State:
        """Return its arrays."""
        return {f"history.{name}": getattr(self, name) for name in ("items", "gaps", "kinds", "ends")}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Return the stored histories."""
        return cls(*(state[f"history.{name}"] for name in ("items", "gaps", "kinds", "ends")))


@dataclass(frozen=True, eq=False)
class Encoder:
    """The network as an ONNX graph: it turns a history into a vector, whose products with items are scores."""

    graph: NDArray[np.uint8]
    """The bytes of the ONNX file."""

    def state(self) -> State:
        """Return the graph as an array."""
        return {"network": self.graph}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Return the stored network."""
        return cls(state["network"])

    def __call__(self, vectors: NDArray[np.float32], padded: Padded) -> NDArray[np.float32]:
        """Return [m, d] the vectors of m histories; `vectors` [n_items, d] are those of items, NaN without one."""
        m, length = padded.items.shape
        inputs = {
            "events": np.nan_to_num(vectors[padded.items]),
            "gaps": padded.gaps,
            "kinds": padded.kinds,
            "positions": np.arange(length),
            "mask": np.triu(np.full((length, length), _HIDDEN), 1),
            "last": np.column_stack([np.arange(m), padded.counts - 1]),
        }
        names = {one.name for one in self._session.get_inputs()}
        encoded: NDArray[np.float32] = self._session.run(["encoded"], {name: inputs[name] for name in names})[0]
        return encoded

    @cached_property
    def _session(self) -> Any:
        """The loaded graph. It has no threads of its own, so that a forked process can go on with it."""
        import onnxruntime as runtime

        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return runtime.InferenceSession(self.graph.tobytes(), options, providers=["CPUExecutionProvider"])
