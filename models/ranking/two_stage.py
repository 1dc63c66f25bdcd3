"""Two stages (Covington, Adams and Sargin 2016): retrievers return candidates, a ranker orders them by features."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.errors import NoHistoryError
from models.evaluation.metrics.ranking import accuracy
from models.primitives.state import State, part_of, under
from models.primitives.threads import parallel_map
from models.ranking import ensemble, logistic
from models.ranking.candidate_generation import Candidates, RankerRows
from models.ranking.ensemble import BlendedRanker
from models.ranking.logistic import Logistic
from models.ranking.ranking_examples import JudgedUsers, RankingExamples, TwoStageConfig, build_examples, fit_retrieval
from models.recommenders.baselines.own_frequency import OwnFrequency
from models.recommenders.explanations.evidence import nearest_own, reasons_of, shortened
from models.recommenders.explanations.sentences import NONE as NO_REASON
from models.recommenders.item_based.item_knn import ItemKNN
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
_FEWEST_BOUGHT: Final = 50
"""Purchases that the ranker of a policy needs to learn from; with fewer, that of all items is used."""
_PREFIX: Final = {policy: f"{policy}." for policy in POLICIES}


@dataclass(frozen=True)
class Config(ensemble.Config, TwoStageConfig):
    """Settings of TwoStage."""


WITH_ORDER: Final = (*Config.retrievers, ItemKNN.kind)
"""The retrievers of a shop with few repeats, where the order of purchases says what comes next."""


class RankedPairs(NamedTuple):
    """n pairs, in order of user and item, none of them twice."""

    row: NDArray[np.int64]
    """[n] position among the users of the query."""
    item: NDArray[np.int32]
    score: NDArray[np.float32]


@dataclass(frozen=True)
class TwoStage:
    """The score is the probability that the user buys the item in the days ahead; -inf if it is no candidate.

    Each policy of placements has a head: a ranker that learned from its own candidates (all, those new to the user,
    those that the user bought), or the retriever that ranked them better for users whom no ranker learned from. The
    model itself is the ranker of one policy; `head` returns that of another.
    """

    kind: ClassVar[str] = "two_stage"
    adds_to: ClassVar[str] = "log-odds"
    config_type: ClassVar[type[Any]] = Config
    few_repeats: ClassVar[Any] = Config(retrievers=WITH_ORDER)
    space: ClassVar[Mapping[str, Parameter]] = BlendedRanker.space
    learner: ClassVar[type[Any]] = BlendedRanker
    probabilities: ClassVar[bool] = True
    """Evaluation measures its scores as probabilities too."""

    config: Any
    users: NDArray[np.str_]
    items: NDArray[np.str_]
    candidates: Candidates
    rows: RankerRows
    rankers: Mapping[str, Any]
    """By policy."""
    chosen: Mapping[str, str]
    """The head of each policy: `RANKER`, or the kind of a retriever."""
    titles: NDArray[np.str_]
    policy: str = MIX

    @classmethod
    def fit(cls, data: "TrainingData", config: Any, seed: int) -> Self:
        """Learn to rank at moments before the cut from the purchases after them; then retrieve at the cut.

        Raises NoHistoryError if the data have no origin, or no history at an earlier moment.
        """
        if data.origin is None:
            raise NoHistoryError(f"{cls.kind} learns from how things stood before: give it data of a data set.")
        stages = TwoStageConfig.of(config)
        learned, judged = build_examples(data, stages, seed)
        rankers = {MIX: cls._learned(learned, config, seed)}
        for policy, some in ((DISCOVER, ~learned.own), (REPURCHASE, learned.own)):
            enough = learned.labels[some].sum() >= _FEWEST_BOUGHT
            rankers[policy] = cls._learned(learned.at(some), config, seed) if enough else rankers[MIX]
        chosen = {policy: better_head(policy, ranker, stages.retrievers, judged) for policy, ranker in rankers.items()}
        retrieval = fit_retrieval(data, stages, seed)
        return cls(config, data.users, data.items, *retrieval, rankers, chosen, shortened(data.item_titles))

    @classmethod
    def _learned(cls, examples: RankingExamples, config: Any, seed: int) -> Any:
        return cls.learner.fit(examples.rows, examples.labels, examples.weights, config, seed)

    @property
    def ranker(self) -> Any:
        """The ranker of the policy."""
        return self.rankers[self.policy]

    def head(self, policy: str) -> Recommender:
        """Return the model that ranks for placements of this policy."""
        return self._heads[policy]

    @cached_property
    def _heads(self) -> dict[str, Recommender]:
        """The heads by policy: the same object for each call, so that what is prepared for it is used again."""
        retrievers = self.candidates.retrievers
        others = {policy: retrievers[chosen] for policy, chosen in self.chosen.items() if chosen != RANKER}
        own: dict[str, Recommender] = {
            policy: replace(self, policy=policy) for policy in POLICIES if policy != self.policy
        }
        return {self.policy: self} | own | others

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
        for policy, ranker in self.rankers.items():
            if policy == MIX or ranker is not self.rankers[MIX]:
                arrays |= under(_PREFIX[policy], ranker.state())
        return arrays | self.candidates.state() | self.rows.state()

    @classmethod
    def from_state(cls, config: Any, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Return the stored model."""
        kinds, items = tuple(config.retrievers), state["items"]
        candidates = Candidates.from_state(state, kinds, config.per_retriever, len(items), config.sources)
        parts = {policy: part_of(prefix, state) for policy, prefix in _PREFIX.items()}
        mix = cls.learner.from_state(parts[MIX] or state)  # models of earlier versions have a single ranker
        others = {policy: cls.learner.from_state(part) if part else mix for policy, part in parts.items()}
        rankers, heads = others | {MIX: mix}, state.get("chosen", np.full(len(POLICIES), RANKER)).tolist()
        chosen = dict(zip(POLICIES, heads, strict=True))
        rows = RankerRows.from_state(state)
        return cls(config, state["users"], items, candidates, rows, rankers, chosen, state["titles"])


