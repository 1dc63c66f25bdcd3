"""What a ranker learns from: candidates as they stood at an earlier moment, and which of them were then bought."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.datasets.training_data import NoHistoryError, Origin, TrainingData
from models.primitives.threads import thread_pool
from models.primitives.time import DAY
from models.ranking.candidate_features import RankerRows
from models.ranking.candidate_generation import Candidates, ScoredCandidates
from models.recommenders.als import ImplicitALS
from models.recommenders.baselines.most_popular import MostPopular
from models.recommenders.baselines.own_frequency import OwnFrequency
from models.recommenders.content_based import ContentBased

_PART: Final = 256
"""Users whose candidates are found at once by each of `_AT_ONCE`."""
_AT_ONCE: Final = 2
"""Windows, and parts of their users, that are worked on at a time: numpy lets others work meanwhile."""
_FEW: Final = 5_000_000
"""Purchases. With more one window's tables and features take all the memory that there is."""


@dataclass(frozen=True)
class TwoStageConfig:
    """Settings of both stages that do not depend on the ranker."""

    retrievers: tuple[str, ...] = (OwnFrequency.kind, ImplicitALS.kind, ContentBased.kind, MostPopular.kind)
    """Kinds of the first stage: own_frequency for what was bought before, the others for what was not."""
    per_retriever: int = 100
    """Candidates that each may name."""
    shelf: int = 10_000
    """News is sought among so many of the items sold of late: the others are rarely wanted, and take the most time."""
    label_days: int = 31
    """The ranker learns from what was bought in so many days."""
    label_windows: int = 3
    """How many such times before the cut it learns from: of one alone it would learn the season too."""
    train_users: int = 20_000
    """A sample of so many users is learned from, over all windows; more cost time and change little."""
    negatives: float = 0.15
    """Share of the candidates not bought that is learned from; each then counts for those left out."""

    @classmethod
    def of(cls, config: "TwoStageConfig") -> Self:
        """Those of a two-stage model's settings: what decides its lessons, whatever the ranker."""
        said = {field.name: getattr(config, field.name) for field in fields(TwoStageConfig)}
        return cls(**said | {"retrievers": tuple(config.retrievers)})


class RankingExamples(NamedTuple):
    """n candidates, those of a user beside each other."""

    rows: NDArray[np.float32]
    """[n, features] in order of `RankerRows.names`."""
    labels: NDArray[np.float32]
    """[n] 1 where the user bought the item afterwards."""
    weights: NDArray[np.float32]
    """[n] 1, or more where a candidate stands for others that were left out."""

    @classmethod
    def none(cls, features: int) -> Self:
        """No candidates at all."""
        return cls(*(np.empty(shape, dtype=np.float32) for shape in ((0, features), 0, 0)))


def build_examples(data: TrainingData, stages: TwoStageConfig, seed: int) -> RankingExamples:
    """Candidates at some moments before the cut of `data`, for a sample of the users who bought from each to the next.

    The first moment is the data set's own cut before, and so on (`Dataset.before`), `label_windows` in all, but none
    with less history than `label_days`, save the first. Raises NoHistoryError when nobody bought anything.
    """
    assert data.origin is not None
    moments = _moments(data, data.origin, stages)
    with ThreadPoolExecutor(_AT_ONCE if len(data.user) <= _FEW else 1) as pool:
        windows = list(pool.map(partial(_known_window, data.origin, stages, seed), moments[1:], moments[:-1]))
    if not sum(len(window.labels) for window in windows):
        raise NoHistoryError("Nobody bought anything in the days to learn from: ingest more data or cut later.")
    return _joined(windows)


def _moments(data: TrainingData, origin: Origin, stages: TwoStageConfig) -> list[int]:
    """The cut, and before it those that windows begin with, the latest first."""
    enough = int(data.occurred_at.min()) + stages.label_days * DAY
    moments = [data.cut, origin.before(data.cut, stages.label_days)]
    while len(moments) <= stages.label_windows and (moment := origin.before(moments[-1], stages.label_days)) >= enough:
        moments.append(moment)
    return moments


def _known_window(origin: Origin, stages: TwoStageConfig, seed: int, moment: int, later: int) -> RankingExamples:
    return origin.once((moment, later, stages, seed), partial(_window, origin, moment, later, stages, seed))


def _window(origin: Origin, moment: int, later: int, stages: TwoStageConfig, seed: int) -> RankingExamples:
    """What is learned from how things stood at one moment, and what was bought from there to the later one."""
    past, random = origin.training_data(moment), np.random.default_rng(seed)
    bought = origin.holdout(past, later)
    buyers = _by_first_purchase(past, np.flatnonzero(np.diff(bought.indptr)).astype(np.int32))
    most = max(1, stages.train_users // stages.label_windows)
    if len(buyers) > most:
        buyers = buyers[np.sort(random.choice(len(buyers), most, replace=False))]
    (candidates, features), n = fit_retrieval(past, stages, seed, keep=False), len(past.items)
    wanted = np.repeat(np.arange(len(past.users), dtype=np.int64), np.diff(bought.indptr)) * n + bought.indices
    parts = [RankingExamples.none(len(RankerRows.names(stages.retrievers)))]
    for users, found in _found(candidates, buyers):
        labels = np.isin(users[found.row].astype(np.int64) * n + found.item, wanted)
        kept = np.flatnonzero(labels | (random.random(len(labels)) < stages.negatives))
        rows = features.build(users, found.at(kept))
        weights = np.where(labels[kept], 1, 1 / stages.negatives)
        parts.append(RankingExamples(rows, labels[kept].astype(np.float32), weights.astype(np.float32)))
    return _joined(parts)


def _found(candidates: Candidates, users: NDArray[np.int32]) -> Iterator[tuple[NDArray[np.int32], ScoredCandidates]]:
    """The candidates of the users, part by part in their order."""
    parts = [users[start : start + _PART] for start in range(0, len(users), _PART)]
    with thread_pool(_AT_ONCE) as pool:
        yield from zip(parts, pool.map(candidates.find, parts), strict=True)


def _by_first_purchase(data: TrainingData, users: NDArray[np.int32]) -> NDArray[np.int32]:
    """The users in an order that does not hang on their keys: pseudonyms differ, and chance shall fall the same way."""
    first = np.full(len(data.users), data.cut)
    np.minimum.at(first, data.user, data.occurred_at)
    purchases = np.bincount(data.user, minlength=len(data.users))
    return users[np.lexsort((purchases[users], first[users]))]


def fit_retrieval(
    data: TrainingData, stages: TwoStageConfig, seed: int, keep: bool = True
) -> tuple[Candidates, RankerRows]:
    """Candidates and what is known of them at the cut; what one fit looks from, a later one learns from."""
    assert data.origin is not None

    def work() -> tuple[Candidates, RankerRows]:
        fitted = Candidates.fit(data, stages.retrievers, stages.per_retriever, stages.shelf, seed)
        return fitted, RankerRows.of(data)

    return data.origin.once((data.cut, stages, seed), work, keep)


def _joined(parts: list[RankingExamples]) -> RankingExamples:
    return RankingExamples(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
