"""Examples to rank from: candidates at some moments before the cut, labelled by the purchases that followed."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.errors import NoHistoryError
from models.primitives.threads import thread_pool
from models.primitives.time import DAY
from models.primitives.vocabulary import NO_INDEX
from models.ranking.candidate_generation import (
    RETRIEVERS,
    Candidates,
    RankerRows,
    ScoredCandidates,
    Sources,
    fitted_retriever,
)
from models.recommenders.als import ImplicitALS
from models.recommenders.baselines.most_popular import MostPopular
from models.recommenders.baselines.own_frequency import OwnFrequency
from models.recommenders.content_based import ContentBased
from models.recommenders.item_based.item_knn import ItemKNN
from models.recommenders.sequence.model import SequenceModel

if TYPE_CHECKING:
    from models.datasets.training_data import Origin, TrainingData

_USERS: Final = 256
"""Users whose candidates each of `_AT_ONCE` threads finds at once."""
_AT_ONCE: Final = 2
"""Windows, and parts of their users, that are computed in parallel: numpy releases the lock meanwhile."""
_EVERY, _JUDGED, _FEWEST = 4, 400, 30
"""Every fourth buyer is judged on, at most so many; with fewer than the last, nobody is."""
_FEW: Final = 5_000_000
"""Purchases. With more, a single window's tables and features take all memory."""


@dataclass(frozen=True)
class TwoStageConfig:
    """Settings of both stages that do not depend on the ranker."""

    retrievers: tuple[str, ...] = (
        OwnFrequency.kind,
        ImplicitALS.kind,
        ItemKNN.kind,
        ContentBased.kind,
        MostPopular.kind,
    )
    """Kinds of the first stage: own_frequency for repeat purchases, the others for new items."""
    per_retriever: int = 100
    """Candidates that each may return."""
    shelf: int = 10_000
    """The recent best sellers among which new items are sought: others are rarely bought, and take the most time."""
    label_days: int = 31
    """The days whose purchases label a window."""
    label_windows: int = 3
    """Windows before the cut to learn from: from a single one it would learn the season too."""
    train_users: int = 20_000
    """The size of the sample of users, over all windows; more cost time and change little."""
    negatives: float = 0.15
    """Sampled share of the candidates that were not bought; their weights make up for the others."""
    sources: Sources = field(default_factory=dict)
    """Settings of retrievers that a search found, by kind."""

    @classmethod
    def of(cls, config: "TwoStageConfig") -> Self:
        """Return the part of a two-stage model's settings that decides its examples, whichever the ranker."""
        values = {field.name: getattr(config, field.name) for field in fields(TwoStageConfig)}
        return cls(**values | {"retrievers": tuple(config.retrievers)})

    @property
    def key(self) -> str:
        """Return a text that is the same for equal settings."""
        return json.dumps(asdict(self), sort_keys=True)


class RankingExamples(NamedTuple):
    """n candidates, grouped by user."""

    rows: NDArray[np.float32]
    """[n, features] in order of `RankerRows.names`."""
    labels: NDArray[np.float32]
    """[n] 1 if the user bought the item afterwards."""
    weights: NDArray[np.float32]
    """[n] 1, or more if a candidate represents others that were not sampled."""
    judged: NDArray[np.bool_]
    """[n] whether the user is among the `JudgedUsers` of the window."""

    def at(self, some: NDArray[np.bool_]) -> "RankingExamples":
        """Return some of the candidates."""
        return RankingExamples._make(array[some] for array in self)


class JudgedUsers(NamedTuple):
    """All candidates of m users whom a ranker does not learn from in the latest window, to compare it with sources."""

    pairs: ScoredCandidates
    rows: NDArray[np.float32]
    """[n, features]"""
    bought: sparse.csr_array
    """Boolean CSR [m, n_items]: purchases in the window."""
    history: sparse.csr_array
    """Boolean CSR [m, n_items]: purchases before it."""


class Window(NamedTuple):
    """The candidates at one moment, and the purchases from it to a later one."""

    examples: RankingExamples
    judged: JudgedUsers


class Earlier(NamedTuple):
    """Retrievers that learned before the first window, and when."""

    until: int | None
    models: Mapping[str, SequenceModel]


def build_examples(data: "TrainingData", stages: TwoStageConfig, seed: int) -> Window:
    """Return candidates at some moments before the cut, for a sample of the users who bought from each to the next.

    The first moment is the data set's previous cut, and so on (`Dataset.before`), `label_windows` in all. All but the
    first have at least `label_days` of history. Some users of the first are left out, to be judged on. Raises
    NoHistoryError if no user bought anything.
    """
    assert data.origin is not None
    moments = _moments(data, data.origin, stages)
    earlier = _learned_before(data.origin, moments[-1], stages, seed)
    with ThreadPoolExecutor(_AT_ONCE if len(data.user) <= _FEW else 1) as pool:
        known = partial(_known_window, data.origin, stages, seed, earlier)
        windows = list(pool.map(known, moments[1:], moments[:-1]))
    latest, *others = windows
    learned = _joined(
        RankingExamples, [latest.examples.at(~latest.examples.judged), *(window.examples for window in others)]
    )
    if not learned.labels.any():
        raise NoHistoryError("Nobody bought anything in the days to learn from: ingest more data or cut later.")
    return Window(learned, latest.judged)