def better_head(policy: str, ranker: Any, kinds: tuple[str, ...], judged: JudgedUsers) -> str:
    """Return the kind whose NDCG@10 is higher than the ranker's by more than its standard error; else `RANKER`."""
    own, bought, history = judged.own, judged.bought, judged.history
    if policy == MIX:
        some, targets = np.ones(len(own), dtype=bool), bought
    else:
        some = ~own if policy == DISCOVER else own
        targets = sparse.csr_array(bought > history if policy == DISCOVER else bought.multiply(history))
    if (np.diff(targets.indptr) > 0).sum() < _FEWEST_USERS:
        return RANKER
    row, item = judged.pairs.row[some], judged.pairs.item[some]

    def measured(scores: NDArray[np.float32]) -> NDArray[np.float64]:
        source = PairSource.of(targets.shape[0], row, item, np.nan_to_num(scores, nan=-np.inf))
        return accuracy(source.fetch(np.arange(targets.shape[0]), _PLACES).items, targets)["ndcg"]

    figures = measured(ranker.probabilities(judged.rows[some]))
    others = {kind: measured(scores) for kind, scores in zip(kinds, judged.pairs.scores[some].T, strict=True)}
    best = max(others, key=lambda kind: float(np.nanmean(others[kind])))
    gained = (others[best] - figures)[~np.isnan(figures)]
    return best if gained.mean() > gained.std() / np.sqrt(len(gained)) else RANKER


@dataclass(frozen=True)
class RegressionConfig(logistic.Config, TwoStageConfig):
    """Settings of LogisticRegression."""


@dataclass(frozen=True)
class LogisticRegression(TwoStage):
    """The same two stages with a logistic regression as the ranker: the baseline for the trees."""

    kind: ClassVar[str] = "logistic_regression"
    config_type: ClassVar[type[Any]] = RegressionConfig
    few_repeats: ClassVar[Any] = RegressionConfig(retrievers=WITH_ORDER)
    space: ClassVar[Mapping[str, Parameter]] = Logistic.space
    learner: ClassVar[type[Any]] = Logistic
