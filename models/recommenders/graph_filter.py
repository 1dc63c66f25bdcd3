"""A linear filter on the graph of users and items: it keeps tastes that many users share."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.datasets.interaction_matrix import baskets, profiles, rows
from models.primitives.state import Part, StoredModel, entries, matrix
from models.recommenders.explanations.evidence import reasons_of, shortened, strongest_own
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

_BLOCK: Final = 256
_CROWDED: Final = 0.05  # Share of filled cells from which a dense product is faster than a sparse one.


@dataclass(frozen=True)
class Config:
    """Settings of GraphFilter; the defaults suit a shop with repeat customers."""

    half_life_days: float = 60.0
    """An item that the user had this long before the latest one counts half in the profile."""
    memory_days: float = 180.0
    """A basket this old counts half in training."""
    components: int = 128
    """Singular vectors that the low pass keeps."""
    low_pass: float = 0.3
    """How much the low pass adds to the plain filter."""
    sharpening: float = 0.5
    """How much the low pass is damped for its strongest components, which are tastes that all users share."""
    user_exponent: float = 0.5
    """How much less a basket of a user with many baskets counts: the user's degree to this power divides it."""
    item_exponent: float = 0.5
    """The same of items."""
    popularity_exponent: float = 0.0
    """The power of an item's degree that multiplies its scores: above 0 it favours popular items."""


class _Columns(NamedTuple):
    """The parts of the filter for some items."""

    graph: Any
    """R of these items, CSR [n_users, c]."""
    factors: NDArray[np.float32]
    """[components, c] Vᵀ Dᵇ."""
    popularity: NDArray[np.float32]
    """[c] Dᶜ."""
    scored: NDArray[np.bool_]
    """[c] whether the item has purchases."""


