"""Every way of asking gives the same candidates and the same reasons."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy import sparse

from models.datasets.cold_start import NewUsers
from models.datasets.training_data import TrainingData
from models.lists.constrained_selection import Selection, select
from models.lists.model_cascade import ClickPrior, Filler, ScoringModel, candidate_source_for, reasons_of
from models.lists.rules.compiled_rules import CompiledRules
from models.recommenders.als import ImplicitALS
from models.recommenders.baselines.own_frequency import OwnFrequency
from models.recommenders.explanations.sentences import ReasonsFromCodes
from models.recommenders.item_based.item_knn import Config, ItemKNN

USERS = np.array([3, 0, 11, 40], np.int32)
Way = Callable[[ScoringModel], Any]
BASKETS = [("a", "cup", 99, "1"), ("a", "tea", 99, "1"), ("b", "bell", 99, "2"), ("b", "saw", 99, "2")]


@dataclass(frozen=True)
class Plain:
    """A model with only the interface that every scoring model has."""

    of: ScoringModel

    @property
    def users(self) -> NDArray[np.str_]:
        return self.of.users

    @property
    def items(self) -> NDArray[np.str_]:
        return self.of.items

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        return self.of.scores(users)

    def reasons(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> list[str]:
        return self.of.reasons(users, items)


class InPairs(Plain):
    """A model that also ranks the pairs that it scores."""

    def ranked(self, users: NDArray[np.int32]) -> tuple[Any, Any, Any]:
        scores = self.of.scores(users)
        row, item = np.nonzero(scores > -np.inf)
        return row, item, scores[row, item]


class InCodes(Plain, ReasonsFromCodes):
    """A model that also gives its reasons as codes of sentences."""

    def reason_codes(self, users: NDArray[np.int32], items: NDArray[np.int32]) -> tuple[NDArray[np.int32], list[str]]:
        texts, codes = np.unique(self.of.reasons(users, items), return_inverse=True)
        return codes.astype(np.int32), texts.tolist()


@pytest.fixture(scope="module")
def own(data: TrainingData) -> OwnFrequency:
    return OwnFrequency.fit(data, OwnFrequency.config_type(), 0)


@pytest.fixture(scope="module")
def als(data: TrainingData) -> ImplicitALS:
    return ImplicitALS.fit(data, ImplicitALS.config_type(), 0)


def every_second(data: TrainingData) -> Any:
    return np.arange(len(data.items)) % 2 == 0


def requested(
    scorer: ScoringModel | None, allowed: Any, due: Any = None, fallback: Any = None
) -> tuple[Any, Selection]:
    scored, shelf = candidate_source_for(scorer, USERS, allowed, due, fallback)
    rows = np.arange(len(USERS))
    return scored, select(shelf(rows), len(USERS), CompiledRules.plain(6, allowed))


@pytest.mark.parametrize("model", ["own", "als"])
@pytest.mark.parametrize("due", [False, True])
def test_candidates_are_the_same_in_pairs_in_vectors_and_in_rows_of_scores(
    request: pytest.FixtureRequest, data: TrainingData, model: str, due: bool
) -> None:
    scorer, allowed = request.getfixturevalue(model), every_second(data)
    expected_items = sparse.csr_array(np.arange(4 * len(data.items)).reshape(4, -1) % 3 == 0) if due else None
    scored, expected = requested(Plain(scorer), allowed, expected_items)
    assert scored.all()
    for way in (scorer, InPairs(scorer)):
        stated, result = requested(way, allowed, expected_items)
        np.testing.assert_array_equal(stated, scored)
        np.testing.assert_array_equal(result.items, expected.items)
        np.testing.assert_allclose(result.scores, expected.scores, rtol=1e-5)


@pytest.mark.parametrize("way", [Plain, InPairs])
def test_a_model_whose_items_may_all_not_be_shown_serves_no_list(
    own: OwnFrequency, data: TrainingData, way: Way
) -> None:
    allowed = ~np.isin(np.arange(len(data.items)), data.item[data.user == USERS[1]])
    assert requested(way(own), allowed)[0].tolist() == [True, False, True, True]


def test_nobody_names_nothing_but_what_is_due_by_the_fallback(data: TrainingData) -> None:
    n = len(data.items)
    everything = np.ones(n, dtype=bool)
    assert not requested(None, everything)[0].any()
    due = np.zeros((4, n), dtype=bool)
    due[0, [2, 5, 7]], due[2, 9] = True, True
    scored, result = requested(None, everything, sparse.csr_array(due), np.arange(n, dtype=np.float32))
    assert scored.tolist() == [True, False, True, False]
    assert result.items[0].tolist() == [7, 5, 2, -1, -1, -1]


def test_a_model_in_pairs_without_any_score_is_no_error(own: OwnFrequency, data: TrainingData) -> None:
    empty = np.zeros(len(data.items), dtype=bool)
    due = sparse.csr_array((4, len(data.items)), dtype=bool)
    strangers = np.full(4, -1, np.int32)
    assert not candidate_source_for(InPairs(own), strangers, ~empty)[0].any()
    assert not candidate_source_for(InPairs(own), strangers, ~empty, due)[0].any()
    assert not requested(InPairs(own), empty)[0].any()


def filled(data: TrainingData) -> Filler:
    return Filler(np.zeros(len(data.items), np.int32), ["Filled up"])


@pytest.mark.parametrize("model", ["own", "als"])
def test_reasons_in_codes_are_the_reasons_in_words(
    request: pytest.FixtureRequest, data: TrainingData, model: str
) -> None:
    scorer: Any = request.getfixturevalue(model)
    chosen = requested(scorer, every_second(data))[1]
    chosen.items[1, 4:] = -1
    chosen.from_fallback[2, 3] = True

    def entries(way: ScoringModel) -> list[list[str]]:
        codes, texts = reasons_of(way, USERS, chosen, filled(data))
        assert ((codes < 0) == (chosen.items < 0)).all()
        return [[texts[code] if code >= 0 else "" for code in row] for row in codes.tolist()]

    words = entries(Plain(scorer))
    assert entries(InCodes(scorer)) == words == entries(scorer)
    assert words[2][3] == "Filled up"
    assert words[0] == scorer.reasons(np.repeat(USERS[:1], 6), chosen.items[0])


@pytest.fixture
def prior(small) -> ClickPrior:
    """Of bell, cup, saw and tea one goes with one other; `n` clicked the cup twice, `z` nothing."""
    model = ItemKNN.fit(small(BASKETS), Config(), 0)
    clicks = pa.table({"user_key": ["n", "n"], "item_id": ["cup", "cup"]})
    new = NewUsers.of(pa.table({"user_key": ["n", "z"]}), clicks, model.items)
    bought = np.array([6, 2, 2, 0])
    return ClickPrior(model.with_users(new), new.events, bought.astype(np.float32), buyers=bought.astype(np.int32))


def test_popularity_the_clicks_and_what_goes_with_them_add_up_as_shares(prior: ClickPrior) -> None:
    assert prior.items.tolist() == ["bell", "cup", "saw", "tea"]
    scores = prior.scores(np.array([0], np.int32))[0]
    np.testing.assert_allclose(scores, [0.6, 0.2 + 2 * 0.01, 0.2, 2 * 0.1], rtol=1e-5)


def test_a_reason_is_that_of_the_greatest_part(prior: ClickPrior) -> None:
    users, items = np.zeros(4, np.int32), np.arange(4, dtype=np.int32)
    popular, *others, clicked = prior.reasons(users, items)
    assert (popular, clicked) == ("Bought by 6 customers in the last 28 days", "Because you looked at cup")
    assert others == ["You may like this"] * 2
    rare = replace(prior, popularity=np.array([6, 0, 2, 0], np.float32))
    assert rare.reasons(users[:1], np.array([1], np.int32)) == ["You looked at this"]


def test_an_item_without_purchases_or_clicks_is_not_scored(prior: ClickPrior) -> None:
    unsold = replace(prior, popularity=np.array([0, 2, 2, 0], np.float32))
    assert np.isfinite(unsold.scores(np.array([0], np.int32))[0]).tolist() == [False, True, True, True]


def test_a_user_without_clicks_and_a_stranger_are_left_to_the_model(prior: ClickPrior) -> None:
    assert (prior.scores(np.array([1, -1], np.int32)) == -np.inf).all()
    assert prior.reasons(np.array([1, -1], np.int32), np.array([1, 1], np.int32)) == ["You may like this"] * 2
