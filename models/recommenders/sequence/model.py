"""The sequence model: what a user does next, from the order and the times of the latest events."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from models.columns import TITLE
from models.datasets.cold_start import ExtendedItems
from models.errors import TailorbirdError
from models.primitives.state import Lookup, State, entries, parts, whole
from models.primitives.vocabulary import NO_INDEX, index_of
from models.recommenders.explanations.item import shortened, titles_of
from models.recommenders.lightfm.tag_factors import TagFactors
from models.recommenders.search_space import Choice, Float, Integer, Parameter
from models.recommenders.sequence.histories import Encoder, Histories, Ordered
from models.recommenders.sequence.network_settings import Config
from models.recommenders.sequence.reasons import nearest_two, sentences
from models.recommenders.sequence.repeats import OwnItems, Repeats
from models.retrieval.candidate_query import CandidatePairs, CandidateScope, ScopeMemory, best_by_scores
from models.retrieval.exact_top_k import products

if TYPE_CHECKING:
    import pyarrow as pa

    from models.datasets.cold_start import NewUsers
    from models.datasets.training_data import TrainingData
    from models.recommenders.epochs import EpochWatch

_BLOCK: Final = 256
"""Histories that the network reads at once."""
_NAME: Final = "bonuses"


@dataclass(frozen=True, eq=False)
class Bonuses:
    """One for each own item of each user."""

    of_own: sparse.csr_array
    """float32 CSR, users x items."""
    repeats: Repeats
    """Joins them with the network's scores."""

    @classmethod
    def none(cls, n_users: int, n_items: int) -> Self:
        """Return those of users without own items."""
        return cls(sparse.csr_array((n_users, n_items), dtype=np.float32), Repeats.none())

    def added(
        self, users: NDArray[np.int32], scores: NDArray[np.float32], column_of: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Join them to scores of users (-1: strangers) and return these.

        The columns are all items, or those with a column in `column_of` [n_items]; NO_INDEX for the others.
        """
        own = entries(self.of_own.indptr, users)
        item = self.of_own.indices[own.at]
        column = item if column_of is None else column_of[item]
        known = column != NO_INDEX
        place = own.row[known], column[known]
        scores[place] = self.repeats.joined(scores[place], self.of_own.data[own.at[known]])
        return scores

    def added_to_pairs(
        self,
        users: NDArray[np.int32],
        row: NDArray[np.int64],
        items: NDArray[np.integer[Any]],
        scores: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Return [n] the scores of items for the users at these rows with theirs."""
        own, width = entries(self.of_own.indptr, users), self.of_own.shape[1]
        codes = own.row * width + self.of_own.indices[own.at]
        bonus = Lookup(width, codes, self.of_own.data[own.at, None]).find(row, items)[:, 0]
        return np.where(np.isnan(bonus), scores, self.repeats.joined(scores, bonus))

    def renumbered(self, places: NDArray[np.integer[Any]], n_items: int) -> Self:
        """Return them for a longer catalogue, in which the items have these ascending places."""
        items = places[self.of_own.indices].astype(np.int32)
        shape = (self.of_own.shape[0], n_items)
        return type(self)(sparse.csr_array((self.of_own.data, items, self.of_own.indptr), shape=shape), self.repeats)

    def state(self) -> State:
        """Return their arrays."""
        return parts(_NAME, self.of_own)

    @classmethod
    def from_state(
        cls, state: Mapping[str, np.ndarray[Any, Any]], n_users: int, n_items: int, repeats: Repeats
    ) -> Self:
        """Return the stored ones."""
        return cls(whole(_NAME, state, (n_users, n_items)), repeats)


class TrainingExtraMissingError(TailorbirdError):
    """The packages that train the model are not installed."""


@dataclass(frozen=True)
class SequenceModel:
    """Scores items by their products with a vector of the user's history, and own items by when they were bought too.

    A transformer with pre-norm and causal attention (SASRec, Kang and McAuley 2018) or a GRU (GRU4Rec, Hidasi et al.
    2016) makes the vector. The vectors of items are the network's inputs too, and sums of their own and their tags'.
    """

    kind: ClassVar[str] = "sequence"
    config_type: ClassVar[type[Config]] = Config
    space: ClassVar[Mapping[str, Parameter]] = {
        "network": Choice(("transformer", "gru")),
        "dimensions": Choice((32, 64, 128)),
        "blocks": Integer(1, 3),
        "length": Choice((50, 100, 200)),
        "horizon_days": Choice((0.0, 7.0, 28.0)),
        "averaged": Choice((False, True)),
        "batch": Choice((8, 16, 32, 64, 128)),
        "dropout": Float(0, 0.5),
        "loss": Choice(("auto", "sampled", "gbce")),
        "negatives": Integer(100, 4_000, log=True),
        "negative_exponent": Float(0, 1),
        "learning_rate": Float(0.0003, 0.01, log=True),
    }

    config: Config
    users: NDArray[np.str_]
    items: NDArray[np.str_]
    titles: NDArray[np.str_]
    item_vectors: NDArray[np.float32]
    """[n_items, d]; NaN for new items without a known tag."""
    encoder: Encoder
    histories: Histories
    repeats: Repeats
    bonuses: Bonuses
    tags: TagFactors
    usual_gap: int
    """The class of the usual time between two baskets, for clicks whose time is unknown."""
    curve: NDArray[np.float32]
    """[epochs, 2] loss and NDCG on the validation of each pass over the data."""

    @classmethod
    def fit(cls, data: "TrainingData", config: Config, seed: int) -> Self:
        """Learn by `models.recommenders.sequence.training`. Raises TrainingExtraMissingError without PyTorch."""
        return cls.fit_by_epochs(data, config, seed, None)

    @classmethod
    def fit_by_epochs(cls, data: "TrainingData", config: Config, seed: int, watch: "EpochWatch | None") -> Self:
        """Learn the same, from the checkpoint of `watch` on, and report each pass over the data to it."""
        config.check()
        try:
            from models.recommenders.sequence.training.learn import learn
        except ModuleNotFoundError as error:
            raise TrainingExtraMissingError(
                f"Training the model `sequence` needs the package {error.name}. "
                "Install Tailorbird with it: pip install 'tailorbird[sequence]'."
            ) from None
        events = Ordered.of(data, config.time_gaps)
        learned = learn(data, events, config, seed, watch)
        between = events.gap[:-1][events.starts_basket[1:] & (np.diff(events.user) == 0)]
        biases = np.zeros(len(learned.tag_vectors), dtype=np.float32)
        return cls(
            config=config,
            users=data.users,
            items=data.items,
            titles=shortened(data.item_titles),
            item_vectors=learned.item_vectors,
            encoder=Encoder(learned.graph),
            histories=Histories.of(events, len(data.users), config.length),
            repeats=learned.repeats,
            bonuses=_bonuses(learned.repeats, events, data),
            tags=TagFactors.of(data.item_tag_rules, learned.tag_vectors, biases, 1),
            usual_gap=int(np.median(between)) if len(between) else 0,
            curve=learned.curve,
        )

    def encoded(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return [m, d] the vectors of the users' histories; NaN for strangers and for users without events."""
        vectors = np.full((len(users), self.item_vectors.shape[1]), np.nan, dtype=np.float32)
        known = np.flatnonzero(users >= 0)
        known = known[self.histories.counts[users[known]] > 0]
        different, place = np.unique(users[known], return_inverse=True)
        encoded = np.empty((len(different), vectors.shape[1]), dtype=np.float32)
        by_length = np.argsort(self.histories.counts[different], kind="stable")
        for block in np.split(by_length, range(_BLOCK, len(by_length), _BLOCK)):
            if len(block):
                encoded[block] = self.encoder(self.item_vectors, self.histories.padded(different[block]))
        vectors[known] = encoded[place]
        return vectors

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return products of the vectors, more for own items; -inf for strangers, users without events and items
        without a vector.
        """
        return self.bonuses.added(users, _products(self.encoded(users), self.item_vectors))

    def top_candidates(self, users: NDArray[np.int32], scope: CandidateScope, n: int) -> CandidatePairs:
        """Return the n best items of each user in the scope."""
        vectors, places = self._scoped.prepared(scope.items, self._of_scope)

        def scores(some: NDArray[np.int32]) -> NDArray[np.float32]:
            return self.bonuses.added(some, _products(self.encoded(some), vectors), places)

        return best_by_scores(scores, users, scope, n)

    def _of_scope(self, items: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the vectors of items, and the place of each item of the model among them."""
        places = np.full(len(self.items), NO_INDEX, dtype=np.int64)
        places[items] = np.arange(len(items))
        return self.item_vectors[items], places

    @cached_property
    def _scoped(self) -> ScopeMemory:
        """The vectors of a scope's items, and their places."""
        return ScopeMemory()

    def pair_scores(self, users: NDArray[np.int32], items: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Return [n] the scores of pairs."""
        different, row = np.unique(users, return_inverse=True)
        encoded = self.encoded(different)
        known = np.isfinite(encoded[:, 0])[row]
        scores = products(encoded, self.item_vectors, np.where(known, row, NO_INDEX), items)
        scores = self.bonuses.added_to_pairs(different, row, items, scores)
        return np.where(np.isnan(scores), np.float32(-np.inf), scores)

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:
        """Return the two own items whose vectors are nearest to that of the listed one, in the user's order."""
        return sentences(self.titles, nearest_two(self.histories, self.item_vectors, users, items))

    @cached_property
    def history(self) -> Any:
        """Boolean CSR, users x items: the items of the histories."""
        return self.histories.matrix(len(self.items))

    @property
    def item_factors(self) -> NDArray[np.float32]:
        """[n_items, d] vectors whose cosines compare items."""
        return self.item_vectors

    def moved_to(self, data: "TrainingData") -> Self:
        """Return the same network for the users, items and histories of later data, without training.

        New items have the vectors of their tags.
        """
        tags = index_of(self.tags.rules.names, data.item_tag_rules.names)
        tagged = data.item_tags[:, np.flatnonzero(tags >= 0)]
        vectors: NDArray[np.float32] = tagged @ self.tags.factors[tags[tags >= 0]]
        vectors[np.diff(tagged.indptr) == 0] = np.nan
        own = index_of(self.items, data.items)
        vectors[own >= 0] = self.item_vectors[own[own >= 0]]
        events = Ordered.of(data, self.config.time_gaps)
        return replace(
            self,
            users=data.users,
            items=data.items,
            titles=shortened(data.item_titles),
            item_vectors=vectors,
            histories=Histories.of(events, len(data.users), self.config.length),
            bonuses=_bonuses(self.repeats, events, data),
        )

    def with_users(self, users: "NewUsers") -> Self:
        """Return the model of users with their clicks, in order, as histories; traits are not used."""
        clicks = Histories.of_clicks(users.in_order(), self.config.length, self.usual_gap)
        none = Bonuses.none(len(users.keys), len(self.items))
        return replace(self, users=users.keys, histories=clicks, bonuses=none)

    def with_items(self, catalogue: "pa.Table") -> Self:
        """Return the model with new items as the sums of their tags' vectors."""
        longer = ExtendedItems.of(self.items, catalogue)
        tagged, titles = self.tags.representations(longer.rows, len(longer.new)), shortened(longer.words(TITLE))
        vectors = np.where(tagged.known[:, None], tagged.factors, np.float32(np.nan))
        known = longer.known[self.histories.items].astype(np.int32)
        return replace(
            self,
            items=longer.items,
            titles=longer.joined(self.titles.astype(np.result_type(self.titles, titles)), titles),
            item_vectors=longer.joined(self.item_vectors, vectors),
            histories=replace(self.histories, items=known),
            bonuses=self.bonuses.renumbered(longer.known, len(longer.items)),
        )

    def state(self) -> State:
        """Return all arrays, the network as the bytes of its ONNX file."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        arrays |= {"network": self.encoder.graph, "usual_gap": np.array(self.usual_gap)}
        return (
            arrays | self.repeats.state() | self.bonuses.state() | self.histories.state() | self.tags.state("item_tags")
        )

    @classmethod
    def from_state(cls, config: Config, state: Mapping[str, np.ndarray[Any, Any]]) -> Self:
        """Return the stored model."""
        repeats = Repeats.from_state(state)
        return cls(
            config=config,
            users=state["users"],
            items=state["items"],
            titles=titles_of(state),
            item_vectors=state["item_vectors"],
            curve=state["curve"],
            encoder=Encoder(state["network"]),
            histories=Histories.from_state(state),
            repeats=repeats,
            bonuses=Bonuses.from_state(state, len(state["users"]), len(state["items"]), repeats),
            tags=TagFactors.from_state("item_tags", state),
            usual_gap=int(state["usual_gap"]),
        )


_ARRAYS: Final = ("users", "items", "titles", "item_vectors", "curve")


def _bonuses(repeats: Repeats, events: Ordered, data: "TrainingData") -> Bonuses:
    own = OwnItems.of(events, np.full(len(data.users), data.cut), len(data.items))
    return Bonuses(repeats.bonuses(own, (len(data.users), len(data.items))), repeats)


def _products(queries: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the scores; -inf for rows and columns without a vector."""
    scores: NDArray[np.float32] = queries @ vectors.T
    return np.nan_to_num(scores, copy=False, nan=-np.inf)