@dataclass(frozen=True)
class GraphFilter(StoredModel, PreparesScopes):
    """Scores p (RᵀR + D⁻ᵇ V g(S) Vᵀ Dᵇ) Dᶜ, with the user's profile p.

    R are the baskets over powers of both degrees, its largest singular value made 1, U S Vᵀ its largest singular
    values and vectors, and D the items' degrees: GF-CF (Shen et al. 2021), whose g is a constant. Here g(s) is
    low_pass (1 - sharpening s²): the sharpening after the blurring of BSPM (Choi et al. 2023), as one spectral
    response. Free powers of the degrees as in Turbo-CF (Park et al. 2024). Nothing of n_items x n_items is held.
    """

    kind: ClassVar[str] = "graph_filter"
    config_type: ClassVar[type[Config]] = Config
    few_repeats: ClassVar[Config] = Config(
        half_life_days=8.0,
        memory_days=1000.0,
        low_pass=0.05,
        sharpening=0.1,
        item_exponent=0.55,
        popularity_exponent=0.1,
    )
    space: ClassVar[Mapping[str, Parameter]] = {
        "half_life_days": Float(0.5, 365, log=True),
        "memory_days": Float(14, 3650, log=True),
        "components": Choice((64, 128, 256, 512, 1024)),
        "low_pass": Float(0, 1),
        "sharpening": Float(0, 1),
        "user_exponent": Float(0, 1),
        "item_exponent": Float(0, 1),
        "popularity_exponent": Float(-0.5, 0.5),
    }

    stored: ClassVar[Mapping[str, Part]] = {"own": matrix("own", "users"), "graph": matrix("graph", "users")}

    titles: NDArray[np.str_]
    own: Any
    """float32 CSR, users x items: the users' profiles."""
    graph: Any
    """R, as CSR."""
    degree: NDArray[np.float32]
    """[n_items] 0 for an item without purchases."""
    factors: NDArray[np.float32]
    """[n_items, components] V."""
    response: NDArray[np.float32]
    """[components] g(S)."""
    clicked: bool = False
    """Whether the profiles are clicks rather than purchases."""

    @classmethod
    def fit(cls, data: "TrainingData", config: Config, seed: int) -> Self:
        """Normalise the baskets and find their singular vectors."""
        bought = baskets(data, config.memory_days)
        degree = bought.sum(axis=0).astype(np.float32)
        graph = normalised(bought, degree, config.user_exponent, config.item_exponent)
        values, factors = singular(graph, config.components, seed)
        # Exponents below a half leave values above 1: the largest is scaled to 1, as the response assumes.
        graph, values = graph / values[0], values / values[0]
        return cls(
            config,
            data.users,
            data.items,
            shortened(data.item_titles),
            own=profiles(data, config.half_life_days),
            graph=graph,
            degree=degree,
            factors=factors,
            response=(config.low_pass * (1 - config.sharpening * values**2)).astype(np.float32),
        )

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the filter's output; -inf for items without purchases and for strangers."""
        return self._filtered(users, self._every)

    def top_candidates(self, users: NDArray[np.int32], scope: CandidateScope, n: int) -> CandidatePairs:
        """Return the n best items of each user in the scope."""
        some = self._scoped.prepared(scope.items, self._columns)
        return best_by_scores(lambda block: self._filtered(block, some), users, scope, n)

    def pair_scores(self, users: NDArray[np.int32], items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return [n] the scores of pairs."""
        different, column = np.unique(items, return_inverse=True)
        columns = self._columns(different) if len(different) < len(self.items) else self._every
        return scores_of_pairs(lambda block: self._filtered(block, columns), users, column)

    def _filtered(self, users: NDArray[np.int32], columns: "_Columns") -> NDArray[np.float32]:
        """Return the scores of some items [m, c]."""
        scores = np.full((len(users), len(columns.scored)), -np.inf, dtype=np.float32)
        for start in range(0, len(users), _BLOCK):
            block = slice(start, start + _BLOCK)
            own = rows(self.own, users[block])
            passed = self._plain(own, columns.graph)
            passed += ((own * self._damped) @ self.factors * self.response) @ columns.factors
            passed *= columns.popularity
            scored = (np.diff(own.indptr) > 0)[:, None] & columns.scored
            np.copyto(scores[block], passed, where=scored)
        return scores

    @cached_property
    def _damped(self) -> NDArray[np.float32]:
        return power(self.degree, -self.config.item_exponent)

    @cached_property
    def _every(self) -> "_Columns":
        return self._columns(np.arange(len(self.items)))

    def _columns(self, items: NDArray[np.int64]) -> "_Columns":
        degree = self.degree[items]
        whole = len(items) == len(self.items)
        return _Columns(
            self.graph if whole else sparse.csr_array(self.graph[:, items]),
            self.factors[items].T * power(degree, self.config.item_exponent),
            power(degree, self.config.popularity_exponent),
            degree > 0,
        )

    def _plain(self, own: Any, graph: Any) -> NDArray[np.float32]:
        """Return p RᵀR of some items, dense; `graph` has their columns of R."""
        alike = own @ self.graph.T
        if alike.nnz > _CROWDED * alike.shape[0] * alike.shape[1]:
            return np.ascontiguousarray((graph.T @ alike.toarray().T).T)
        plain: NDArray[np.float32] = (alike @ graph).toarray()
        return plain

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:
        """Return the own item that adds most to the score."""
        blocks = [slice(start, start + _BLOCK) for start in range(0, len(items), _BLOCK)]
        strongest = [strongest_own(self._evidence(users[block], items[block]), items[block]) for block in blocks]
        return reasons_of(self.titles, np.concatenate([np.empty(0, dtype=np.int32), *strongest]), self.clicked)

    def _evidence(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> Any:
        """Return [m, n_items] the part of each own item in the score of the listed one, up to a constant factor."""
        own = rows(self.own, users)
        scale = power(self.degree, self.config.item_exponent)
        values = np.empty(own.nnz, dtype=np.float32)
        for user in np.unique(users):
            listed = np.flatnonzero(users == user)
            found = own.indices[own.indptr[listed[0]] : own.indptr[listed[0] + 1]]
            plain = self._by_item[found] @ self._by_item[items[listed]].toarray().T
            low = (self.factors[found] * self.response) @ self.factors[items[listed]].T
            low *= scale[items[listed]] / np.maximum(scale[found], np.finfo(np.float32).tiny)[:, None]
            at = entries(own.indptr, listed).at
            values[at] = own.data[at] * (plain + low).T.ravel()
        return sparse.csr_array((values, own.indices, own.indptr), shape=own.shape)

    @cached_property
    def _by_item(self) -> Any:
        """Rᵀ, as CSR."""
        return sparse.csr_array(self.graph.T)

    def with_users(self, users: "NewUsers") -> Self:
        """Return the model of users with clicks as profiles; traits are not used."""
        clicks = sparse.csr_array(users.events, dtype=np.float32)
        return replace(self, users=users.keys, own=clicks, clicked=True)


def normalised(baskets: Any, degree: NDArray[np.float32], user_exponent: float, item_exponent: float) -> Any:
    """Return float32 CSR, users x items: baskets over powers of both degrees; `degree` is that of the items."""
    by_user = sparse.diags_array(power(baskets.sum(axis=1), -user_exponent))
    by_item = sparse.diags_array(power(degree, -item_exponent))
    return sparse.csr_array(by_user @ baskets @ by_item).astype(np.float32)


def power(degree: Any, exponent: float) -> NDArray[np.float32]:
    """Return powers of the degrees above 0; 0 stays 0."""
    powers = np.zeros(len(degree), dtype=np.float32)
    np.power(degree, exponent, out=powers, where=degree > 0)
    return powers


def singular(graph: Any, components: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the largest singular values and [n_items, components] right vectors (Halko et al. 2011), signs fixed."""
    from sklearn.utils.extmath import randomized_svd  # only a fit needs it: a stored model outlives the library

    rank = min(components, *graph.shape)
    _, values, vectors = randomized_svd(sparse.csr_matrix(graph), rank, n_iter=4, random_state=seed)
    return values.astype(np.float32), np.ascontiguousarray(vectors.T, dtype=np.float32)
