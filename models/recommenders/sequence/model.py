"""The sequence model: what a user does next, from the order and the times of the latest events."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from models.errors import TailorbirdError
from models.primitives.state import Part, StoredModel, number
from models.primitives.vocabulary import NO_INDEX, index_of
from models.recommenders.explanations.evidence import shortened, unit
from models.recommenders.explanations.sentences import NONE as NO_REASON
from models.recommenders.explanations.sentences import because, because_of_both
from models.recommenders.lightfm import TagFactors
from models.recommenders.search_space import Choice, Float, Integer, Parameter
from models.recommenders.sequence.histories import PURCHASE, Encoder, Histories, Ordered
from models.recommenders.sequence.network_settings import Config
from models.recommenders.sequence.repeats import Bonuses, Repeats
from models.retrieval.candidate_query import CandidatePairs, CandidateScope, PreparesScopes, best_by_scores
from models.retrieval.candidate_sources import products

if TYPE_CHECKING:
    from models.datasets.cold_start import NewUsers
    from models.datasets.training_data import TrainingData
    from models.recommenders.protocols import EpochWatch

NONE: Final = -1


class Evidence(NamedTuple):
    """Own items of m pairs of user and listed item; NONE if there is none."""

    earlier: NDArray[np.int32]
    later: NDArray[np.int32]
    """The item of the later event, or the only one."""
    bought: NDArray[np.bool_]
    """Whether both are purchases; else neither is."""


def nearest_two(
    histories: Histories, vectors: NDArray[np.float32], users: NDArray[np.int32], items: NDArray[np.int32]
) -> Evidence:
    """Return the two items with the greatest cosines above zero, but never the listed one.

    They are purchases, or other acts of a user without purchases. Purchases within an hour have no order.
    """
    none = np.full(len(items), NONE, dtype=np.int32)
    evidence = Evidence(none, none.copy(), np.zeros(len(items), dtype=bool))
    order = np.argsort(users, kind="stable")
    for pairs in np.split(order, np.flatnonzero(np.diff(users[order])) + 1):
        user = int(users[pairs[0]]) if len(pairs) else NONE
        if user == NONE or not histories.counts[user]:
            continue
        own, moment, evidence.bought[pairs] = _latest(histories, user)
        cosines = (unit(vectors[own]) @ np.nan_to_num(vectors[items[pairs]]).T).T
        cosines[items[pairs][:, None] == own] = 0
        best, second = _greatest_two(cosines)
        found = np.flatnonzero(best != NONE)
        evidence.later[pairs[found]] = own[best[found]]
        both = found[(second[found] != NONE) & (moment[best[found]] != moment[second[found]])]
        first, then = (choose(best[both], second[both]) for choose in (np.minimum, np.maximum))
        evidence.earlier[pairs[both]], evidence.later[pairs[both]] = own[first], own[then]
    return evidence


def sentences(titles: NDArray[np.str_], evidence: Evidence) -> list[str]:
    """Return one sentence per pair."""
    texts = []
    for earlier, later, bought in zip(*(part.tolist() for part in evidence), strict=True):
        if later == NONE:
            texts.append(NO_REASON)
        elif earlier == NONE:
            texts.append(because(str(titles[later]), not bought))
        else:
            texts.append(because_of_both(str(titles[earlier]), str(titles[later]), not bought))
    return texts


def _latest(histories: Histories, user: int) -> tuple[NDArray[np.int32], NDArray[np.int64], bool]:
    """Return the different items of a user by their latest events, the oldest first, and the moments of these.

    The third value states whether they are purchases.
    """
    rows = slice(histories.ends[user], histories.ends[user + 1])
    items, steps, bought = histories.items[rows], histories.gaps[rows] > 0, histories.kinds[rows] == PURCHASE
    has_bought = bool(bought.any())
    moment = np.cumsum(steps) - steps if has_bought else np.arange(len(items))
    used = bought if has_bought else ~bought
    items, moment = items[used], moment[used]
    last = np.sort(len(items) - 1 - np.unique(items[::-1], return_index=True)[1])
    return items[last], moment[last], has_bought


def _greatest_two(cosines: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return [m] the columns of the greatest two values above zero of each row."""
    columns = []
    for _ in range(2):
        greatest = cosines.argmax(axis=1)
        rows = np.arange(len(cosines))
        columns.append(np.where(cosines[rows, greatest] > 0, greatest, NONE))
        cosines[rows, greatest] = 0
    return columns[0], columns[1]


_BLOCK: Final = 256
"""Histories that the network reads at once."""


class TrainingExtraMissingError(TailorbirdError):
    """The packages that train the model are not installed."""


@dataclass(frozen=True)
class SequenceModel(StoredModel, PreparesScopes):
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

    stored: ClassVar[Mapping[str, Part]] = {
        "encoder": Part(Encoder.state, Encoder.from_state),
        "histories": Part(Histories.state, Histories.from_state),
        "repeats": Part(Repeats.state, Repeats.from_state),
        "bonuses": Part(Bonuses.state, Bonuses.from_state),
        "item_tags": TagFactors.part("item_tags"),
        "usual_gap": number("usual_gap", int),
    }

    titles: NDArray[np.str_]
    item_vectors: NDArray[np.float32]
    """[n_items, d]; NaN for new items without a known tag."""
    encoder: Encoder
    histories: Histories
    repeats: Repeats
    bonuses: Bonuses
    item_tags: TagFactors
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
            bonuses=Bonuses.of(learned.repeats, events, data),
            item_tags=TagFactors.of(data.item_tag_rules, learned.tag_vectors, biases, 1),
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
        tags = index_of(self.item_tags.rules.names, data.item_tag_rules.names)
        tagged = data.item_tags[:, np.flatnonzero(tags >= 0)]
        vectors: NDArray[np.float32] = tagged @ self.item_tags.factors[tags[tags >= 0]]
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
            bonuses=Bonuses.of(self.repeats, events, data),
        )

    def with_users(self, users: "NewUsers") -> Self:
        """Return the model of users with their clicks, in order, as histories; traits are not used."""
        clicks = Histories.of_clicks(users.in_order(), self.config.length, self.usual_gap)
        none = Bonuses.none(len(users.keys), len(self.items))
        return replace(self, users=users.keys, histories=clicks, bonuses=none)


def _products(queries: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the scores; -inf for rows and columns without a vector."""
    scores: NDArray[np.float32] = queries @ vectors.T
    return np.nan_to_num(scores, copy=False, nan=-np.inf)
