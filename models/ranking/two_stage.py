"""Two stages (Covington, Adams and Sargin 2016): retrievers return candidates, a ranker orders them by features."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.errors import NoHistoryError
from models.primitives.state import State
from models.primitives.threads import parallel_map, thread_pool
from models.primitives.time import DAY
from models.ranking import ensemble, logistic
from models.ranking.candidate_generation import RETRIEVERS, Candidates, RankerRows, ScoredCandidates, fitted_retriever
from models.ranking.ensemble import BlendedRanker
from models.ranking.logistic import Logistic
from models.recommenders.als import ImplicitALS
from models.recommenders.baselines.most_popular import MostPopular
from models.recommenders.baselines.own_frequency import OwnFrequency
from models.recommenders.content_based import ContentBased
from models.recommenders.explanations.evidence import nearest_own, reasons_of, shortened
from models.recommenders.explanations.sentences import NONE as NO_REASON
from models.recommenders.protocols import BASE_VALUE
from models.recommenders.search_space import Parameter
from models.recommenders.sequence.model import SequenceModel
from models.retrieval.candidate_sources import Factored

if TYPE_CHECKING:
    from models.datasets.training_data import Origin, TrainingData

_USERS: Final = 256
"""Users whose candidates each of `_AT_ONCE` threads finds at once."""
_AT_ONCE: Final = 2
"""Windows, and parts of their users, that are computed in parallel: numpy releases the lock meanwhile."""
_FEW: Final = 5_000_000
"""Purchases. With more, a single window's tables and features take all memory."""


@dataclass(frozen=True)
class TwoStageConfig:
    """Settings of both stages that do not depend on the ranker."""

    retrievers: tuple[str, ...] = (OwnFrequency.kind, ImplicitALS.kind, ContentBased.kind, MostPopular.kind)
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

    @classmethod
    def of(cls, config: "TwoStageConfig") -> Self:
        """Return the part of a two-stage model's settings that decides its examples, whichever the ranker."""
        values = {field.name: getattr(config, field.name) for field in fields(TwoStageConfig)}
        return cls(**values | {"retrievers": tuple(config.retrievers)})


class RankingExamples(NamedTuple):
    """n candidates, grouped by user."""

    rows: NDArray[np.float32]
    """[n, features] in order of `RankerRows.names`."""
    labels: NDArray[np.float32]
    """[n] 1 if the user bought the item afterwards."""
    weights: NDArray[np.float32]
    """[n] 1, or more if a candidate represents others that were not sampled."""


class Earlier(NamedTuple):
    """Retrievers that learned before the first window, and when."""

    until: int | None
    models: Mapping[str, SequenceModel]


def build_examples(data: "TrainingData", stages: TwoStageConfig, seed: int) -> RankingExamples:
    """Return candidates at some moments before the cut, for a sample of the users who bought from each to the next.

    The first moment is the data set's previous cut, and so on (`Dataset.before`), `label_windows` in all. All but the
    first have at least `label_days` of history. Raises NoHistoryError if no user bought anything.
    """
    assert data.origin is not None
    moments = _moments(data, data.origin, stages)
    earlier = _learned_before(data.origin, moments[-1], stages, seed)
    with ThreadPoolExecutor(_AT_ONCE if len(data.user) <= _FEW else 1) as pool:
        known = partial(_known_window, data.origin, stages, seed, earlier)
        windows = list(pool.map(known, moments[1:], moments[:-1]))
    if not sum(len(window.labels) for window in windows):
        raise NoHistoryError("Nobody bought anything in the days to learn from: ingest more data or cut later.")
    return _joined(windows)


def _moments(data: "TrainingData", origin: "Origin", stages: TwoStageConfig) -> list[int]:
    """Return the cut and the starts of the windows before it, the latest first."""
    enough = int(data.occurred_at.min()) + stages.label_days * DAY
    moments = [data.cut, origin.before(data.cut, stages.label_days)]
    while len(moments) <= stages.label_windows and (moment := origin.before(moments[-1], stages.label_days)) >= enough:
        moments.append(moment)
    return moments


def _known_window(
    origin: "Origin", stages: TwoStageConfig, seed: int, earlier: Earlier, moment: int, later: int
) -> RankingExamples:
    key = (moment, later, stages, seed, earlier.until)
    return origin.once(key, partial(_window, origin, moment, later, stages, seed, earlier))


