"""Prepares the training data of LightFM, and trains it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData


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


@dataclass(frozen=True)
class Learned:
    """A fitted LightFM (of the library) and the features of those that it was fitted on."""

    model: Any
    user_features: Any
    item_features: Any


def learn(data: "TrainingData", config: Config, seed: int) -> Learned:
    """Learn from the users' distinct items, weighted by their decayed baskets; features are own ones, then tags."""
    pairs, weights = _weighted_pairs(data, config)
    user_features = _features(data.user_tags, config.user_tag_weight)
    item_features = _features(data.item_tags, config.item_tag_weight)
    return Learned(_fitted(pairs, weights, user_features, item_features, config, seed), user_features, item_features)


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


def _weighted_pairs(data: "TrainingData", config: Config) -> tuple[Any, Any]:
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
