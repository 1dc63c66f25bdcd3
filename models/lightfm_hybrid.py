"""LightFM (Kula 2015): factors for users and items that are sums over their own and their tags' factors."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from models.category_reasons import LOOKED_AT, CategoryReasons, unit
from models.cold_start import Extended, NewUsers
from models.recommender import State
from models.space import Choice, Float, Integer, Parameter
from models.tag_factors import TagFactors
from models.tags import Tags
from models.training_data import TrainingData

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
    """Those of whom or which nothing is known are -inf."""
    why: CategoryReasons
    user_tags: TagFactors
    item_tags: TagFactors

    @classmethod
    def fit(cls, data: TrainingData, config: Config, seed: int) -> Self:
        """Learn from the users' distinct items, weighted by their decayed baskets."""
        pairs, weights = _weighted_pairs(data, config)
        user_features = _features(data.user_tags, config.user_tag_weight)
        item_features = _features(data.item_tags, config.item_tag_weight)
        model = _learned(pairs, weights, user_features, item_features, config, seed)
        user_biases, user_factors = model.get_user_representations(user_features)
        item_biases, item_factors = model.get_item_representations(item_features)
        user_own, item_own = len(data.users), len(data.items)
        return cls(
            config=config,
            users=data.users,
            items=data.items,
            user_factors=np.ascontiguousarray(user_factors, dtype=np.float32),
            item_factors=np.ascontiguousarray(item_factors, dtype=np.float32),
            user_biases=user_biases.astype(np.float32),
            item_biases=item_biases.astype(np.float32),
            why=CategoryReasons.fit(data, item_factors),
            user_tags=_tag_factors(
                data.user_tag_rules,
                model.user_embeddings[user_own:],
                model.user_biases[user_own:],
                config.user_tag_weight,
            ),
            item_tags=_tag_factors(
                data.item_tag_rules,
                model.item_embeddings[item_own:],
                model.item_biases[item_own:],
                config.item_tag_weight,
            ),
        )

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Products of the factors plus both biases; -inf for strangers."""
        scores = np.full((len(users), len(self.items)), -np.inf, dtype=np.float32)
        known = users >= 0
        scores[known] = self.user_factors[users[known]] @ self.item_factors.T
        scores += self.item_biases
        scores[known] += self.user_biases[users[known], None]
        return scores

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:
        """The item's category if the user buys it, else the user's category nearest to the item."""
        return self.why.told(users, items, "Liked by shoppers like you", self.item_factors)

    def with_users(self, users: NewUsers) -> Self:
        """Users as the sum of what their traits and their clicks say.

        Traits are known by their tags' factors, as LightFM means it. For the factors of his own that a user would have
        learned stands the mean of the factors of his items, brought to the mean length of the users here.
        """
        tagged = self.user_tags.representations(users.traits)
        clicks = sparse.csr_array(users.events)
        own = unit(clicks @ self.item_factors) * np.linalg.norm(self.user_factors, axis=1).mean()
        known = tagged.told | (np.diff(clicks.indptr) > 0)
        return replace(
            self,
            users=users.keys,
            user_factors=(own + tagged.factors).astype(np.float32),
            user_biases=np.where(known, tagged.biases, np.float32(-np.inf)),
            why=self.why.for_users(clicks, LOOKED_AT),
        )

    def with_items(self, catalogue: pa.Table) -> Self:
        """New items as the sums of their tags' factors and biases."""
        longer = Extended.of(self.items, catalogue)
        tagged = self.item_tags.representations(longer.rows)
        biases = np.where(tagged.told, tagged.biases, np.float32(-np.inf))
        return replace(
            self,
            items=longer.items,
            item_factors=longer.joined(self.item_factors, tagged.factors),
            item_biases=longer.joined(self.item_biases, biases),
            why=self.why.for_items(longer),
        )

    def state(self) -> State:
        """Everything but the settings."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        return arrays | self.why.state() | self.user_tags.state("user_tags") | self.item_tags.state("item_tags")

    @classmethod
    def from_state(cls, config: Config, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """The stored model again."""
        components = state["item_factors"].shape[1]
        return cls(
            config=config,
            **{name: state[name] for name in _ARRAYS},
            why=CategoryReasons.from_state(state),
            user_tags=TagFactors.from_state("user_tags", state, components),
            item_tags=TagFactors.from_state("item_tags", state, components),
        )


_ARRAYS: Final = ("users", "items", "user_factors", "item_factors", "user_biases", "item_biases")


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


def _tag_factors(rules: Tags, factors: Any, biases: Any, weight: float) -> TagFactors:
    """The tags' part of what was learned, by their weight; none where tags were left out."""
    if not len(factors):
        return TagFactors.none(factors.shape[1])
    return TagFactors(rules, np.float32(weight) * factors, np.float32(weight) * biases)
