"""LightFM (Kula 2015): factors for users and items that are sums over their own and their tags' factors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.features.encoding.encoder import Tags
from models.primitives.arrow_types import pa
from models.primitives.state import Part, StoredModel
from models.recommenders.explanations.evidence import WHY, CategoryReasons
from models.recommenders.explanations.sentences import ReasonsFromCodes
from models.recommenders.search_space import Choice, Float, Integer, Parameter

if TYPE_CHECKING:
    from models.datasets.cold_start import NewUsers
    from models.datasets.training_data import TrainingData


class Representations(NamedTuple):
    """The summed factors and biases of the tags of n rows."""

    factors: NDArray[np.float32]
    """[n, components]"""
    biases: NDArray[np.float32]
    """[n]"""
    known: NDArray[np.bool_]
    """[n] whether the row has any tag that the model learned."""


@dataclass(frozen=True)
class TagFactors:
    """One vector of factors and one bias per tag, weighted relative to those of a user or an item."""

    rules: Tags
    factors: NDArray[np.float32]
    """[n_tags, components]"""
    biases: NDArray[np.float32]
    """[n_tags]"""

    @classmethod
    def of(cls, rules: Tags, factors: NDArray[np.float32], biases: NDArray[np.float32], weight: float) -> Self:
        """Return the factors learned with tags of that `weight`; none if tags were left out."""
        if not len(factors):
            return cls(Tags.none(), np.empty((0, factors.shape[1]), dtype=np.float32), np.empty(0, dtype=np.float32))
        return cls(rules, np.float32(weight) * factors, np.float32(weight) * biases)

    def centred(self, tags: Any) -> Self:
        """Return the same as differences from the mean of each column's tags over rows (CSR, rows x tags)."""
        share = np.asarray(tags.mean(axis=0)).ravel()
        column = self.rules.column_of
        factors, biases = self.factors.copy(), self.biases.copy()
        for name in np.unique(column):
            own = np.flatnonzero(column == name)
            factors[own] -= share[own] @ self.factors[own]
            biases[own] -= share[own] @ self.biases[own]
        return replace(self, factors=factors, biases=biases)

    def representations(self, rows: pa.Table | None, n: int) -> Representations:
        """Return the sums over the tags of each of n rows; None stands for rows without any value."""
        tags = sparse.csr_array((n, len(self.factors)), dtype=np.float32) if rows is None else self.rules.encode(rows)
        factors: NDArray[np.float32] = tags @ self.factors
        return Representations(factors, tags @ self.biases, np.diff(tags.indptr) > 0)

    @classmethod
    def part(cls, prefix: str) -> Part:
        """Return how a model stores them: as `<prefix>.<name>`."""
        factors, biases = f"{prefix}.factors", f"{prefix}.biases"
        return Part(
            lambda own: {factors: own.factors, biases: own.biases, **own.rules.state(prefix)},
            lambda state: cls(Tags.from_state(prefix, state), state[factors], state[biases]),
        )


_HEAVIEST: Final = 5.0  # A weight scales the step: a single daily purchase must not dominate the factors.


@dataclass(frozen=True)
class Config:
    """Settings of LightFMHybrid."""

    components: int = 32
    """Length of the factors."""
    epochs: int = 5
    """Passes over the (user, item) pairs."""
    learning_rate: float = 0.05
    """First step size; AdaGrad shrinks it."""
    max_sampled: int = 100
    """Wrong items that WARP tries per step: more is slower and sharper at the top of the list."""
    item_alpha: float = 0.0
    """L2 penalty on item factors."""
    user_alpha: float = 0.0
    """L2 penalty on user factors."""
    item_tag_weight: float = 0.3
    """Weight of a category or brand relative to the item itself (1); 0 leaves the tags out."""
    user_tag_weight: float = 0.3
    """Weight of a demographic or behavioural tag relative to the user itself (1); 0 leaves them out."""
    half_life_days: float = 90.0
    """A basket this old counts half in the weight of its (user, item) pair."""
    window_days: float = 120.0
    """Pairs last bought longer ago are left out: that is faster, and closer to the next purchases."""
    threads: int = 1
    """More than one is faster, but the threads race, so that the same seed gives a slightly different model."""


def _fitted(pairs: Any, weights: Any, user_features: Any, item_features: Any, config: Config, seed: int) -> Any:
    from lightfm import LightFM  # only a fit needs it: a stored model outlives the library

    model = LightFM(
        no_components=config.components,
        loss="warp",
        learning_rate=config.learning_rate,
        max_sampled=config.max_sampled,
        item_alpha=config.item_alpha,
        user_alpha=config.user_alpha,
        random_state=np.random.RandomState(seed),
    )
    return model.fit(
        pairs,
        user_features=user_features,
        item_features=item_features,
        sample_weight=weights,
        epochs=config.epochs,
        num_threads=config.threads,
    )


def _weighted_pairs(data: TrainingData, config: Config) -> tuple[Any, Any]:
    """Return ones and weights as COO in the same order; weights are decayed baskets, 1 on average.

    If the window has no purchases, all purchases count.
    """
    age, shape = data.age_days(), (len(data.users), len(data.items))
    recent = age <= config.window_days if (age <= config.window_days).any() else np.ones(len(age), dtype=bool)
    decay = np.exp2(-age[recent] / config.half_life_days)
    total = sparse.csr_matrix((decay, (data.user[recent], data.item[recent])), shape=shape).tocoo()
    weight = np.minimum(total.data, _HEAVIEST)
    where = (total.row.astype(np.int32), total.col.astype(np.int32))
    ones = np.ones(total.nnz, dtype=np.float32)
    scaled = (weight / weight.mean()).astype(np.float32)
    return sparse.coo_matrix((ones, where), shape=shape), sparse.coo_matrix((scaled, where), shape=shape)


