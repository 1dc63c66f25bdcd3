"""Item-based nearest neighbours: items that occur with, or after, the user's recent items."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.datasets.interaction_matrix import baskets, decay, profiles, rows
from models.primitives.state import Part, StoredModel, matrix
from models.recommenders.explanations.evidence import reasons_of, shortened, strongest_own
from models.recommenders.item_based.bought_together import as_sets, in_order, strongest
from models.recommenders.search_space import Choice, Float, Parameter
from models.retrieval.candidate_query import (
    CandidatePairs,
    CandidateScope,
    PreparesScopes,
    best_by_scores,
    scores_of_pairs,
)

if TYPE_CHECKING:
    from models.datasets.cold_start import NewUsers
    from models.datasets.training_data import TrainingData


_PROFILE: Final = 100
"""Items of a user's profile, the latest and most frequent ones: further ones add nothing but time."""


@dataclass(frozen=True)
class Config:
    """Settings of ItemKNN; the defaults suit a shop with repeat customers."""

    half_life_days: float = 60.0
    """An item that the user had this long before the latest one counts half in the profile."""
    memory_days: float = 60.0
    """Pairs this old count half in training."""
    neighbours: int = 200
    """Neighbours per item."""
    window: int = 0
    """Events of a user up to this many places apart are a pair; 0: all of a user's items are, in any order."""
    lag_exponent: float = 0.5
    """How fast pairs count less the further apart they are (in order only)."""
    backward: float = 0.3
    """The weight of the earlier item for the later one (in order only)."""
    user_exponent: float = 0.5
    """How much less a pair counts in a long history than in a short one."""
    source_exponent: float = 0.5
    """How much less evidence an item that is bought often is than a rare one."""
    popularity_exponent: float = 0.5
    """How much popular items are damped: 0 not at all; 0.5 for both exponents is cosine."""
    shrinkage: float = 10.0
    """Events added to each item's, so that a few common events are no evidence."""


@dataclass(frozen=True)
class ItemKNN(StoredModel, PreparesScopes):
    """Scores an item by its similarity to each of the user's items, with more weight on later ones.

    Similarity is the weight of pairs (`models.recommenders.item_based.bought_together`) over powers of both items' own
    weights plus shrinkage: cosine (Sarwar et al. 2001) with the popularity correction of Deshpande & Karypis (2004) or,
    with a window, transitions in order.
    """

    kind: ClassVar[str] = "item_knn"
    config_type: ClassVar[type[Config]] = Config
    few_repeats: ClassVar[Config] = Config(
        half_life_days=15.0,
        memory_days=1500.0,
        window=10,
        lag_exponent=0.1,
        backward=0.6,
        user_exponent=0.3,
        source_exponent=0.7,
        popularity_exponent=0.6,
    )
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

    stored: ClassVar[Mapping[str, Part]] = {"own": matrix("own", "users"), "alike": matrix("alike", "items")}

    titles: NDArray[np.str_]
    own: Any
    """float32 CSR, users x items: the users' profiles."""
    alike: Any
    """float32 CSR [n_items, n_items]: the similarity of the neighbours of each item."""
    clicked: bool = False
    """Whether the profiles are clicks rather than purchases."""

    @classmethod
    def fit(cls, data: "TrainingData", config: Config, seed: int) -> Self:  # noqa: ARG003 - nothing is random
        """Count pairs, normalise them and keep the strongest."""
        own, alike = strongest(profiles(data, config.half_life_days), _PROFILE), _similarity(data, config)
        return cls(config, data.users, data.items, shortened(data.item_titles), own, alike)

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the similarity to the user's items, summed by their weights; -inf for items similar to none."""
        return self._summed(users, self.alike)

    def top_candidates(self, users: NDArray[np.int32], scope: CandidateScope, n: int) -> CandidatePairs:
        """Return the n best items of each user in the scope."""
        alike = self._scoped.prepared(scope.items, lambda items: sparse.csr_array(self.alike[:, items]))
        return best_by_scores(lambda block: self._summed(block, alike), users, scope, n)

    def pair_scores(self, users: NDArray[np.int32], items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return [n] the scores of pairs."""
        return scores_of_pairs(lambda block: self._summed(block, self.alike), users, items)

    def _summed(self, users: NDArray[np.int32], alike: Any) -> NDArray[np.float32]:
        """Return the scores [m, c] for the items of some columns of the similarities."""
        scores: NDArray[np.float32] = (rows(self.own, users) @ alike).toarray()
        scores[scores == 0] = -np.inf
        return scores

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:
        """Return the own item that adds most to the score."""
        own = rows(self.own, users)
        listed = np.repeat(items, np.diff(own.indptr))
        similarity = self.alike[own.indices, listed] if own.nnz else own.data
        evidence = sparse.csr_array((own.data * similarity, own.indices, own.indptr), shape=own.shape)
        return reasons_of(self.titles, strongest_own(evidence, items), self.clicked)

    def with_users(self, users: "NewUsers") -> Self:
        """Return the model of users with clicks as profiles; traits are not used."""
        clicks = sparse.csr_array(users.events, dtype=np.float32)
        return replace(self, users=users.keys, own=clicks, clicked=True)


def _similarity(data: "TrainingData", config: Config) -> Any:
    """Return a CSR of the strongest neighbours of each row's item."""
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
    """Return the factors of the rows and of the columns of the similarity matrix."""
    shrunk = np.maximum(total + config.shrinkage, np.finfo(np.float32).tiny)
    source, target = (shrunk**-power for power in (config.source_exponent, config.popularity_exponent))
    return source.astype(np.float32), target.astype(np.float32)
