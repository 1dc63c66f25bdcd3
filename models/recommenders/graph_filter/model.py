"""A linear filter on the graph of users and items: tastes that many share pass, what is one user's whim does not."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.datasets.cold_start import NewUsers
from models.datasets.interaction_matrix import baskets, profiles, rows
from models.datasets.training_data import TrainingData
from models.primitives.sparse_state import parts, whole
from models.primitives.state import State
from models.recommenders.explanations.item import reasons_of, shortened, strongest_own, titles_of
from models.recommenders.graph_filter.bipartite_graph import normalised, power, singular
from models.recommenders.search_space import Choice, Float, Parameter

_BLOCK: Final = 256
_CROWDED: Final = 0.05  # Share of filled cells from which a dense product is faster than a sparse one.


@dataclass(frozen=True)
class Config:
    """Settings of GraphFilter; the defaults suit a shop that people come back to."""

    half_life_days: float = 60.0
    """An item that the user had this long before the latest counts half for what is recommended now."""
    memory_days: float = 180.0
    """Half-life of what is learned: a basket this old counts half."""
    components: int = 128
    """Singular vectors that the low pass keeps."""
    low_pass: float = 0.3
    """How much the low pass adds to the plain filter."""
    sharpening: float = 0.5
    """How much the low pass is held back where it is strongest anyway: with the tastes that everybody shares."""
    user_exponent: float = 0.5
    """How much less a basket of a user with many counts: his degree to this power divides it."""
    item_exponent: float = 0.5
    """The same of items."""
    popularity_exponent: float = 0.0
    """The power of an item's degree that multiplies its scores: above 0 the popular ones gain."""


@dataclass(frozen=True)
class GraphFilter:
    """Scores p (RᵀR + D⁻ᵇ V g(S) Vᵀ Dᵇ) Dᶜ, p being what the user had.

    R are the baskets over powers of both degrees, its largest singular value made 1, U S Vᵀ its largest singular
    values and vectors, and D the items' degrees: GF-CF (Shen et al. 2021), whose g is a constant. Here g(s) is
    low_pass (1 - sharpening s²): the sharpening after the blurring of BSPM (Choi et al. 2023), as one spectral
    response. Free powers of the degrees as in Turbo-CF (Park et al. 2024). Nothing of n_items x n_items is held.
    """

    kind: ClassVar[str] = "graph_filter"
    config_type: ClassVar[type[Config]] = Config
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

    config: Config
    users: NDArray[np.str_]
    items: NDArray[np.str_]
    titles: NDArray[np.str_]
    own: Any
    """float32 CSR, users x items: what each user had."""
    graph: Any
    """R, as CSR."""
    degree: NDArray[np.float32]
    """[n_items] 0 for an item that nobody had."""
    factors: NDArray[np.float32]
    """[n_items, components] V."""
    response: NDArray[np.float32]
    """[components] g(S)."""
    clicked: bool = False
    """Whether the users clicked what they had, rather than bought it."""

    @classmethod
    def fit(cls, data: TrainingData, config: Config, seed: int) -> Self:
        """Normalise the baskets and find their singular vectors."""
        bought = baskets(data, config.memory_days)
        degree = bought.sum(axis=0).astype(np.float32)
        graph = normalised(bought, degree, config.user_exponent, config.item_exponent)
        values, factors = singular(graph, config.components, seed)
        # Exponents below a half leave values above 1: the largest becomes 1, which the response is made for.
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
        """What the filter lets pass; -inf for items that nobody had and for strangers."""
        scores = np.full((len(users), len(self.items)), -np.inf, dtype=np.float32)
        for start in range(0, len(users), _BLOCK):
            block = slice(start, start + _BLOCK)
            own = rows(self.own, users[block])
            passed = self._plain(own)
            passed += ((own * power(self.degree, -self.config.item_exponent)) @ self.factors * self.response) @ (
                self.factors.T * power(self.degree, self.config.item_exponent)
            )
            passed *= power(self.degree, self.config.popularity_exponent)
            said = (np.diff(own.indptr) > 0)[:, None] & (self.degree > 0)
            np.copyto(scores[block], passed, where=said)
        return scores

    def _plain(self, own: Any) -> NDArray[np.float32]:
        """p RᵀR, dense."""
        alike = own @ self.graph.T
        if alike.nnz > _CROWDED * alike.shape[0] * alike.shape[1]:
            return np.ascontiguousarray((self.graph.T @ alike.toarray().T).T)
        plain: NDArray[np.float32] = (alike @ self.graph).toarray()
        return plain

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:
        """The own item that adds most to the score."""
        found = [
            strongest_own(self._evidence(users[start : start + _BLOCK], items[start : start + _BLOCK]), picks)
            for start in range(0, len(items), _BLOCK)
            for picks in [items[start : start + _BLOCK]]
        ]
        return reasons_of(self.titles, np.concatenate([np.empty(0, dtype=np.int32), *found]), self.clicked)

    def _evidence(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> Any:
        """[m, n_items] how much each own item adds to the score of the pick, up to a factor of the pick's own."""
        own = rows(self.own, users)
        row, column = np.repeat(np.arange(len(items)), np.diff(own.indptr)), own.indices
        plain = (sparse.csr_array(self.graph.T)[items] @ self.graph)[row, column] if len(row) else np.empty(0)
        scale = power(self.degree, self.config.item_exponent)
        low = np.einsum("ij,ij->i", self.factors[column] * self.response, self.factors[items[row]])
        low *= scale[items[row]] / np.maximum(scale[column], np.finfo(np.float32).tiny)
        return sparse.csr_array((own.data * (plain + low), column, own.indptr), shape=own.shape)

    def with_users(self, users: NewUsers) -> Self:
        """Users by their clicks, which stand for what they had; traits say nothing about what goes with what."""
        clicks = sparse.csr_array(users.events, dtype=np.float32)
        return replace(self, users=users.keys, own=clicks, clicked=True)

    def state(self) -> State:
        """Everything but the settings."""
        arrays = {name: getattr(self, name) for name in (*_ARRAYS, "titles")}
        return arrays | parts("own", self.own) | parts("graph", self.graph)

    @classmethod
    def from_state(cls, config: Config, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """The stored model again."""
        shape = (len(state["users"]), len(state["items"]))
        matrices: dict[str, Any] = {name: whole(name, state, shape) for name in ("own", "graph")}
        arrays: dict[str, Any] = {name: state[name] for name in _ARRAYS}
        return cls(config, titles=titles_of(state), **arrays, **matrices)


_ARRAYS: Final = ("users", "items", "degree", "factors", "response")
