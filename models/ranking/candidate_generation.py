"""Candidates: models that score the whole catalogue fast retrieve a few hundred items per user, with features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.columns import ITEM_ID, USER_KEY
from models.datasets.interaction_matrix import decay
from models.features.definitions import ITEM_FEATURES, PAIR_FEATURES, USER_FEATURES
from models.primitives.arrow_types import pa
from models.primitives.distinct import distinct
from models.primitives.state import Lookup, State, entries, part_of, under
from models.primitives.vocabulary import NO_INDEX, index_of, words
from models.recommenders.als import ImplicitALS
from models.recommenders.baselines.most_popular import MostPopular, popularity
from models.recommenders.baselines.own_frequency import OwnFrequency
from models.recommenders.content_based import ContentBased
from models.recommenders.graph_filter import GraphFilter
from models.recommenders.item_based.item_knn import ItemKNN
from models.recommenders.protocols import Recommender
from models.recommenders.sequence import network_settings as sequence
from models.recommenders.sequence.model import SequenceModel
from models.retrieval.candidate_query import CandidatePairs, CandidateScope

if TYPE_CHECKING:
    from models.datasets.training_data import TrainingData


class Retriever(Recommender, Protocol):
    """A model that returns candidates without a row of scores for the whole catalogue."""

    def top_candidates(self, users: NDArray[np.int32], scope: CandidateScope, n: int) -> CandidatePairs:
        """Return the n best items of each user in the scope, ties by position, without those hidden from the user.

        A model of repeat purchases returns the user's own items instead.
        """

    def pair_scores(self, users: NDArray[np.int32], items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return [n] the scores of pairs."""


RETRIEVERS: Final[Mapping[str, type[Retriever]]] = {
    model.kind: model
    for model in (OwnFrequency, ImplicitALS, ItemKNN, GraphFilter, ContentBased, MostPopular, SequenceModel)
}
"""The models that can be retrievers, by kind."""


SETTINGS: Final[Mapping[str, Any]] = {
    SequenceModel.kind: sequence.Config(
        blocks=1,
        batch=16,
        learning_rate=0.004,
        epochs=5,
        negatives=300,
        negative_exponent=1.0,
        repeats=False,
        horizon_days=0.0,
        averaged=False,
    )
}
"""Settings of retrievers that are not the model's defaults. The ranker has features of own items."""


Sources = Mapping[str, Mapping[str, Any]]
"""Settings of retrievers by kind, over their defaults: those that a search found."""


def fitted_retriever(kind: str, sources: Sources, data: TrainingData, seed: int) -> Any:
    """Return a retriever that has learned from the data."""
    return RETRIEVERS[kind].fit(data, settings_of(kind, sources), seed)


def settings_of(kind: str, sources: Sources) -> Any:
    """Return the settings of a retriever."""
    return replace(SETTINGS.get(kind) or RETRIEVERS[kind].config_type(), **sources.get(kind, {}))


class ScoredCandidates(NamedTuple):
    """Candidates of m users, in order of user and item, no pair twice."""

    row: NDArray[np.int64]
    """[n] position among the users of the query."""
    item: NDArray[np.int64]
    scores: NDArray[np.float32]
    """[n, retrievers] each retriever's score of the pair; NaN if it has none."""
    ranks: NDArray[np.float32]
    """[n, retrievers] the pair's rank by that score among the user's candidates, from 1; NaN without a score."""
    own: NDArray[np.bool_]
    """[n] whether the user had bought the item."""

    def at(self, rows: NDArray[Any] | slice) -> ScoredCandidates:
        """Return some of the candidates."""
        return ScoredCandidates._make(array[rows] for array in self)