def _moments(data: "TrainingData", origin: "Origin", stages: TwoStageConfig) -> list[int]:
    """Return the cut and the starts of the windows before it, the latest first."""
    enough = int(data.occurred_at.min()) + stages.label_days * DAY
    moments = [data.cut, origin.before(data.cut, stages.label_days)]
    while len(moments) <= stages.label_windows and (moment := origin.before(moments[-1], stages.label_days)) >= enough:
        moments.append(moment)
    return moments


def _known_window(
    origin: "Origin", stages: TwoStageConfig, seed: int, earlier: Earlier, moment: int, later: int
) -> Window:
    key = (moment, later, stages.key, seed, earlier.until)
    return origin.once(key, partial(_window, origin, moment, later, stages, seed, earlier))


def _window(origin: "Origin", moment: int, later: int, stages: TwoStageConfig, seed: int, earlier: Earlier) -> Window:
    """Return the candidates at one moment, labelled by the purchases between it and the later one."""
    past, random = origin.training_data(moment), np.random.default_rng(seed)
    bought = origin.holdout(past, later)
    buyers = _by_first_purchase(past, np.flatnonzero(np.diff(bought.indptr)).astype(np.int32))
    most = max(1, stages.train_users // stages.label_windows)
    if len(buyers) > most:
        buyers = buyers[np.sort(random.choice(len(buyers), most, replace=False))]
    candidates, features = _known_retrieval(past, stages, seed, earlier, store=False)
    judged = buyers[::_EVERY][:_JUDGED] if len(buyers) >= _EVERY * _FEWEST else buyers[:0]
    n = len(past.items)
    bought_pairs = np.repeat(np.arange(len(past.users), dtype=np.int64), np.diff(bought.indptr)) * n + bought.indices
    position = np.full(len(past.users), NO_INDEX)
    position[judged] = np.arange(len(judged))
    examples, found = [], []
    for users, pairs in _candidates_of(candidates, buyers):
        labels = np.isin(users[pairs.row].astype(np.int64) * n + pairs.item, bought_pairs)
        of_judged = position[users[pairs.row]]
        sampled = labels | (random.random(len(labels)) < stages.negatives)
        some = np.flatnonzero(sampled | (of_judged != NO_INDEX))
        pairs, labels, of_judged, sampled = pairs.at(some), labels[some], of_judged[some], sampled[some]
        rows, is_judged = features.build(users, pairs), of_judged != NO_INDEX
        weights = np.where(labels, 1, 1 / stages.negatives).astype(np.float32)
        whole = RankingExamples(rows, labels.astype(np.float32), weights, is_judged)
        examples.append(whole.at(sampled))
        found.append((pairs._replace(row=of_judged).at(is_judged), rows[is_judged]))
    of_judged_users = (
        _joined(ScoredCandidates, [pairs for pairs, _ in found]),
        np.concatenate([rows for _, rows in found]),
        sparse.csr_array(bought[judged]),
        sparse.csr_array(candidates.history[judged]),
    )
    return Window(_joined(RankingExamples, examples), JudgedUsers(*of_judged_users))


def _candidates_of(
    candidates: Candidates, users: NDArray[np.int32]
) -> Iterator[tuple[NDArray[np.int32], ScoredCandidates]]:
    """Yield the candidates of the users in parts, in their order; without users, an empty part."""
    parts = [users[start : start + _USERS] for start in range(0, max(1, len(users)), _USERS)]
    with thread_pool(_AT_ONCE) as pool:
        yield from zip(parts, pool.map(candidates.find, parts), strict=True)


def _by_first_purchase(data: "TrainingData", users: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the users in an order that does not depend on their keys, so that samples do not depend on pseudonyms."""
    first = np.full(len(data.users), data.cut)
    np.minimum.at(first, data.user, data.occurred_at)
    purchases = np.bincount(data.user, minlength=len(data.users))
    return users[np.lexsort((purchases[users], first[users]))]


def fit_retrieval(data: "TrainingData", stages: TwoStageConfig, seed: int) -> tuple[Candidates, RankerRows]:
    """Return the candidates and their features at the cut; a later fit reuses them for its examples."""
    assert data.origin is not None
    earlier = _learned_before(data.origin, _moments(data, data.origin, stages)[-1], stages, seed)
    return _known_retrieval(data, stages, seed, earlier)


def _known_retrieval(
    data: "TrainingData", stages: TwoStageConfig, seed: int, earlier: Earlier, store: bool = True
) -> tuple[Candidates, RankerRows]:
    assert data.origin is not None

    def work() -> tuple[Candidates, RankerRows]:
        sizes = stages.per_retriever, stages.shelf
        found = Candidates.fit(data, stages.retrievers, *sizes, seed, earlier.models, stages.sources)
        return found, RankerRows.of(data)

    return data.origin.once((data.cut, stages.key, seed, earlier.until), work, store)


def _learned_before(origin: "Origin", moment: int, stages: TwoStageConfig, seed: int) -> Earlier:
    """Return the retrievers that learn only once, before all windows: their scores mean the same in each of them."""
    kinds = [kind for kind in stages.retrievers if hasattr(RETRIEVERS[kind], "moved_to")]
    if not kinds:
        return Earlier(None, {})
    past = origin.training_data(moment)
    work = {kind: partial(fitted_retriever, kind, stages.sources, past, seed) for kind in kinds}
    return Earlier(moment, {kind: origin.once((kind, moment, stages.key, seed), fit) for kind, fit in work.items()})


_Arrays = TypeVar("_Arrays", RankingExamples, ScoredCandidates)


def _joined(kind: type[_Arrays], parts: Sequence[_Arrays]) -> _Arrays:
    """Return one tuple of arrays from tuples of arrays."""
    return kind(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))
