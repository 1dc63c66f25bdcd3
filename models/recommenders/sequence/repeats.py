"""How much more likely a user buys an own item again, by when and how often the user bought it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.primitives.state import Lookup, State, entries, parts, whole
from models.primitives.time import DAY
from models.primitives.vocabulary import NO_INDEX
from models.recommenders.sequence.histories import GAPS, Ordered, gap_class

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData

DUE: Final = 8
"""Classes of the time since the last purchase by the usual time between two: 0 is for items bought on one day."""


class OwnItems(NamedTuple):
    """The different items that users bought; n pairs of user and item, in order."""

    user: NDArray[np.int64]
    item: NDArray[np.int64]
    due: NDArray[np.int64]
    """[n] the class of the time since the last purchase."""
    entry: NDArray[np.int64]
    """[e] the pair of each purchase."""
    age: NDArray[np.int64]
    """[e] the class of the time from each purchase to the moment."""

    @classmethod
    def of(cls, events: Ordered, moments: NDArray[np.int64], n_items: int) -> Self:
        """Return the items that the users [n_users] bought before their moments (epoch s)."""
        known = events.bought & (events.occurred_at < moments[events.user])
        user, at, moment = events.user[known], events.occurred_at[known], moments[events.user[known]]
        pairs, first, entry = np.unique(
            user.astype(np.int64) * n_items + events.item[known], return_index=True, return_inverse=True
        )
        last = np.zeros(len(pairs), dtype=np.int64)
        last[entry] = np.arange(len(entry))  # of several values the last one stays
        days = np.bincount(entry, minlength=len(pairs))
        usual = np.maximum(DAY, (at[last] - at[first]) / np.maximum(1, days - 1))
        ratio = np.log2(np.maximum(moment[last] - at[last], 1) / usual)
        due = np.where(days > 1, np.clip(np.floor(ratio + DUE / 2), 1, DUE - 1), 0)
        owner, item = np.divmod(pairs, n_items)
        return cls(owner, item, due.astype(np.int64), entry, gap_class(moment - at).astype(np.int64))


@dataclass(frozen=True, eq=False)
class Repeats:
    """The rate at which a user buys an own item is `least` times the network's, plus what its purchases add: the sum of
    `ages` over them, times `due`.
    """

    least: float
    ages: NDArray[np.float64]
    """[GAPS] the weight of a purchase, by the class of its age."""
    due: NDArray[np.float64]
    """[DUE] a factor, by the class of the time since the last purchase."""
    scale: float
    """What a logarithm of a rate is worth in scores."""

    @classmethod
    def none(cls) -> Self:
        """Return that own items are as likely as new ones."""
        return cls(1.0, np.zeros(GAPS), np.ones(DUE), 1.0)

    def bonuses(self, own: OwnItems, shape: tuple[int, int]) -> sparse.csr_array:
        """Return what the purchases of own items alone score: float32 CSR, users x items."""
        weight = np.bincount(own.entry, self.ages[own.age], minlength=len(own.item))
        values = self.scale * np.log(np.maximum(weight * self.due[own.due], np.finfo(np.float32).tiny))
        return sparse.csr_array((values.astype(np.float32), (own.user, own.item)), shape=shape)

    def joined(self, scores: NDArray[np.float32], bonuses: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the scores of own items from those of the network and the bonuses; no number stays none."""
        scale = np.float32(self.scale)
        with np.errstate(invalid="ignore"):
            rates = np.logaddexp(scores / scale + np.float32(np.log(self.least)), bonuses / scale)
        return np.where(np.isfinite(scores), scale * rates, scores)

    def state(self) -> State:
        """Return its arrays."""
        return {f"repeats.{name}": np.asarray(getattr(self, name)) for name in ("least", "ages", "due", "scale")}

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Return the stored ones."""
        least, scale = (float(state[f"repeats.{name}"]) for name in ("least", "scale"))
        return cls(least, state["repeats.ages"], state["repeats.due"], scale)


@dataclass(frozen=True, eq=False)
class Bonuses:
    """One for each own item of each user."""

    of_own: sparse.csr_array
    """float32 CSR, users x items."""
    repeats: Repeats
    """Joins them with the network's scores."""

    @classmethod
    def of(cls, repeats: Repeats, events: Ordered, data: "TrainingData") -> Self:
        """Return those of what the users of the data bought before the cut."""
        own = OwnItems.of(events, np.full(len(data.users), data.cut), len(data.items))
        return cls(repeats.bonuses(own, (len(data.users), len(data.items))), repeats)

    @classmethod
    def none(cls, n_users: int, n_items: int) -> Self:
        """Return those of users without own items."""
        return cls(sparse.csr_array((n_users, n_items), dtype=np.float32), Repeats.none())

    def added(
        self, users: NDArray[np.int32], scores: NDArray[np.float32], column_of: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Join them to scores of users (-1: strangers) and return these.

        The columns are all items, or those with a column in `column_of` [n_items]; NO_INDEX for the others.
        """
        own = entries(self.of_own.indptr, users)
        item = self.of_own.indices[own.at]
        column = item if column_of is None else column_of[item]
        known = column != NO_INDEX
        place = own.row[known], column[known]
        scores[place] = self.repeats.joined(scores[place], self.of_own.data[own.at[known]])
        return scores

    def added_to_pairs(
        self,
        users: NDArray[np.int32],
        row: NDArray[np.int64],
        items: NDArray[np.integer[Any]],
        scores: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Return [n] the scores of items for the users at these rows with theirs."""
        own, width = entries(self.of_own.indptr, users), self.of_own.shape[1]
        codes = own.row * width + self.of_own.indices[own.at]
        bonus = Lookup(width, codes, self.of_own.data[own.at, None]).find(row, items)[:, 0]
        return np.where(np.isnan(bonus), scores, self.repeats.joined(scores, bonus))

    def state(self) -> State:
        """Return their arrays."""
        return parts("bonuses", self.of_own)

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Return the stored ones."""
        shape = (len(state["users"]), len(state["items"]))
        return cls(whole("bonuses", state, shape), Repeats.from_state(state))
