"""Two stages (Covington, Adams and Sargin 2016): retrievers return candidates, a ranker orders them by features."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.errors import NoHistoryError
from models.evaluation.metrics.ranking import accuracy
from models.primitives.state import State
from models.primitives.threads import parallel_map
from models.ranking import ensemble, logistic
from models.ranking.candidate_generation import Candidates, RankerRows
from models.ranking.ensemble import BlendedRanker
from models.ranking.logistic import Logistic
from models.ranking.ranking_examples import JudgedUsers, TwoStageConfig, build_examples, fit_retrieval
from models.recommenders.baselines.own_frequency import OwnFrequency
from models.recommenders.explanations.evidence import nearest_own, reasons_of, shortened
from models.recommenders.explanations.sentences import NONE as NO_REASON
from models.recommenders.protocols import BASE_VALUE, DISCOVER, MIX, POLICIES, REPURCHASE, Recommender
from models.recommenders.search_space import Parameter
from models.retrieval.candidate_sources import Factored, PairSource

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData

_PART: Final = 128
# Users of a part: the same on any number of threads, because products of other blocks round differently.
_BLOCK: Final = 8192
# Candidates whose features fit into the processor's cache.


RANKER: Final = "ranker"
"""The head of a policy if no retriever is better."""
_PLACES: Final = 10
_FEWEST_USERS: Final = 30
"""Users with purchases that a comparison needs."""


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
    """The score is the probability that the user buys the item in the days ahead; -inf if it is no candidate.

    Each policy of placements has a head: the ranker, or the retriever that ranked its candidates better for users whom
    the ranker did not learn from. A ranker of a single policy's candidates learned less than one of all (decision 38).
    """

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
    chosen: Mapping[str, str]
    """The head of each policy: `RANKER`, or the kind of a retriever."""
    titles: NDArray[np.str_]

    @classmethod
    def fit(cls, data: "TrainingData", config: Any, seed: int) -> Self:
        """Learn to rank at moments before the cut from the purchases after them; then retrieve at the cut.

        Raises NoHistoryError if the data have no origin, or no history at an earlier moment.
        """
        if data.origin is None:
            raise NoHistoryError(f"{cls.kind} learns from how things stood before: give it data of a data set.")
        stages = TwoStageConfig.of(config)
        learned, judged = build_examples(data, stages, seed)
        ranker = cls.learner.fit(learned.rows, learned.labels, learned.weights, config, seed)
        chosen = better_heads(ranker, stages.retrievers, judged)
        retrieval = fit_retrieval(data, stages, seed)
        return cls(config, data.users, data.items, *retrieval, ranker, chosen, shortened(data.item_titles))

    def head(self, policy: str) -> Recommender:
        """Return the model that ranks for placements of this policy."""
        chosen = self.chosen[policy]
        return self if chosen == RANKER else self.candidates.retrievers[chosen]

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
        names = (*self.rows.names(tuple(self.candidates.retrievers)), BASE_VALUE)
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
        arrays |= {"chosen": np.array([self.chosen[policy] for policy in POLICIES])}
        arrays |= self.ranker.state()
        return arrays | self.candidates.state() | self.rows.state()

    @classmethod
    def from_state(cls, config: Any, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Return the stored model."""
        kinds, items = tuple(config.retrievers), state["items"]
        candidates = Candidates.from_state(state, kinds, config.per_retriever, len(items), config.sources)
        ranker = cls.learner.from_state(state)
        heads = state.get("chosen", np.full(len(POLICIES), RANKER)).tolist()
        chosen = dict(zip(POLICIES, heads, strict=True))
        rows = RankerRows.from_state(state)
        return cls(config, state["users"], items, candidates, rows, ranker, chosen, state["titles"])


def better_heads(ranker: Any, kinds: tuple[str, ...], judged: JudgedUsers) -> dict[str, str]:
    """Return the head of each policy.

    It is the retriever with the highest NDCG@10 if that exceeds the ranker's by more than its standard error, else
    `RANKER`.
    """
    own, bought, history = judged.pairs.own, judged.bought, judged.history
    candidates = {MIX: np.ones(len(own), dtype=bool), DISCOVER: ~own, REPURCHASE: own}
    new, again = sparse.csr_array(bought > history), sparse.csr_array(bought.multiply(history))
    targets = {MIX: bought, DISCOVER: new, REPURCHASE: again}
    scores = dict(zip(kinds, judged.pairs.scores.T, strict=True))
    scores[RANKER] = ranker.probabilities(judged.rows)
    chosen = dict.fromkeys(POLICIES, RANKER)
    for policy, some in candidates.items():
        if (targets[policy].sum(axis=1) > 0).sum() < _FEWEST_USERS:
            continue
        measured = {kind: _measured(judged, some, values, targets[policy]) for kind, values in scores.items()}
        best = max(kinds, key=lambda kind: float(np.nanmean(measured[kind])))
        gained = (measured[best] - measured[RANKER])[~np.isnan(measured[RANKER])]
        if gained.mean() > gained.std() / np.sqrt(len(gained)):
            chosen[policy] = best
    return chosen


def _measured(
    judged: JudgedUsers, some: NDArray[np.bool_], scores: NDArray[np.float32], targets: sparse.csr_array
) -> NDArray[np.float64]:
    """Return the NDCG@10 per user when some of the candidates are ranked by these scores."""
    users = targets.shape[0]
    ranked = np.nan_to_num(scores[some], nan=-np.inf)
    source = PairSource.of(users, judged.pairs.row[some], judged.pairs.item[some], ranked)
    return accuracy(source.fetch(np.arange(users), _PLACES).items, targets)["ndcg"]


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
