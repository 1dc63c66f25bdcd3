from dataclasses import replace
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy import sparse

from models.columns import USER_KEY
from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData
from models.errors import NoHistoryError
from models.evaluation.offline import evaluate
from models.ranking.candidate_generation import RETRIEVERS, Candidates, RankerRows, ScoredCandidates
from models.ranking.ranking_examples import JudgedUsers, RankingExamples, TwoStageConfig, fit_retrieval
from models.ranking.ranking_examples import build_examples as build_window
from models.ranking.two_stage import RANKER, Config, LogisticRegression, TwoStage, better_heads
from models.recommenders.baselines.most_popular import MostPopular
from models.recommenders.baselines.own_frequency import OwnFrequency
from models.recommenders.explanations.sentences import parse
from models.recommenders.sequence.model import SequenceModel
from tests.models.conftest import CUT, CUTS, DAY, Shop
from tests.models.reference_ranking import top_k
from tests.models.trainable import NEEDS_TORCH, TRAINABLE, quick_config

KINDS = tuple(kind for kind in RETRIEVERS if kind in TRAINABLE)


def build_examples(data: TrainingData, stages: TwoStageConfig, seed: int) -> RankingExamples:
    return build_window(data, stages, seed).examples


@pytest.fixture(scope="module")
def model(data: TrainingData) -> TwoStage:
    return TwoStage.fit(data, Config(min_child_weight=1.0), seed=0)


def test_it_foresees_more_than_the_best_sellers_do(model: TwoStage, data: TrainingData) -> None:
    assert data.origin is not None
    popular = MostPopular.fit(data, MostPopular.config_type(), 0)
    expected_items = data.origin.holdout(data, CUTS["as_of"])
    result, simple = (
        evaluate(one, data, expected_items, popular.popularity).summary["ndcg_at_10"] for one in (model, popular)
    )
    assert result > simple + 0.1


def test_scores_are_probabilities_of_what_some_retriever_named(model: TwoStage) -> None:
    scores = model.scores(np.arange(4, dtype=np.int32))
    candidates = model.candidates.find(np.arange(4, dtype=np.int32))
    assert ((scores[candidates.row, candidates.item] > 0) & (scores[candidates.row, candidates.item] < 1)).all()
    assert np.isfinite(scores).sum() == len(candidates.row)