@dataclass(frozen=True)
class Candidates:
    """Fitted retrievers, and how many items each may return.

    Own frequency returns the user's purchases. The others return only items that the user has not bought, because
    purchases would crowd out everything else.
    """

    retrievers: Mapping[str, Retriever]
    per_retriever: int
    history: Any
    """Boolean CSR, users x items."""
    recent_items: NDArray[np.int64]
    """Positions of the items among which new items are sought, ascending."""

    @classmethod
    def fit(
        cls,
        data: TrainingData,
        kinds: tuple[str, ...],
        per_retriever: int,
        n_recent: int,
        seed: int,
        earlier: Mapping[str, SequenceModel] | None = None,
        sources: Sources = MappingProxyType({}),
    ) -> Self:
        """Fit each retriever, and find the `n_recent` best sellers of recent days.

        Models learned `earlier` are moved to the data instead.
        """
        known = earlier or {}
        fitted: dict[str, Retriever] = {
            kind: known[kind].moved_to(data) if kind in known else fitted_retriever(kind, sources, data, seed)
            for kind in kinds
        }
        sold = np.argsort(-popularity(data), kind="stable")[:n_recent]
        return cls(fitted, per_retriever, data.history(), np.sort(sold))

    def find(self, users: NDArray[np.int32]) -> ScoredCandidates:
        """Return the union of the retrievers' candidates; none for strangers. Memory is bounded by m x candidates."""
        n, bought = self.history.shape[1], entries(self.history.indptr, users)
        bought_items = self.history.indices[bought.at].astype(np.int64)
        scope = self._new_items(bought.row, bought_items)
        pairs = [model.top_candidates(users, scope, self.per_retriever) for model in self.retrievers.values()]
        code = distinct(np.concatenate([one.row * n + one.item for one in pairs]))
        row, item = np.divmod(code, n)
        scores = np.column_stack([model.pair_scores(users[row], item) for model in self.retrievers.values()])
        scores[np.isinf(scores)] = np.nan
        ranks = np.column_stack([_ranks(row, column) for column in scores.T])
        return ScoredCandidates(row, item, scores, ranks, np.isin(code, bought.row * n + bought_items))

    def _new_items(self, row: NDArray[np.int64], bought: NDArray[np.int64]) -> CandidateScope:
        """Return the scope of new items: a user's purchases are hidden from that user."""
        place = self._place[bought]
        return CandidateScope(self.recent_items, row[place != NO_INDEX], place[place != NO_INDEX])

    @cached_property
    def _place(self) -> NDArray[np.int64]:
        """[n_items] place of each in `recent_items`; -1 elsewhere."""
        place = np.full(self.history.shape[1], NO_INDEX)
        place[self.recent_items] = np.arange(len(self.recent_items))
        return place

    def bought(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return [m] for each pair whether it is in the history; a stranger (-1) has none."""
        if not len(users):  # SciPy treats an empty index as one of floats
            return np.zeros(0, dtype=bool)
        if (users == users[0]).all():
            return np.isin(items, self.history.indices[entries(self.history.indptr, users[:1]).at])
        known: NDArray[np.bool_] = self.history[np.maximum(users, 0), items]
        return known & (users >= 0)

    def state(self) -> State:
        """Return the arrays of every retriever, prefixed with its kind, and the history."""
        arrays: State = {}
        for kind, model in self.retrievers.items():
            arrays |= under(f"{kind}.", model.state())
        history = {"history.indices": self.history.indices, "history.indptr": self.history.indptr}
        return arrays | history | {"shelf": self.recent_items}

    @classmethod
    def from_state(
        cls,
        state: Mapping[str, np.ndarray[Any, Any]],
        kinds: tuple[str, ...],
        per_retriever: int,
        n_items: int,
        sources: Sources,
    ) -> Self:
        """Return the candidates of that state."""
        retrievers = {
            kind: RETRIEVERS[kind].from_state(settings_of(kind, sources), part_of(f"{kind}.", state)) for kind in kinds
        }
        indices, indptr = state["history.indices"], state["history.indptr"]
        bought = np.ones(len(indices), dtype=bool)
        history = sparse.csr_array((bought, indices, indptr), shape=(len(indptr) - 1, n_items))
        return cls(retrievers, per_retriever, history, state["shelf"])


_ROWS, _PLACE_BITS = 512, 22
"""Rows ranked at once, and bits of a pair's place: with the 32 of a score they fill an integer of 64 bits."""


def _ranks(row: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return [n] the rank of each score within its row, the highest first; equal scores share the best rank.

    Row, score and place are sorted as one integer each, which takes a quarter of the time of `np.argsort`.
    """
    ranks = np.full(len(row), np.nan, dtype=np.float32)
    for start in range(0, int(row.max(initial=-1)) + 1, _ROWS):
        begin, end = np.searchsorted(row, [start, start + _ROWS])
        known = begin + np.flatnonzero(~np.isnan(scores[begin:end]))
        bits = (scores[known] + np.float32(0)).view(np.int32)  # the sum makes 0 of -0
        highest = np.iinfo(np.int32).max
        ascending = np.where(bits < 0, bits ^ highest, bits).astype(np.int64)
        keys = (((row[known] - start) << 32) + (highest - ascending)) << _PLACE_BITS
        keys |= np.arange(len(known))
        keys.sort()
        best, first = _starts(keys >> _PLACE_BITS), _starts(keys >> (_PLACE_BITS + 32))
        ranks[known[keys & ((1 << _PLACE_BITS) - 1)]] = best - first + 1
    return ranks


def _starts(ascending: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return [n] the position of the first of the equal values."""
    starts = np.arange(len(ascending))
    starts[1:][ascending[1:] == ascending[:-1]] = 0
    return np.maximum.accumulate(starts)


UNKNOWN: Final = -1
"""The category of an item without one."""
_HALF_LIFE: Final = 60.0
_WORDS: Final = ("top_category", "top_brand")
_CATEGORY: Final = ("category_baskets", "category_share", "share_of_category")


_USER, _ITEM, _PAIR = (
    tuple(feature.name for feature in features if feature.name not in _WORDS)
    for features in (USER_FEATURES, ITEM_FEATURES, PAIR_FEATURES)
)


@dataclass(frozen=True)
class RankerRows:
    """The features of one moment, by position of user and item.

    Three features on the item's full category path join those of the data set: the user's baskets in it, halved every
    60 days; their share of all the user's baskets; and the item's share of the category's baskets in 28 days.
    """

    users: NDArray[np.float32]
    """[n_users, f]"""
    items: NDArray[np.float32]
    """[n_items, g]; the last column is the item's share of its category."""
    pairs: Lookup
    category: NDArray[np.int32]
    """[n_items] position of its category path; UNKNOWN without one."""
    categories: Lookup
    """Per user and category: the decayed baskets and their share."""
    has_ranks: bool = True
    """Whether the ranks of retrievers are features; they are not of rankers of earlier versions."""

    @classmethod
    def of(cls, data: TrainingData) -> Self:
        """Return the features at the data's cut, from its origin."""
        assert data.origin is not None
        known, n = data.origin.features(data.cut), len(data.items)
        paths, position = np.unique(data.item_categories, return_inverse=True)
        known_path = data.item_categories != ""
        category = np.where(known_path, position, UNKNOWN).astype(np.int32)
        items = _matrix(known.items, _ITEM, index_of(words(known.items[ITEM_ID]), data.items))
        recent = np.nan_to_num(items[:, _ITEM.index("popularity_28d")])
        sold = np.bincount(position, recent, minlength=len(paths))[position]
        share = np.divide(recent, sold, out=np.zeros(n), where=sold > 0).astype(np.float32)
        share[~known_path] = np.nan
        return cls(
            _matrix(known.users, _USER, index_of(words(known.users[USER_KEY]), data.users)),
            np.column_stack([items, share]),
            Lookup.of(
                data.user_index(known.pairs[USER_KEY]),
                data.item_index(known.pairs[ITEM_ID]),
                n,
                _matrix(known.pairs, _PAIR),
            ),
            category,
            _categories(data, category, len(paths)),
        )

    def build(self, users: NDArray[np.int32], pairs: ScoredCandidates) -> NDArray[np.float32]:
        """Return [n, features] in order of `names`, NaN for unknown values."""
        user, item = users[pairs.row], pairs.item
        parts = (
            pairs.scores,
            *((pairs.ranks,) if self.has_ranks else ()),
            self._of_category(user, item),
            self.items.take(item, axis=0),
            self.pairs.find(user, item),
            self.users.take(user, axis=0),
        )
        return np.concatenate(parts, axis=1)

    def _of_category(self, user: NDArray[np.int32], item: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return [n, 2] the user's baskets in the item's category, and their share; NaN for an item without one."""
        category = self.category[item]
        own = self.categories.find(user, np.maximum(category, 0), otherwise=0.0)
        own[category == UNKNOWN] = np.nan
        return own

    def names(self, retrievers: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of the columns of `build`."""
        ranks = [f"{kind}_rank" for kind in retrievers if self.has_ranks]
        known = _ITEM[: self.items.shape[1] - 1]  # features that were added later are the last ones
        return (*retrievers, *ranks, *_CATEGORY[:2], *known, _CATEGORY[2], *_PAIR, *_USER)

    def state(self) -> State:
        """Return all arrays."""
        arrays = {"rows.users": self.users, "rows.items": self.items, "rows.category": self.category}
        return arrays | self.pairs.state("rows.pairs") | self.categories.state("rows.categories")

    @classmethod
    def from_state(cls, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Return the features of that state."""
        users, items, category = (state[f"rows.{name}"] for name in ("users", "items", "category"))
        pairs, categories = (Lookup.from_state(state, f"rows.{name}") for name in ("pairs", "categories"))
        return cls(users, items, pairs, category, categories, has_ranks="chosen" in state)


def _matrix(table: pa.Table, names: tuple[str, ...], at: NDArray[np.int32] | None = None) -> NDArray[np.float32]:
    """Return the named columns as float32, NaN for nulls; `at` selects rows, and -1 is a row of NaN.

    Columns that data sets of earlier formats lack are NaN.
    """
    stored, absent = set(table.column_names), pa.chunked_array([pa.nulls(len(table), pa.float32())])
    columns = [(table[name].cast(pa.float32()) if name in stored else absent).to_numpy() for name in names]
    whole = np.column_stack([np.asarray(column, dtype=np.float32) for column in columns])
    if at is None:
        return whole
    return np.where((at >= 0)[:, None], whole[np.maximum(at, 0)], np.float32(np.nan))


def _categories(data: TrainingData, category: NDArray[Any], n_categories: int) -> Lookup:
    weight, own = decay(data, _HALF_LIFE), category[data.item]
    known = own != UNKNOWN
    code = data.user[known].astype(np.int64) * n_categories + own[known]
    pairs, entry = np.unique(code, return_inverse=True)
    baskets = np.bincount(entry, weight[known], minlength=len(pairs))
    user, of = np.divmod(pairs, n_categories)
    share = baskets / np.bincount(data.user, weight, minlength=len(data.users))[user]
    return Lookup.of(user, of, n_categories, np.column_stack([baskets, share]).astype(np.float32))
