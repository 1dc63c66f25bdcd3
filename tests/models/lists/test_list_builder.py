"""From the model that scores a user to the user's list."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from models import catalog
from models.columns import USER_KEY
from models.datasets.training_data import TrainingData
from models.evaluation.offline import LISTS, evaluate
from models.lists import list_builder
from models.lists.list_builder import DUE, RULES, ListBuilder, lists_of_scores
from models.lists.model_cascade import ModelCascade, build_cascade
from models.lists.ranked_lists import CHECKS, Lists, RankedLists, count_violations
from models.lists.rules.compiled_rules import CompiledRules, ItemAttributes
from models.lists.rules.placement_config import placements
from models.recommenders.als import ImplicitALS
from models.recommenders.baselines.most_popular import MostPopular, popularity
from models.recommenders.baselines.own_frequency import OwnFrequency
from models.recommenders.explanations.sentences import DUE as BEFORE
from models.recommenders.explanations.sentences import PICKED, popular_reasons, recent_buyers
from tests.models import reference_ranking

K = 8
# Few distinct values, so that ties, silence and NaN are common.
VALUES = st.sampled_from([-np.inf, np.nan, -1.0, 0.0, 0.5, 0.5000001, 2.0, 3.0])
ALLOWED = np.array([True, True, True, True, False])


@pytest.fixture(scope="module")
def own(data: TrainingData) -> OwnFrequency:
    return OwnFrequency.fit(data, OwnFrequency.config_type(), 0)


def asking(data: TrainingData, *cascade: Any, k: int = K) -> ListBuilder:
    rules = CompiledRules.plain(k, np.ones(len(data.items), dtype=bool))
    return ListBuilder(ModelCascade(cascade), popularity(data), rules, recent_buyers(data))


def by_key(parts: Any) -> dict[str, tuple[list[int], list[float], list[str], str]]:
    """Items, scores, reasons, and why the list is short, of everybody once."""
    result = {}
    for part in parts:
        assert isinstance(part, RankedLists)
        for at, key in enumerate(part.keys.tolist()):
            n = int((part.items[at] >= 0).sum())
            entries = [part.texts[code] for code in part.reasons[at, :n].tolist()]
            assert key not in result
            result[key] = (part.items[at, :n].tolist(), part.scores[at, :n].tolist(), entries, str(part.shortfall[at]))
    return result


def crowd(data: TrainingData, *strangers: str) -> Any:
    return np.sort(np.array([*data.users.tolist(), *strangers]))


def test_the_first_model_with_scores_for_a_user_serves_that_user(own: OwnFrequency, data: TrainingData) -> None:
    second = MostPopular.fit(data, MostPopular.config_type(), 0)
    knows = replace(second, users=np.array(["stranger one"]))
    result = by_key(asking(data, own, knows).build(crowd(data, "stranger one", "stranger two")))
    assert len(result) == len(data.users) + 2
    assert result["u000"][2][0].startswith("You ")
    best = np.argsort(-popularity(data), kind="stable")[:K].tolist()
    for stranger in ("stranger one", "stranger two"):
        assert result[stranger][0] == best
        assert result[stranger][2] == popular_reasons(recent_buyers(data), np.array(best, np.int32))
    assert result["u000"][0] != best


@pytest.mark.parametrize("kind", ["own_frequency", "als", "most_popular", "two_stage"])
def test_lists_are_the_same_whatever_the_size_of_a_chunk(
    data: TrainingData, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = catalog.model_type(kind).fit(data, catalog.config(kind), 0)
    keys = crowd(data, "a", "stranger", "zoe")
    hide = sparse.csr_array(np.arange(len(keys) * len(data.items)).reshape(len(keys), -1) % 7 == 0)
    whole = by_key(asking(data, model).build(keys, hide))
    for size in (1, 7, 60):
        monkeypatch.setattr(list_builder, "_AT_ONCE", ((object, (size, 2)),))
        result = by_key(asking(data, model).build(keys, hide))
        assert {key: (entries[0], entries[2]) for key, entries in result.items()} == {
            key: (entries[0], entries[2]) for key, entries in whole.items()
        }
        for key, entries in result.items():
            assert entries[1] == pytest.approx(whole[key][1], rel=1e-5)


def test_an_item_that_is_hidden_from_one_user_is_hidden_from_nobody_else(own: OwnFrequency, data: TrainingData) -> None:
    made, keys = asking(data, own), crowd(data)
    before = by_key(made.build(keys))
    hide = np.zeros((len(keys), len(data.items)), dtype=bool)
    hide[4, before["u004"][0][:3]] = True
    after = by_key(made.build(keys, sparse.csr_array(hide)))
    assert not {*before["u004"][0][:3]} & {*after["u004"][0]}
    assert after["u004"][0][: K - 3] == before["u004"][0][3:]
    assert all(after[key] == before[key] for key in before if key != "u004")


@pytest.mark.parametrize("kind", [OwnFrequency, ImplicitALS, MostPopular])
def test_repurchase_lists_due_items_only_and_states_why_lists_are_short(data: TrainingData, kind: Any) -> None:
    keys = crowd(data, "stranger")
    due = np.zeros((len(keys), len(data.items)), dtype=bool)
    due[keys == "u003"] = data.history().toarray()[3]
    due[keys == "stranger", :2] = True
    model = kind.fit(data, kind.config_type(), 0)
    result = by_key(asking(data, model, k=20).build(keys, None, sparse.csr_array(due)))
    assert len(result) == len(keys)
    assert set(result["u003"][0]) == {*np.flatnonzero(due[keys == "u003"][0]).tolist()}
    assert set(result["stranger"][0]) == {0, 1}
    assert {entries[3] for entries in result.values()} == {DUE}
    assert {len(entries[0]) for key, entries in result.items() if key not in ("u003", "stranger")} == {0}


def test_due_items_that_are_unknown_to_the_model_come_last_and_are_nobodys_pick(
    own: OwnFrequency, data: TrainingData
) -> None:
    keys, bought = np.array(["stranger", "u003"]), data.history().toarray()[3]
    since = np.flatnonzero(~bought)[:2].tolist()
    due = np.array([bought & False, bought])
    due[:, since] = True
    result = by_key(asking(data, own, k=30).build(keys, None, sparse.csr_array(due)))
    assert set(result["stranger"][0]) == set(result["u003"][0][-2:]) == {*since}
    assert set(result["u003"][0][:-2]) == {*np.flatnonzero(bought).tolist()}
    assert set(result["stranger"][2]) == set(result["u003"][2][-2:]) == {BEFORE}
    assert BEFORE not in result["u003"][2][:-2]


def test_a_pin_that_is_not_due_is_picked_by_the_shop_with_a_score_that_is_a_number(
    own: OwnFrequency, data: TrainingData
) -> None:
    n = len(data.items)
    words, unknown = np.full(n, ""), np.full(n, np.nan)
    catalogue = ItemAttributes(data.items, words, words, unknown, unknown, np.ones(n, dtype=bool))
    pin = {"item": str(data.items[44]), "place": 1}
    pinned = placements({"home": {"k": 3, "policy": "repurchase", "rules": {"pin": [pin]}}})["home"]
    made = ListBuilder(ModelCascade((own,)), popularity(data), CompiledRules.of(pinned, catalogue))
    empty = sparse.csr_array((1, n), dtype=bool)
    assert by_key(made.build(np.array(["u001"]), None, empty)) == {"u001": ([44], [0.0], [PICKED], DUE)}


def test_lists_that_rules_leave_short_have_that_reason(own: OwnFrequency, data: TrainingData) -> None:
    few = np.arange(len(data.items)) < 5
    result = by_key(ListBuilder(ModelCascade((own,)), popularity(data), CompiledRules.plain(K, few)).build(crowd(data)))
    assert {(len(entries[0]), entries[3]) for entries in result.values()} == {(5, RULES)}


def test_texts_become_the_codes_that_they_have_elsewhere(own: OwnFrequency, data: TrainingData) -> None:
    known: dict[str, int] = {"something else": 0}

    def codes(texts: list[str]) -> Any:
        return np.array([known.setdefault(text, len(known)) for text in texts], np.int32)

    for part in asking(data, own, k=50).build(crowd(data, "stranger")):
        coded, words = part.coded(codes), {code: text for text, code in known.items()}
        listed = part.items >= 0
        assert ((coded.reasons < 0) == ~listed).all()
        entries = [words[code] for code in coded.reasons[listed].tolist()]
        assert entries == [part.texts[code] for code in part.reasons[listed].tolist()]


def test_nobody_asked_is_no_error(own: OwnFrequency, data: TrainingData) -> None:
    assert list(asking(data, own).build(np.array([], dtype=np.str_))) == []
    assert asking(data, own).top_lists(np.array([], dtype=np.str_), 3) == []


@st.composite
def cases(draw):
    m, n, k = draw(st.integers(0, 4)), draw(st.integers(1, 12)), draw(st.integers(1, 14))
    scores = draw(hnp.arrays(np.float32, (m, n), elements=VALUES.map(np.float32)))
    allowed = draw(hnp.arrays(bool, n))
    fallback = draw(st.none() | hnp.arrays(np.float32, n, elements=VALUES.map(np.float32)))
    return scores, k, allowed, fallback, draw(hnp.arrays(bool, (m, n)))


@given(cases())
def test_ranking_equals_sorting_row_by_row(case) -> None:
    scores, k, allowed, fallback, hide = case
    before = scores.copy()
    ranked = lists_of_scores(scores, CompiledRules.plain(k, allowed), fallback, sparse.csr_array(hide))
    expected = reference_ranking.top_k(scores, k, allowed, fallback, sparse.csr_array(hide))
    published = np.where((expected.items >= 0) & ~(expected.scores > -np.inf), np.float32(0), expected.scores)
    np.testing.assert_array_equal(ranked.items, expected.items)
    np.testing.assert_array_equal(ranked.scores, published)
    np.testing.assert_array_equal(ranked.from_fallback, expected.from_fallback)
    np.testing.assert_array_equal(scores, before)


@pytest.mark.parametrize("kind", ["own_frequency", "most_popular", "own_and_popular", "als", "item_knn", "two_stage"])
@pytest.mark.parametrize("new", [False, True], ids=["all items", "items new to the user"])
def test_offline_evaluation_and_batch_scoring_build_the_same_lists(data: TrainingData, kind: str, new: bool) -> None:
    model = catalog.model_type(kind).fit(data, catalog.config(kind), 0)
    fallback, rules = popularity(data), CompiledRules.unrestricted(20, len(data.items))
    hidden = data.history() if new else None
    evaluated = lists_of_scores(model.scores(np.arange(len(data.users), dtype=np.int32)), rules, fallback, hidden)
    builder = ListBuilder(build_cascade(model, None, fallback), fallback, rules)
    result = 0
    for lists in builder.build(data.users, hidden):
        result += len(lists.rows)
        np.testing.assert_array_equal(lists.items, evaluated.items[lists.rows])
        np.testing.assert_array_equal(lists.from_fallback, evaluated.from_fallback[lists.rows])
        np.testing.assert_allclose(lists.scores, evaluated.scores[lists.rows], rtol=1e-4)
    assert result == len(data.users)


@pytest.mark.parametrize("kind", ["own_frequency", "als", "two_stage"])
def test_an_evaluation_shows_the_lists_that_users_would_get(data: TrainingData, kind: str) -> None:
    model, fallback = catalog.model_type(kind).fit(data, catalog.config(kind), 0), popularity(data)
    shown = evaluate(model, data, data.history(), fallback).per_user.select([USER_KEY, LISTS]).to_pylist()
    builder = ListBuilder(
        build_cascade(model, None, fallback), fallback, CompiledRules.unrestricted(1, len(data.items))
    )
    served = builder.top_lists(np.array([row[USER_KEY] for row in shown]), 10)
    assert [row[LISTS] for row in shown] == [made.items for made in served]


def three(**changed: Any) -> Lists:
    """Three sound lists of up to three; the last is shorter and has a reason."""
    entries: dict[str, Any] = {
        "rows": np.arange(3),
        "subjects": np.array(["ann", "bob", "cleo"]),
        "items": np.array([[0, 1, 2], [3, 2, 1], [1, -1, -1]], np.int32),
        "scores": np.array([[3, 2, 1], [3, -2, 1], [0, -np.inf, -np.inf]], np.float32),
        "reasons": np.array([[0, 0, 1], [0, 0, 0], [1, -1, -1]], np.int32),
        "short": np.array(["", "", "nothing more"]),
    }
    return Lists(**(entries | changed))


def with_one(column: str, at: tuple[int, int], value: Any) -> Lists:
    lists = three()
    getattr(lists, column)[at] = value
    return lists


def violations(lists: Lists) -> dict[str, list[int]]:
    return {name: counts.tolist() for name, counts in count_violations(lists, ALLOWED).items() if counts.any()}


def test_sound_lists_break_nothing_and_every_check_is_counted() -> None:
    assert violations(three()) == {}
    counted = count_violations(three(), ALLOWED)
    assert list(counted) == list(CHECKS)
    assert {counts.dtype for counts in counted.values()} == {np.dtype(np.int32)}
    assert three().lengths.tolist() == [3, 3, 1]


@pytest.mark.parametrize(
    ("column", "at", "value", "found"),
    [
        ("items", (1, 2), -1, {"empty_places": [0, 1, 0]}),
        ("items", (0, 1), -1, {"empty_places": [1, 0, 0], "gaps": [1, 0, 0]}),
        ("items", (1, 1), 3, {"repeats": [0, 1, 0]}),
        ("items", (2, 0), 4, {"not_on_sale": [0, 0, 1]}),
        ("items", (2, 0), 9, {"not_on_sale": [0, 0, 1]}),
        ("scores", (0, 0), np.nan, {"unscored": [1, 0, 0]}),
        ("scores", (0, 0), np.inf, {"unscored": [1, 0, 0]}),
        ("reasons", (1, 1), -1, {"unexplained": [0, 1, 0]}),
    ],
)
def test_violations_are_counted_in_their_list(
    column: str, at: tuple[int, int], value: Any, found: dict[str, list[int]]
) -> None:
    assert violations(with_one(column, at, value)) == found


def test_the_same_item_three_times_counts_twice_and_empty_places_are_no_repeats() -> None:
    items = np.array([[2, 2, 2], [0, 1, 2], [-1, -1, -1]], np.int32)
    assert violations(three(items=items))["repeats"] == [2, 0, 0]


def test_no_lists_and_lists_of_one_are_no_error() -> None:
    nobody = Lists(*(column[:0] for column in three()))
    assert {len(counts) for counts in count_violations(nobody, ALLOWED).values()} == {0}
    items, scores, reasons = (getattr(three(), name)[:, :1] for name in ("items", "scores", "reasons"))
    assert violations(three(items=items, scores=scores, reasons=reasons)) == {}