def _window(
    origin: "Origin", moment: int, later: int, stages: TwoStageConfig, seed: int, earlier: Earlier
) -> RankingExamples:
    """Return the candidates at one moment, labelled by the purchases between it and the later one."""
    past, random = origin.training_data(moment), np.random.default_rng(seed)
    bought = origin.holdout(past, later)
    buyers = _by_first_purchase(past, np.flatnonzero(np.diff(bought.indptr)).astype(np.int32))
    most = max(1, stages.train_users // stages.label_windows)
    if len(buyers) > most:
        buyers = buyers[np.sort(random.choice(len(buyers), most, replace=False))]
    candidates, features = _known_retrieval(past, stages, seed, earlier, store=False)
    n = len(past.items)
    bought_pairs = np.repeat(np.arange(len(past.users), dtype=np.int64), np.diff(bought.indptr)) * n + bought.indices
    nobody, nothing = buyers[:0], np.empty(0, dtype=np.float32)
    parts = [RankingExamples(features.build(nobody, candidates.find(nobody)), nothing, nothing)]
    for users, pairs in _candidates_of(candidates, buyers):
        labels = np.isin(users[pairs.row].astype(np.int64) * n + pairs.item, bought_pairs)
        sampled = np.flatnonzero(labels | (random.random(len(labels)) < stages.negatives))
        rows = features.build(users, pairs.at(sampled))
        weights = np.where(labels[sampled], 1, 1 / stages.negatives)
        parts.append(RankingExamples(rows, labels[sampled].astype(np.float32), weights.astype(np.float32)))
    return _joined(parts)


def _candidates_of(
    candidates: Candidates, users: NDArray[np.int32]
) -> Iterator[tuple[NDArray[np.int32], ScoredCandidates]]:
    """Yield the candidates of the users in parts, in their order."""
    parts = [users[start : start + _USERS] for start in range(0, len(users), _USERS)]
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
        return Candidates.fit(data, stages.retrievers, *sizes, seed, earlier.models), RankerRows.of(data)

    return data.origin.once((data.cut, stages, seed, earlier.until), work, store)


def _learned_before(origin: "Origin", moment: int, stages: TwoStageConfig, seed: int) -> Earlier:
    """Return the retrievers that learn only once, before all windows: their scores mean the same in each of them."""
    kinds = [kind for kind in stages.retrievers if hasattr(RETRIEVERS[kind], "moved_to")]
    if not kinds:
        return Earlier(None, {})
    past = origin.training_data(moment)
    work = {kind: partial(fitted_retriever, kind, past, seed) for kind in kinds}
    return Earlier(moment, {kind: origin.once((kind, moment, seed), fit) for kind, fit in work.items()})


def _joined(parts: list[RankingExamples]) -> RankingExamples:
    return RankingExamples(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


_PART: Final = 128
# Users of a part: the same on any number of threads, because products of other blocks round differently.
_BLOCK: Final = 8192
# Candidates whose features fit into the processor's cache.


@dataclass(frozen=True)
class Config(ensemble.Config, TwoStageConfig):
    """Settings of TwoStage."""


class RankedPairs(NamedTuple):
    """n pairs, in order of user and item, none of them twice."""

    row: NDArray[np.int64]
    """[n] position among the users of the query."""
    item: NDArray[np.int32]
    score: NDArray[np.float32]


@dataclass(frozen=True)
class TwoStage:
    """The score is the probability that the user buys the item in the days ahead; -inf if it is no candidate."""

    kind: ClassVar[str] = "two_stage"
    adds_to: ClassVar[str] = "log-odds"
    config_type: ClassVar[type[Any]] = Config
    space: ClassVar[Mapping[str, Parameter]] = BlendedRanker.space
    learner: ClassVar[type[Any]] = BlendedRanker
    probabilities: ClassVar[bool] = True
    """Evaluation measures its scores as probabilities too."""

    config: Any
    users: NDArray[np.str_]
    items: NDArray[np.str_]
    candidates: Candidates
    rows: RankerRows
    ranker: Any
    titles: NDArray[np.str_]

    @classmethod
    def fit(cls, data: "TrainingData", config: Any, seed: int) -> Self:
        """Learn to rank at moments before the cut from the purchases after them; then retrieve at the cut.

        Raises NoHistoryError if the data have no origin, or no history at an earlier moment.
        """
        if data.origin is None:
            raise NoHistoryError(f"{cls.kind} learns from how things stood before: give it data of a data set.")
        stages = TwoStageConfig.of(config)
        learned = build_examples(data, stages, seed)
        return cls(
            config,
            data.users,
            data.items,
            *fit_retrieval(data, stages, seed),
            cls.learner.fit(*learned, config, seed),
            shortened(data.item_titles),
        )

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return probabilities of the candidates; -inf elsewhere and for strangers."""
        scores = np.full((len(users), len(self.items)), -np.inf, dtype=np.float32)
        ranked = self.ranked(users)
        scores[ranked.row, ranked.item] = ranked.score
        return scores

    def ranked(self, users: NDArray[np.int32]) -> RankedPairs:
        """Return the candidates of each user and their probabilities; none of strangers.

        Memory is bounded by users x candidates, whatever the size of the catalogue. Parts of the users are computed in
        parallel.
        """
        parts = [slice(start, start + _PART) for start in range(0, max(1, len(users)), _PART)]
        ranked = parallel_map(lambda part: self._ranked(users[part]), parts)
        row = np.concatenate([one.row + part.start for one, part in zip(ranked, parts, strict=True)])
        return RankedPairs(row, *(np.concatenate([one[at] for one in ranked]) for at in (1, 2)))

    def _ranked(self, users: NDArray[np.int32]) -> RankedPairs:
        pairs = self.candidates.find(users)
        score = np.empty(len(pairs.row), dtype=np.float32)
        for start in range(0, len(score), _BLOCK):
            block = slice(start, start + _BLOCK)
            score[block] = self.ranker.probabilities(self.rows.build(users, pairs.at(block)))
        return RankedPairs(pairs.row, pairs.item.astype(np.int32), score)

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:
        """Return the own frequency of repeat purchases, and the first other retriever's reason for new items.

        If that one has no evidence, the reason names the own item that is nearest by its factors.
        """
        own, other = self._explainers()
        again = self.candidates.bought(users, items)
        sentences = np.empty(len(users), dtype=object)
        sentences[again] = own.reasons(users[again], items[again])
        sentences[~again] = other.reasons(users[~again], items[~again])
        unexplained = np.flatnonzero((sentences == NO_REASON) & ~again)
        if isinstance(other, Factored) and len(unexplained):
            nearest = nearest_own(self.candidates.history, other.item_vectors, users[unexplained], items[unexplained])
            sentences[unexplained] = reasons_of(self.titles, nearest, clicked=False)
        return sentences.tolist()

    def _explainers(self) -> tuple[Any, Any]:
        retrievers = self.candidates.retrievers
        others = [model for kind, model in retrievers.items() if kind != OwnFrequency.kind]
        own = retrievers.get(OwnFrequency.kind, others[0] if others else None)
        return own, others[0] if others else own

    def contributions(self, user: int, item: int) -> dict[str, float]:
        """Return what each feature adds to a candidate's log-odds, the strongest first; empty if it is no candidate."""
        names, (added,) = self.attributions(np.array([user], dtype=np.int32), np.array([item], dtype=np.int32))
        parts = {name: float(value) for name, value in zip(names, added, strict=True) if not np.isnan(value)}
        return dict(sorted(parts.items(), key=lambda entry: -abs(entry[1])))

    def attributions(
        self, users: NDArray[np.int32], items: NDArray[np.int32]
    ) -> tuple[tuple[str, ...], NDArray[np.float32]]:
        """Return the names of the features and their parts for many pairs [n, features]; NaN for other pairs."""
        stored = self.rows.items.shape[1] - 1
        names = (*RankerRows.names(tuple(self.candidates.retrievers), stored), BASE_VALUE)
        different, row = np.unique(users, return_inverse=True)
        pairs = self.candidates.find(different)
        n = len(self.items)
        codes, wanted = pairs.row * n + pairs.item, row * n + items.astype(np.int64)
        known = np.isin(wanted, codes) & (users >= 0) & (items >= 0)
        added = np.full((len(users), len(names)), np.nan, dtype=np.float32)
        if known.any():
            rows = self.rows.build(different, pairs.at(np.searchsorted(codes, wanted[known])))
            added[known] = self.ranker.contributions(rows)
        return names, added

    def state(self) -> State:
        """Return the arrays of the retrievers, of the features and of the ranker."""
        arrays: State = {"users": self.users, "items": self.items, "titles": self.titles}
        ranker: State = self.ranker.state()
        return arrays | self.candidates.state() | self.rows.state() | ranker

    @classmethod
    def from_state(cls, config: Any, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Return the stored model."""
        kinds, items = tuple(config.retrievers), state["items"]
        candidates = Candidates.from_state(state, kinds, config.per_retriever, len(items))
        ranker = cls.learner.from_state(state)
        rows = RankerRows.from_state(state)
        return cls(config, state["users"], items, candidates, rows, ranker, state["titles"])


@dataclass(frozen=True)
class RegressionConfig(logistic.Config, TwoStageConfig):
    """Settings of LogisticRegression."""


@dataclass(frozen=True)
class LogisticRegression(TwoStage):
    """The same two stages with a logistic regression as the ranker: the baseline for the trees."""

    kind: ClassVar[str] = "logistic_regression"
    config_type: ClassVar[type[Any]] = RegressionConfig
    space: ClassVar[Mapping[str, Parameter]] = Logistic.space
    learner: ClassVar[type[Any]] = Logistic