def test_ranked_pairs_are_the_scored_pairs_whatever_the_parts(
    model: TwoStage, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = np.append(np.arange(len(data.users)), [-1, 3]).astype(np.int32)
    ranked, scores = model.ranked(users), model.scores(users)
    np.testing.assert_array_equal(scores[ranked.row, ranked.item], ranked.score)
    assert len(ranked.row) == np.isfinite(scores).sum()
    assert (np.diff(ranked.row * len(data.items) + ranked.item) > 0).all()
    monkeypatch.setattr("models.ranking.two_stage._PART", 7)
    monkeypatch.setattr("models.ranking.two_stage._BLOCK", 50)
    in_parts = model.ranked(users)
    np.testing.assert_array_equal(in_parts.row, ranked.row)
    np.testing.assert_array_equal(in_parts.item, ranked.item)
    np.testing.assert_allclose(in_parts.score, ranked.score, rtol=1e-5)


def test_it_learns_at_the_data_sets_cut_before_and_only_from_there_on(model: TwoStage, data: TrainingData) -> None:
    assert data.origin is not None
    assert data.origin.before(data.cut, 31) == CUTS["validation_from"]
    assert data.origin.before(CUTS["validation_from"], 31) == CUTS["validation_from"] - 31 * 86_400
    learned = build_examples(data, TwoStageConfig(negatives=1.0, label_windows=1), seed=0)
    bought = data.origin.holdout(data.origin.training_data(CUTS["validation_from"]), data.cut)
    assert 0 < learned.labels.sum() <= bought.sum()
    assert learned.rows.shape[1] == len(model.rows.names(Config().retrievers))


def test_windows_before_that_are_learned_from_too_as_far_as_history_reaches(data: TrainingData) -> None:
    assert data.origin is not None
    one, two, four, nine = (
        build_examples(data, TwoStageConfig(label_windows=n), seed=0).labels.sum() for n in (1, 2, 4, 9)
    )
    assert one < two < four == nine


def test_examples_of_a_window_are_computed_once(data: TrainingData) -> None:
    assert data.origin is not None
    dataset = replace(data.origin)
    before, whole = (dataset.training_data(CUTS[name]) for name in ("test_from", "as_of"))
    build_examples(before, TwoStageConfig(), seed=0)
    known = set(dataset._cached)
    build_examples(whole, TwoStageConfig(), seed=0)
    assert {key[0] for key in set(dataset._cached) - known} == {CUTS["test_from"]}


def test_candidates_that_stand_for_others_count_for_them(data: TrainingData) -> None:
    assert data.origin is not None
    every, some = (build_examples(data, TwoStageConfig(negatives=share), seed=0) for share in (1.0, 0.5))
    assert every.labels.sum() == some.labels.sum()
    assert set(some.weights[some.labels == 0].tolist()) == {2.0}
    assert len(some.labels) < len(every.labels)
    assert some.weights.sum() == pytest.approx(len(every.labels), rel=0.1)


def test_learned_examples_do_not_depend_on_the_keys_of_users(data: TrainingData) -> None:
    assert isinstance(data.origin, Dataset)
    others = {key: sha256(key.encode()).hexdigest() for key in data.origin.users[USER_KEY].to_pylist()}

    def renamed(rows: pa.Table) -> pa.Table:
        keys = pa.array([others[key] for key in rows[USER_KEY].to_pylist()])
        return rows.set_column(rows.column_names.index(USER_KEY), USER_KEY, keys)

    elsewhere = replace(
        data.origin, interactions=renamed(data.origin.interactions), users=renamed(data.origin.users)
    ).training_data(data.cut)
    here, there = (build_examples(one, TwoStageConfig(), seed=0) for one in (data, elsewhere))
    np.testing.assert_array_equal(here.labels, there.labels)
    np.testing.assert_allclose(here.rows, there.rows, rtol=1e-4, atol=1e-6)


def test_features_of_a_candidate_are_those_of_its_pair_user_and_item(data: TrainingData, model: TwoStage) -> None:
    assert data.origin is not None
    users = np.array([7], dtype=np.int32)
    result = model.candidates.find(users)
    rows = model.rows.build(users, result)
    names = model.rows.names(Config().retrievers)
    known = data.origin.features(data.cut)
    pairs = {row["item_id"]: row for row in known.pairs.to_pylist() if row["user_key"] == data.users[7]}
    items = {row["item_id"]: row for row in known.items.to_pylist()}
    for row, item in zip(rows, data.items[result.item], strict=True):
        stated = dict(zip(names, row.tolist(), strict=True))
        expected = pairs.get(item, {}).get("decayed_30d", np.nan)
        assert stated["decayed_30d"] == pytest.approx(expected, nan_ok=True, rel=1e-5)
        assert stated["popularity_28d"] == items[item]["popularity_28d"]


def test_features_that_an_older_data_set_lacks_are_unknown(data: TrainingData) -> None:
    assert isinstance(data.origin, Dataset)
    tables = data.origin.features(data.cut).by_name()
    tables["item_features"] = tables["item_features"].drop_columns(["seasonal_index", "category_trend"])
    older = replace(data.origin, stored=lambda name, _: tables[name])
    result, whole = (RankerRows.of(origin.training_data(data.cut)).items for origin in (older, data.origin))
    places = [RankerRows.of(data).names(()).index(name) - 2 for name in ("seasonal_index", "category_trend")]
    assert np.isnan(result[:, places]).all()
    assert np.isfinite(whole[:, places[1]]).all()
    np.testing.assert_array_equal(np.delete(result, places, axis=1), np.delete(whole, places, axis=1))


def test_the_shares_of_a_users_categories_add_up(data: TrainingData, model: TwoStage) -> None:
    kinds = len(np.unique(data.item_categories))
    everything = model.rows.categories.find(np.repeat(3, kinds), np.arange(kinds), otherwise=0.0)
    assert everything[:, 1].sum() == pytest.approx(1.0, rel=1e-5)


def test_reasons_distinguish_items_bought_before_from_new_ones(model: TwoStage, data: TrainingData) -> None:
    bought = model.candidates.history[[0]].indices
    new = np.setdiff1d(np.arange(len(data.items)), bought)
    pair = np.array([bought[0], new[0]], dtype=np.int32)
    again, other = model.reasons(np.array([0, 0], dtype=np.int32), pair)
    assert parse(again).kind in {"bought", "habit"}  # type: ignore[union-attr]
    assert parse(other).kind in {"bought_from", "bought_item"}  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", [TwoStage, LogisticRegression])
def test_contributions_add_up_to_the_score(kind: type[TwoStage], data: TrainingData) -> None:
    model = kind.fit(data, kind.config_type(), seed=0)
    item = int(model.candidates.find(np.array([2], dtype=np.int32)).item[0])
    odds = sum(model.contributions(2, item).values())
    score = float(model.scores(np.array([2], dtype=np.int32))[0, item])
    assert 1 / (1 + np.exp(-odds)) == pytest.approx(score, rel=1e-4)


@pytest.mark.parametrize("kind", [TwoStage, LogisticRegression])
def test_many_pairs_are_explained_at_once_as_they_are_one_by_one(kind: type[TwoStage], data: TrainingData) -> None:
    model = kind.fit(data, kind.config_type(per_retriever=2), seed=0)
    users = np.array([2, 2, 5, 0, 2], dtype=np.int32)
    items = np.array([3, 41, 22, 0, 3], dtype=np.int32)
    names, added = model.attributions(users, items)
    for row, user, item in zip(added, users.tolist(), items.tolist(), strict=True):
        stated = {} if np.isnan(row).all() else dict(zip(names, row, strict=True))
        assert stated == pytest.approx(model.contributions(user, item), rel=1e-4, abs=1e-6)
    np.testing.assert_array_equal(added[0], added[4])


def test_of_nobody_and_of_no_pair_there_is_nothing_to_explain(model: TwoStage) -> None:
    no_items = np.empty(0, dtype=np.int32)
    assert model.attributions(no_items, no_items)[1].shape[0] == 0
    assert model.contributions(-1, 0) == model.contributions(5, -1) == {}


def test_data_of_no_data_set_are_refused(data: TrainingData) -> None:
    with pytest.raises(NoHistoryError, match="give it data of a data set"):
        TwoStage.fit(replace(data, origin=None), Config(), seed=0)


def test_nothing_bought_after_the_earlier_moments_is_refused(shop: Shop) -> None:
    early = shop.interactions.filter(pc.less(shop.interactions["occurred_at"], 90 * DAY))
    data = Dataset(CUTS, early, shop.users, shop.items).training_data(CUT)
    with pytest.raises(NoHistoryError, match="Nobody bought anything in the days to learn from"):
        build_examples(data, TwoStageConfig(label_windows=2), seed=0)


@pytest.fixture(scope="module")
def candidates(data: TrainingData) -> Candidates:
    return Candidates.fit(data, KINDS, per_retriever=6, n_recent=30, seed=0)


def top_candidates(candidates: Candidates, kind: str, users: np.ndarray) -> set[tuple[int, int]]:
    """What a retriever should name, from its scores of everything."""
    own = candidates.history[users].toarray()
    allowed = np.zeros(own.shape[1], dtype=bool)
    allowed[candidates.recent_items] = True
    hide = ~own if kind == OwnFrequency.kind else own | ~allowed
    ranked = top_k(candidates.retrievers[kind].scores(users), candidates.per_retriever, hide=sparse.csr_array(hide))
    return {(row, item) for row, items in enumerate(ranked.items.tolist()) for item in items if item >= 0}


@pytest.mark.parametrize("kinds", [KINDS, *((kind,) for kind in KINDS)])
def test_candidates_are_what_ranking_all_scores_would_name(data: TrainingData, kinds: tuple[str, ...]) -> None:
    candidates = Candidates.fit(data, kinds, per_retriever=6, n_recent=30, seed=0)
    users = np.array([5, 0, 17, 0, 44], dtype=np.int32)
    result = candidates.find(users)
    pairs = list(zip(result.row.tolist(), result.item.tolist(), strict=True))
    assert pairs == sorted(set().union(*(top_candidates(candidates, kind, users) for kind in kinds)))


def test_each_candidate_has_the_score_of_every_retriever(candidates: Candidates, data: TrainingData) -> None:
    users = np.arange(len(data.users), dtype=np.int32)
    result = candidates.find(users)
    for entries, model in zip(result.scores.T, candidates.retrievers.values(), strict=True):
        scores = model.scores(users)[result.row, result.item]
        np.testing.assert_allclose(entries, np.where(np.isinf(scores), np.nan, scores), rtol=1e-4, atol=1e-6)


def test_ranks_count_the_better_candidates_of_the_user(candidates: Candidates, data: TrainingData) -> None:
    result = candidates.find(np.arange(len(data.users), dtype=np.int32))
    for row in (0, 3, 17):
        own = result.row == row
        for scores, ranks in zip(result.scores[own].T, result.ranks[own].T, strict=True):
            better = (scores[None, :] > scores[:, None]).sum(axis=1) + 1.0
            np.testing.assert_array_equal(ranks, np.where(np.isnan(scores), np.nan, better))


def test_retrievers_get_the_settings_that_a_search_found(data: TrainingData) -> None:
    sources = {"als": {"factors": 8, "regularization": 3.0}}
    model = TwoStage.fit(data, Config(sources=sources), seed=0)
    assert model.candidates.retrievers["als"].config.regularization == 3.0
    stored = TwoStage.from_state(model.config, model.state())
    assert stored.candidates.retrievers["als"].config == model.candidates.retrievers["als"].config
    assert (
        build_examples(data, TwoStageConfig(sources=sources), 0).rows.tolist()
        != build_examples(data, TwoStageConfig(), 0).rows.tolist()
    )


def test_candidates_state_which_items_the_user_had_bought(model: TwoStage, data: TrainingData) -> None:
    found = model.candidates.find(np.array([3, -1, 0], dtype=np.int32))
    bought = data.history()[np.array([3, 0])[(found.row > 0).astype(int)], found.item]
    assert 0 < bought.sum() < len(bought)
    np.testing.assert_array_equal(found.own, bought)


def test_users_to_judge_on_are_judged_on_all_their_candidates_and_not_learned_from(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data.origin is not None
    monkeypatch.setattr("models.ranking.ranking_examples._FEWEST", 5)
    known, stages = replace(data, origin=replace(data.origin)), TwoStageConfig(label_windows=1)
    learned, judged = build_window(known, stages, 0)
    whole = build_window(known, replace(stages, negatives=1.0), 0)
    assert len(whole.judged.rows) == len(judged.rows) > 0
    np.testing.assert_array_equal(whole.judged.rows, judged.rows)
    assert (np.diff(judged.pairs.row) >= 0).all()
    assert set(judged.pairs.row.tolist()) == set(range(judged.bought.shape[0]))
    assert not set(map(bytes, judged.rows)) & set(map(bytes, learned.rows))


def test_a_stored_model_keeps_its_heads(model: TwoStage) -> None:
    users = np.arange(8, dtype=np.int32)
    chosen = {"mix": RANKER, "discover": "als", "repurchase": "own_frequency"}
    stored = TwoStage.from_state(model.config, replace(model, chosen=chosen).state())
    assert stored.head("mix") is stored
    assert [stored.head(policy).kind for policy in chosen] == ["two_stage", "als", "own_frequency"]
    np.testing.assert_array_equal(stored.scores(users), model.scores(users))


def test_a_model_of_an_earlier_version_has_no_ranks_and_ranks_by_its_ranker(model: TwoStage) -> None:
    state = {name: array for name, array in model.state().items() if name != "chosen"}
    earlier = TwoStage.from_state(model.config, state)
    assert not any(name.endswith("_rank") and name != "price_rank" for name in earlier.rows.names(("als",)))
    assert earlier.head("discover") is earlier.head("mix") is earlier


class RankedByColumn:
    """A ranker whose probability is one of the features."""

    def __init__(self, column: int) -> None:
        self.column = column

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        return rows[:, self.column]


@pytest.mark.parametrize(("users", "column", "head"), [(40, 0, RANKER), (40, 1, "als"), (20, 1, RANKER)])
def test_a_retriever_is_the_head_only_where_it_is_better(users: int, column: int, head: str) -> None:
    random, n = np.random.default_rng(0), 30
    row, item = np.repeat(np.arange(users), n), np.tile(np.arange(n), users)
    bought = random.random((users, n)) < 0.2
    good, bad = bought.ravel() + random.random(users * n) / 2, random.random(users * n)
    scores = np.column_stack([good, bad]).astype(np.float32)
    nothing = np.zeros(users * n, dtype=bool)
    pairs = ScoredCandidates(row, item, scores, scores, nothing)
    judged = JudgedUsers(pairs, scores, sparse.csr_array(bought), sparse.csr_array(bought.shape, dtype=bool))
    chosen = better_heads(RankedByColumn(column), ("als", "most_popular"), judged)
    assert chosen == {"mix": head, "discover": head, "repurchase": RANKER}


@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_pairs_are_those_of_the_whole_matrix(candidates: Candidates, data: TrainingData, kind: str) -> None:
    model, random = candidates.retrievers[kind], np.random.default_rng(0)
    users = random.integers(-1, len(data.users), 500).astype(np.int32)
    items = random.integers(len(data.items), size=500)
    expected = model.scores(users)[np.arange(500), items]
    np.testing.assert_allclose(model.pair_scores(users, items), expected, rtol=1e-4, atol=1e-6)
    assert len(model.pair_scores(users[:0], items[:0])) == 0


def test_strangers_have_no_candidates_and_leave_the_others_theirs(candidates: Candidates) -> None:
    result, alone = candidates.find(np.array([-1, 3, -1], np.int32)), candidates.find(np.array([3], np.int32))
    assert set(result.row.tolist()) == {1}
    np.testing.assert_array_equal(result.item, alone.item)
    np.testing.assert_allclose(result.scores, alone.scores, rtol=1e-5)
    assert len(candidates.find(np.array([-1], np.int32)).row) == len(candidates.find(np.empty(0, np.int32)).row) == 0


@NEEDS_TORCH
def test_a_retriever_that_learns_slowly_learns_once_before_all_windows(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(data.origin, Dataset)
    learned: list[int] = []

    def fit(_kind: str, _sources: object, past: TrainingData, _seed: int) -> SequenceModel:
        learned.append(past.cut)
        return SequenceModel.fit(past, quick_config("sequence"), 0)

    monkeypatch.setattr("models.ranking.ranking_examples.fitted_retriever", fit)
    known = replace(data, origin=replace(data.origin))
    stages = TwoStageConfig(retrievers=("own_frequency", "sequence"), label_windows=2)
    build_examples(known, stages, seed=0)
    candidates, _ = fit_retrieval(known, stages, seed=0)
    first = data.origin.before(data.origin.before(data.cut, 31), 31)
    assert learned == [first]
    moved = candidates.retrievers["sequence"]
    assert isinstance(moved, SequenceModel)
    np.testing.assert_array_equal(moved.users, data.users)
    np.testing.assert_array_equal(moved.history.toarray(), data.history().toarray())


def category_columns(data: TrainingData, pairs: list[tuple[int, int]]) -> np.ndarray:
    """What is known of the categories of users' items: [n, 3]."""
    rows = RankerRows.of(data)
    user, item = (np.array(column) for column in zip(*pairs, strict=True))
    unscored = np.zeros((len(pairs), 1), np.float32)
    known = data.history()[user, item]
    built = rows.build(user.astype(np.int32), ScoredCandidates(np.arange(len(pairs)), item, unscored, unscored, known))
    names = rows.names(("als",))
    return built[:, [names.index(name) for name in ("category_baskets", "category_share", "share_of_category")]]


def test_items_without_a_category_have_nothing_in_common(data: TrainingData) -> None:
    paths = data.item_categories.copy()
    paths[:30] = ""
    some = category_columns(replace(data, item_categories=paths), [(0, 3), (0, 29), (0, 42)])
    assert np.isnan(some[:2]).all()
    assert np.isfinite(some[2]).all()
    whole = category_columns(data, [(0, 42)])
    np.testing.assert_allclose(some[2], whole[0], rtol=1e-6)
