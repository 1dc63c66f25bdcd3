"""Own purchases plus recent best sellers (Li et al. 2023): the simple mixture that trained models have to beat."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.datasets.interaction_matrix import decay
from models.errors import NoHistoryError
from models.evaluation.metrics.ranking import accuracy
from models.primitives.state import State, entries, part_of, under
from models.recommenders.baselines import most_popular, own_frequency
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.baselines.own_frequency import OwnFrequency
from models.recommenders.explanations.sentences import popular_reasons, recent_buyers
from models.recommenders.search_space import Float, Parameter
from models.retrieval.candidate_query import CandidateScope, first_of_order
from models.retrieval.candidate_sources import PairSource

if TYPE_CHECKING:
    from models.datasets.training_data import Origin, TrainingData

WEIGHTS: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""Weights to choose from: the own baskets that an item's popularity is worth."""
_UNTUNED: Final = 3.0
_TUNING_USERS: Final = 20_000
_K: Final = 10


@dataclass(frozen=True)
class Config:
    """Settings of OwnAndPopular."""

    half_life_days: float = own_frequency.Config.half_life_days
    """An own basket this old counts half."""
    popular_half_life_days: float = most_popular.Config.half_life_days
    """The same for the baskets of all users."""


@dataclass(frozen=True)
class OwnAndPopular:
    """Scores an item by the user's own decayed baskets plus `weight` times its share of all baskets.

    The weight maximizes NDCG@10 on the last label days before the cut: measured on the test weeks, these are the
    validation weeks.
    """

    kind: ClassVar[str] = "own_and_popular"
    adds_to: ClassVar[str] = "baskets"
    config_type: ClassVar[type[Config]] = Config
    space: ClassVar[Mapping[str, Parameter]] = {
        "half_life_days": Float(14, 365, log=True),
        "popular_half_life_days": Float(3, 120, log=True),
    }

    config: Config
    own: OwnFrequency
    share: NDArray[np.float32]
    """[n_items] share of all decayed baskets that contain the item, times `seasonal_change`."""
    weight: float
    buyers: NDArray[np.int32]
    """[n_items] users who bought the item in recent days."""

    @property
    def users(self) -> NDArray[np.str_]:
        """User keys, sorted."""
        return self.own.users

    @property
    def items(self) -> NDArray[np.str_]:
        """Item ids, sorted."""
        return self.own.items

    @classmethod
    def fit(cls, data: "TrainingData", config: Config, seed: int) -> Self:
        """Count at the cut; choose the weight by earlier counts and the purchases since."""
        weight = _UNTUNED
        if data.origin is not None:
            work = partial(_tune, data.origin, data.cut, config, seed)
            weight = data.origin.once((cls.kind, data.cut, config, seed), work)
        return cls(config, *_count(data, config), weight, recent_buyers(data))

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return popularity for every item, with the own baskets added; -inf for strangers."""
        scores = np.where((users >= 0)[:, None], self.weight * self.share, -np.inf).astype(np.float32)
        known = np.flatnonzero(users >= 0)
        own = entries(self.own.indptr, users[known])
        scores[known[own.row], self.own.item[own.at]] += self.own.weight[own.at]
        return scores

    def contributions(self, user: int, item: int) -> dict[str, float]:
        """Return the parts of the own baskets and of all baskets in the score, the greater first."""
        if min(user, item) < 0:
            return {}
        own = self.own.pair_scores(np.array([user], dtype=np.int32), np.array([item]))[0]
        parts = {
            "own baskets, older ones less": float(own) if np.isfinite(own) else 0.0,
            f"share of everybody's baskets, times {self.weight:g}": float(self.weight * self.share[item]),
        }
        return dict(sorted(parts.items(), key=lambda part: -part[1]))

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:
        """Return the own history of items bought before, and popularity for the others."""
        bought = np.isfinite(self.own.pair_scores(users, items))
        history = iter(self.own.reasons(users[bought], items[bought]))
        popular = popular_reasons(self.buyers, items)
        return [next(history) if own else other for own, other in zip(bought, popular, strict=True)]

    def state(self) -> State:
        """Return the counts and the weight."""
        return under("own.", self.own.state()) | {
            "share": self.share,
            "weight": np.array(self.weight),
            "buyers": self.buyers,
        }

    @classmethod
    def from_state(cls, config: Config, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Return the stored model."""
        own = OwnFrequency.from_state(_own_config(config), part_of("own.", state))
        return cls(config, own, state["share"], float(state["weight"]), state["buyers"])


def _own_config(config: Config) -> own_frequency.Config:
    return own_frequency.Config(half_life_days=config.half_life_days)


def _count(data: "TrainingData", config: Config) -> tuple[OwnFrequency, NDArray[np.float32]]:
    first = np.unique(data.basket, return_index=True)[1]
    baskets = float(decay(data, config.popular_half_life_days)[first].sum())
    share = popularity(data, config.popular_half_life_days) / max(baskets, 1e-30)
    return OwnFrequency.fit(data, _own_config(config), 0), share.astype(np.float32)


def _tune(origin: "Origin", cut: int, config: Config, seed: int) -> float:
    """Return the weight with the highest NDCG@10 on the last label days before the cut."""
    try:
        past = origin.training_data(origin.before(cut, days=28))
    except NoHistoryError:
        return _UNTUNED
    bought = origin.holdout(past, cut)
    users = np.flatnonzero(np.diff(bought.indptr)).astype(np.int32)
    if not len(users):
        return _UNTUNED
    if len(users) > _TUNING_USERS:
        users = np.sort(np.random.default_rng(seed).choice(users, _TUNING_USERS, replace=False))
    own, share = _count(past, config)
    row, item = _candidates(own, share, users)
    counted = np.nan_to_num(own.pair_scores(users[row], item), neginf=0.0)
    targets, m = bought[users], len(users)
    reached = []
    for weight in WEIGHTS:
        pairs = PairSource.of(m, row, item, (counted + weight * share[item]).astype(np.float32))
        reached.append(accuracy(pairs.fetch(np.arange(m), _K).items, targets)["ndcg"].mean())
    return WEIGHTS[int(np.argmax(reached))]


def _candidates(
    own: OwnFrequency, share: NDArray[np.float32], users: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all pairs that can be among a user's ten best: the own items, and the most popular of the others."""
    history = entries(own.indptr, users)
    bought = own.item[history.at].astype(np.int64)
    everything = CandidateScope(np.arange(len(share)), history.row, bought)
    others = first_of_order(np.argsort(-share, kind="stable"), np.ones(len(users), dtype=bool), everything, _K)
    return np.concatenate([history.row, others.row]), np.concatenate([bought, others.item])