def _features(tags: Any, weight: float) -> Any:
    """Return the identity beside the weighted tags, as the CSR that LightFM expects."""
    identity = sparse.identity(tags.shape[0], dtype=np.float32, format="csr")
    if weight == 0:
        return identity
    return sparse.csr_matrix(sparse.hstack([identity, tags * np.float32(weight)], format="csr"))


@dataclass(frozen=True)
class LightFMHybrid(StoredModel, ReasonsFromCodes):
    """A fitted LightFM with WARP loss, reduced to one vector of factors and one bias per user and item."""

    kind: ClassVar[str] = "lightfm_hybrid"
    config_type: ClassVar[type[Config]] = Config
    space: ClassVar[Mapping[str, Parameter]] = {
        "components": Choice((16, 32, 64)),
        "epochs": Integer(3, 10),
        "learning_rate": Float(0.02, 0.1, log=True),
        "item_tag_weight": Float(0.05, 1.0, log=True),
        "user_tag_weight": Float(0.05, 1.0, log=True),
        "half_life_days": Float(30, 365, log=True),
        "window_days": Float(60, 365, log=True),
    }

    stored: ClassVar[Mapping[str, Part]] = {
        "why": WHY,
        "user_tags": TagFactors.part("user_tags"),
    }

    user_factors: NDArray[np.float32]
    item_factors: NDArray[np.float32]
    user_biases: NDArray[np.float32]
    item_biases: NDArray[np.float32]
    """Of users and items without data: -inf."""
    why: CategoryReasons
    user_tags: TagFactors
    """As differences from the mean over the users of the tags of their column."""
    mean_user: NDArray[np.float32]
    """[components] the factors of a new user without data."""
    mean_item: NDArray[np.float32]
    """[components] of the purchased items."""

    @classmethod
    def fit(cls, data: TrainingData, config: Config, seed: int) -> Self:
        """Learn from the users' distinct items, weighted by their decayed baskets, and from the tags of both."""
        user_features = _features(data.user_tags, config.user_tag_weight)
        item_features = _features(data.item_tags, config.item_tag_weight)
        model = _fitted(*_weighted_pairs(data, config), user_features, item_features, config, seed)
        user_biases, user_factors = model.get_user_representations(user_features)
        item_biases, item_factors = model.get_item_representations(item_features)
        user_tags = slice(len(data.users), None)
        return cls(
            config=config,
            users=data.users,
            items=data.items,
            user_factors=np.ascontiguousarray(user_factors, dtype=np.float32),
            item_factors=np.ascontiguousarray(item_factors, dtype=np.float32),
            user_biases=user_biases.astype(np.float32),
            item_biases=item_biases.astype(np.float32),
            why=CategoryReasons.fit(data),
            user_tags=TagFactors.of(
                data.user_tag_rules,
                model.user_embeddings[user_tags],
                model.user_biases[user_tags],
                config.user_tag_weight,
            ).centred(data.user_tags),
            mean_user=user_factors.mean(axis=0, dtype=np.float32),
            mean_item=item_factors[data.item].mean(axis=0, dtype=np.float32),
        )

    @cached_property
    def item_vectors(self) -> NDArray[np.float32]:
        """[n_items, components + 2] factors, bias, and a 1 that takes the user's bias."""
        ones = np.ones(len(self.items), dtype=np.float32)
        return np.column_stack([self.item_factors, self.item_biases, ones])

    def queries(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return [m, components + 2] factors, a 1 that takes the item's bias, and bias; NaN for users without data."""
        known = (users >= 0) & (self.user_biases[users] > -np.inf)
        ones = np.ones(len(users), dtype=np.float32)
        vectors = np.column_stack([self.user_factors[users], ones, self.user_biases[users]])
        return np.where(known[:, None], vectors, np.float32(np.nan))

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return products of the factors plus both biases; -inf for strangers."""
        scores = np.full((len(users), len(self.items)), -np.inf, dtype=np.float32)
        known = users >= 0
        scores[known] = self.user_factors[users[known]] @ self.item_factors.T
        scores += self.item_biases
        scores[known] += self.user_biases[users[known], None]
        return scores

    def reason_codes(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> tuple[NDArray[np.int32], list[str]]:
        """Return the item's category if the user has enough of it, or the nearest item that a new user viewed."""
        return self.why.coded(users, items, self.item_factors)

    def with_users(self, users: NewUsers) -> Self:
        """Return the model of users who start as the mean user and are moved by their traits and clicks.

        A known trait replaces the mean of its column. n clicks move the factors by n / (n + 3) of the difference
        between the means of the clicked and of all purchased items. That shrinks a mean towards a prior worth three
        observations.
        """
        tagged = self.user_tags.representations(users.traits, len(users.keys))
        clicks = sparse.csr_array(users.events)
        n = clicks.sum(axis=1)[:, None]
        clicked = (clicks @ self.item_factors) / np.maximum(n, 1) - self.mean_item
        moved = self.mean_user + clicked * n / (n + _PRIOR_CLICKS)
        known = tagged.known | (np.diff(clicks.indptr) > 0)
        return replace(
            self,
            users=users.keys,
            user_factors=(moved + tagged.factors).astype(np.float32),
            user_biases=np.where(known, tagged.biases, np.float32(-np.inf)),
            why=self.why.for_users(clicks),
        )


_PRIOR_CLICKS: Final = 3
