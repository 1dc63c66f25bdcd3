"""LightFM (Kula 2015): factors for users and items that are sums over their own and their tags' factors."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.favourites import favourites, named_categories
from models.recommender import State
from models.space import Choice, Float, Integer, Parameter
from models.training_data import TrainingData

NONE: Final = -1
"""Stands for no category."""

_BLOCK: Final = 4096
_HEAVIEST: Final = 5.0  # A weight scales the step: one daily purchase must not throw the factors about.


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
    """How much a category or brand counts beside the item itself (1); 0 leaves the tags out."""
    user_tag_weight: float = 0.3
    """How much a demographic or behavioural tag counts beside the user itself (1); 0 leaves them out."""
    half_life_days: float = 90.0
    """A basket this old counts half in the weight of its (user, item) pair."""
    window_days: float = 120.0
    """Pairs last bought longer ago are left out: faster, and closer to what is bought next."""
    threads: int = 1
    """More than one is faster, but the threads race, and the same seed then gives a slightly other model."""


@dataclass(frozen=True)
class LightFMHybrid:
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

    config: Config
    users: NDArray[np.str_]
    items: NDArray[np.str_]
    user_factors: NDArray[np.float32]
    item_factors: NDArray[np.float32]
    user_biases: NDArray[np.float32]
    item_biases: NDArray[np.float32]
    categories: NDArray[np.str_]
    """Names of the categories, and per item, user and category what reasons are made from."""
    item_category: NDArray[np.int32]
    favourites: NDArray[np.int32]
    category_factors: NDArray[np.float32]
    """[n_categories, components] unit vectors: the direction of a category's items."""

    @classmethod
    def fit(cls, data: TrainingData, config: Config, seed: int) -> Self:
        """Learn from the users' distinct items, weighted by their decayed baskets."""
        pairs, weights = _weighted_pairs(data, config)
        user_features = _features(data.user_tags, config.user_tag_weight)
        item_features = _features(data.item_tags, config.item_tag_weight)
        model = _learned(pairs, weights, user_features, item_features, config, seed)
        user_biases, user_factors = model.get_user_representations(user_features)
        item_biases, item_factors = model.get_item_representations(item_features)
        categories, item_category = named_categories(data.item_categories)
        return cls(
            config=config,
            users=data.users,
            items=data.items,
            user_factors=np.ascontiguousarray(user_factors, dtype=np.float32),
            item_factors=np.ascontiguousarray(item_factors, dtype=np.float32),
            user_biases=user_biases.astype(np.float32),
            item_biases=item_biases.astype(np.float32),
            categories=categories,
            item_category=item_category,
            favourites=favourites(data, item_category),
            category_factors=_directions(item_factors, item_category, len(categories)),
        )

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Products of the factors plus both biases; -inf for strangers."""
        scores: NDArray[np.float32] = self.user_factors[users] @ self.item_factors.T
        scores += self.item_biases
        scores += self.user_biases[users, None]
        scores[users < 0] = -np.inf
        return scores

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:
        """The item's category if the user buys it, else the user's category nearest to the item."""
        theirs = np.where(users[:, None] >= 0, self.favourites[users], NONE)
        own = self.item_category[items]
        bought = (theirs == own[:, None]).any(axis=1) & (own != NONE)
        nearest = self._nearest(theirs, items)
        reasons = []
        for category, known, other in zip(own, bought, nearest, strict=True):
            if known:
                reasons.append(f"Because you buy {self.categories[category]}")
            elif other != NONE:
                reasons.append(f"Goes with the {self.categories[other]} you buy")
            else:
                reasons.append("Liked by shoppers like you")
        return reasons

    def _nearest(self, theirs: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.int32]:
        nearest = np.full(len(items), NONE, dtype=np.int32)
        if not len(self.categories):
            return nearest
        for start in range(0, len(items), _BLOCK):
            part = slice(start, start + _BLOCK)
            closeness = self.item_factors[items[part]] @ self.category_factors.T
            offered = np.take_along_axis(closeness, np.maximum(theirs[part], 0), axis=1)
            offered[theirs[part] == NONE] = -np.inf
            best = offered.argmax(axis=1)[:, None]
            nearest[part] = np.take_along_axis(theirs[part], best, axis=1)[:, 0]
        return nearest

    def state(self) -> State:
        """Everything but the settings."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "config"}

    @classmethod
    def from_state(cls, config: Config, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """The stored model again."""
        return cls(config, **state)


def _learned(pairs: Any, weights: Any, user_features: Any, item_features: Any, config: Config, seed: int) -> Any:
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
    """Ones and weights as COO in the same order; weights are decayed baskets, 1 on average.

    When nothing at all was bought in the window, everything counts.
    """
    age, shape = data.age_days(), (len(data.users), len(data.items))
    kept = age <= config.window_days if (age <= config.window_days).any() else np.ones(len(age), dtype=bool)
    decay = np.exp2(-age[kept] / config.half_life_days)
    total = sparse.csr_matrix((decay, (data.user[kept], data.item[kept])), shape=shape).tocoo()
    weight = np.minimum(total.data, _HEAVIEST)
    where = (total.row.astype(np.int32), total.col.astype(np.int32))
    ones = np.ones(total.nnz, dtype=np.float32)
    scaled = (weight / weight.mean()).astype(np.float32)
    return sparse.coo_matrix((ones, where), shape=shape), sparse.coo_matrix((scaled, where), shape=shape)


def _features(tags: Any, weight: float) -> Any:
    """Identity beside the weighted tags, as the CSR LightFM wants."""
    identity = sparse.identity(tags.shape[0], dtype=np.float32, format="csr")
    if weight == 0:
        return identity
    return sparse.csr_matrix(sparse.hstack([identity, tags * np.float32(weight)], format="csr"))


def _directions(factors: NDArray[np.float32], category: NDArray[np.int32], n_categories: int) -> NDArray[np.float32]:
    named = np.flatnonzero(category != NONE)
    members = sparse.csr_array(
        (np.ones(len(named), dtype=np.float32), (category[named], named)), shape=(n_categories, len(factors))
    )
    total = members @ factors
    length = np.linalg.norm(total, axis=1, keepdims=True)
    unit: NDArray[np.float32] = total / np.maximum(length, np.finfo(np.float32).tiny)
    return unit.astype(np.float32)
