from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse

from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData
from models.ranking.candidate_generation import RETRIEVERS, Candidates, RankerRows, ScoredCandidates
from models.ranking.two_stage import TwoStageConfig, build_examples, fit_retrieval
from models.recommenders.baselines.own_frequency import OwnFrequency
from models.recommenders.sequence.model import SequenceModel
from tests.models.reference_ranking import top_k
from tests.models.trainable import NEEDS_TORCH, TRAINABLE, quick_config

KINDS = tuple(kind for kind in RETRIEVERS if kind in TRAINABLE)


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

    def fit(_kind: str, past: TrainingData, _seed: int) -> SequenceModel:
        learned.append(past.cut)
        return SequenceModel.fit(past, quick_config("sequence"), 0)

    monkeypatch.setattr("models.ranking.two_stage.fitted_retriever", fit)
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
    built = rows.build(
        user.astype(np.int32), ScoredCandidates(np.arange(len(pairs)), item, np.zeros((len(pairs), 1), np.float32))
    )
    names = RankerRows.names(("als",))
    return built[:, [names.index(name) for name in ("category_baskets", "category_share", "share_of_category")]]


def test_items_without_a_category_have_nothing_in_common(data: TrainingData) -> None:
    paths = data.item_categories.copy()
    paths[:30] = ""
    some = category_columns(replace(data, item_categories=paths), [(0, 3), (0, 29), (0, 42)])
    assert np.isnan(some[:2]).all()
    assert np.isfinite(some[2]).all()
    whole = category_columns(data, [(0, 42)])
    np.testing.assert_allclose(some[2], whole[0], rtol=1e-6)
