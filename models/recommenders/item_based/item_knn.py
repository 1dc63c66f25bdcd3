"""Item-based nearest neighbours: what goes with, or comes after, what the user had of late."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.datasets.cold_start import NewUsers
from models.datasets.interaction_matrix import baskets, decay, profiles, rows
from models.datasets.training_data import TrainingData
from models.primitives.sparse_state import parts, whole
from models.primitives.state import State
from models.recommenders.explanations.item import reasons_of, shortened, strongest_own, titles_of
from models.recommenders.item_based.cooccurrence import as_sets, in_order, strongest
from models.recommenders.search_space import Choice, Float, Parameter


@dataclass(frozen=True)
class Config:
    """Settings of ItemKNN; the defaults suit a shop that people come back to."""

    half_life_days: float = 60.0
    """An item that the user had this long before the latest counts half for what is recommended now."""
    memory_days: float = 60.0
    """Half-life of what is learned: items found together this long ago count half."""
    neighbours: int = 200
    """Kept per item."""
    window: int = 0
    """Events of a user up to this many places apart make a pair; 0: all of a user's items do, whatever the order."""
    lag_exponent: float = 0.5
    """How fast pairs count less the further apart they are (in order only)."""
    backward: float = 0.3
    """What came before counts this much of what came after (in order only)."""
    user_exponent: float = 0.5
    """How much less a pair counts in a long history than in a short one."""
    source_exponent: float = 0.5
    """How much less the user's often bought items say than his rarely bought ones."""
    popularity_exponent: float = 0.5
    """How much popular items are held back: 0 not at all; 0.5 twice is cosine."""
    shrinkage: float = 10.0
    """Events added to each item's, so that a few do not make a neighbour."""


@dataclass(frozen=True)
class ItemKNN:
    """Scores an item by its likeness to each of the user's own, the later ones counting more.

    Likeness is the weight of pairs (`models.recommenders.item_based.cooccurrence`) over powers of both items' own
    weights plus shrinkage: cosine (Sarwar et al. 2001) with the popularity correction of Deshpande & Karypis (2004) or,
    with a window, transitions in order.
    """

    kind: ClassVar[str] = "item_knn"
    config_type: ClassVar[type[Config]] = Config
    space: ClassVar[Mapping[str, Parameter]] = {
        "half_life_days": Float(0.5, 365, log=True),
        "memory_days": Float(14, 3650, log=True),
        "window": Choice((0, 3, 10, 30)),
        "lag_exponent": Float(0, 1.5),
        "backward": Float(0, 1),
        "user_exponent": Float(0, 1),
        "source_exponent": Float(0, 1),
        "popularity_exponent": Float(0, 1),
        "shrinkage": Float(0.1, 100, log=True),
    }

    config: Config
    users: NDArray[np.str_]
    items: NDArray[np.str_]
    titles: NDArray[np.str_]
    own: Any
    """float32 CSR, users x items: what each user had."""
    alike: Any
    """float32 CSR [n_items, n_items]: the likeness of the neighbours of each item."""
    clicked: bool = False
    """Whether the users clicked what they had, rather than bought it."""

    @classmethod
    def fit(cls, data: TrainingData, config: Config, seed: int) -> Self:  # noqa: ARG003 - nothing is random
        """Count pairs, normalise them and keep the strongest."""
        own, alike = profiles(data, config.half_life_days), _likeness(data, config)
        return cls(config, data.users, data.items, shortened(data.item_titles), own, alike)

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Likeness to the user's own items, summed by their weights; -inf for items like none of them."""
        found = rows(self.own, users) @ self.alike
        scores = np.full(found.shape, -np.inf, dtype=np.float32)
        row = np.repeat(np.arange(len(users)), np.diff(found.indptr))
        scores[row, found.indices] = found.data
        return scores

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:
        """The own item that adds most to the score."""
        like_pick = sparse.csr_array(self.alike.T)[items]
        evidence = sparse.csr_array(rows(self.own, users).multiply(like_pick))
        return reasons_of(self.titles, strongest_own(evidence, items), self.clicked)

    def with_users(self, users: NewUsers) -> Self:
        """Users by their clicks, which stand for what they had; traits say nothing about what goes with what."""
        clicks = sparse.csr_array(users.events, dtype=np.float32)
        return replace(self, users=users.keys, own=clicks, clicked=True)

    def state(self) -> State:
        """Everything but the settings."""
        arrays: State = {"users": self.users, "items": self.items, "titles": self.titles}
        return arrays | parts("own", self.own) | parts("alike", self.alike)

    @classmethod
    def from_state(cls, config: Config, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """The stored model again."""
        users, items = state["users"], state["items"]
        own, alike = (whole(name, state, (n, len(items))) for name, n in (("own", len(users)), ("alike", len(items))))
        return cls(config, users, items, titles_of(state), own, alike)


def _likeness(data: TrainingData, config: Config) -> Any:
    """CSR of the strongest neighbours of each item, for the row's item what goes with it."""
    length = np.bincount(data.user, minlength=len(data.users)).astype(np.float32)
    share = (np.maximum(length, 1) ** -config.user_exponent).astype(np.float32)
    if config.window:
        remembered = decay(data, config.memory_days)
        source, target = _scales(np.bincount(data.item, remembered, minlength=len(data.items)), config)
        weight = remembered * share[data.user]
        pairs = in_order(data, weight, config.window, config.lag_exponent, config.backward)
        alike = sparse.csr_array(sparse.diags_array(source) @ pairs @ sparse.diags_array(target))
        return strongest(alike, config.neighbours)
    bought = baskets(data, config.memory_days)
    source, target = _scales(bought.power(2).sum(axis=0), config)
    weights = sparse.csr_array(sparse.diags_array(np.sqrt(share)) @ bought)
    return as_sets(weights, config.neighbours, source, target)


def _scales(total: Any, config: Config) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the rows and the columns of likeness are multiplied by."""
    shrunk = np.maximum(total + config.shrinkage, np.finfo(np.float32).tiny)
    source, target = (shrunk**-power for power in (config.source_exponent, config.popularity_exponent))
    return source.astype(np.float32), target.astype(np.float32)
