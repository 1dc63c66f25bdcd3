from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import sparse

from models import catalog
from models.catalog import CATALOG
from models.evaluation.offline import Evaluation, evaluate
from models.recommenders.baselines.most_popular import Config, MostPopular
from models.recommenders.baselines.own_frequency import OwnFrequency
from tests.models.trainable import SETTINGS, TRAINABLE

KINDS = sorted(TRAINABLE)


@pytest.fixture(scope="module")
def evaluations(data, targets, popularity) -> dict[str, Evaluation]:
    settings = SETTINGS | {"lightfm_hybrid": {"epochs": 30}}  # so few pairs want more passes than the default's five
    models = {kind: CATALOG[kind].fit(data, catalog.config(kind, settings.get(kind)), 0) for kind in KINDS}
    return {kind: evaluate(model, data, targets, popularity, k=5) for kind, model in models.items()}


@dataclass(frozen=True)
class Oracle:
    """A model that scores exactly the targets."""

    users: np.ndarray
    items: np.ndarray
    targets: np.ndarray

    def scores(self, users: np.ndarray) -> np.ndarray:
        return np.where(self.targets[users], np.float32(1), np.float32(-np.inf))


def test_knowing_the_answers_gives_full_marks(data, targets, popularity) -> None:
    oracle = Oracle(data.users, data.items, targets.toarray())
    summary = evaluate(oracle, data, targets, popularity, k=5).summary
    assert summary["ndcg_at_5"] == summary["hit_rate_at_5"] == summary["new_ndcg_at_5"] == 1
    assert 0 < summary["fallback_share"] < 1


def test_users_are_those_with_targets_and_the_mean_is_theirs(evaluations, data, targets) -> None:
    evaluation = evaluations["own_frequency"]
    expected = data.users[np.flatnonzero(targets.sum(axis=1))].tolist()
    assert evaluation.per_user["user_key"].to_pylist() == expected
    assert evaluation.summary["users"] == len(expected)
    mean = np.mean(evaluation.per_user["ndcg_at_5"].to_pylist())
    assert evaluation.summary["ndcg_at_5"] == pytest.approx(mean)


def test_new_items_are_measured_without_what_the_user_had(data, targets, popularity) -> None:
    model = OwnFrequency.fit(data, catalog.config("own_frequency"), 0)
    evaluation = evaluate(model, data, targets, popularity, k=5)
    unseen = targets.toarray() & ~data.history().toarray()
    rows = unseen[np.flatnonzero(targets.sum(axis=1))].sum(axis=1)
    assert evaluation.per_user["new_targets"].to_pylist() == rows.tolist()
    measured = [value is not None for value in evaluation.per_user["new_ndcg_at_5"].to_pylist()]
    assert measured == (rows > 0).tolist()
    assert evaluation.summary["new_users"] == (rows > 0).sum()
    assert evaluation.summary["new_fallback_share"] == 1


@dataclass(frozen=True)
class OracleOfNewItems(Oracle):
    """A model that knows the targets only where new items are listed."""

    popularity: np.ndarray

    def scores(self, users: np.ndarray) -> np.ndarray:
        return np.tile(self.popularity, (len(users), 1))

    def head(self, policy: str) -> Oracle:
        return Oracle(self.users, self.items, self.targets) if policy == "discover" else self


def test_each_kind_of_items_is_measured_with_its_own_head(data, targets, popularity) -> None:
    heads = OracleOfNewItems(data.users, data.items, targets.toarray(), popularity)
    popular = MostPopular.fit(data, Config(), 0)
    own, plain = (evaluate(model, data, targets, popularity, k=5).summary for model in (heads, popular))
    assert own["new_ndcg_at_5"] == 1 > plain["new_ndcg_at_5"]
    assert own["ndcg_at_5"] == plain["ndcg_at_5"]
    assert own["repeat_ndcg_at_5"] == plain["repeat_ndcg_at_5"]


def test_repeat_purchases_are_measured_on_lists_of_what_the_user_had(data, targets, popularity) -> None:
    had = targets.toarray() & data.history().toarray()
    knowing = Oracle(data.users, data.items, had)
    evaluation = evaluate(knowing, data, targets, popularity, k=5)
    rows = had[np.flatnonzero(targets.sum(axis=1))].sum(axis=1)
    assert evaluation.per_user["repeat_targets"].to_pylist() == rows.tolist()
    assert evaluation.summary["repeat_ndcg_at_5"] == 1
    assert evaluation.summary["repeat_users"] == (rows > 0).sum()


def test_every_mean_stands_inside_its_interval_and_a_search_gets_no_more_than_accuracy(
    data, targets, popularity, evaluations
) -> None:
    summary = evaluations["own_frequency"].summary
    bounded = [name.removesuffix("_low") for name in summary if name.endswith("_low")]
    assert {"ndcg_at_5", "new_map_at_5", "roc_auc", "new_pr_auc", "novelty_at_5", "gini_at_5"} <= set(bounded)
    for name in bounded:
        assert summary[f"{name}_low"] <= summary[name] <= summary[f"{name}_high"], name
    model = OwnFrequency.fit(data, catalog.config("own_frequency"), 0)
    brief = evaluate(model, data, targets, popularity, k=5, brief=True)
    assert brief.summary == {name: summary[name] for name in brief.summary}
    assert "new_ndcg_at_5" in brief.summary
    assert not {name for name in brief.summary if "repeat_" in name or "auc" in name or name.endswith("_low")}
    assert brief.pairs is None


def test_warm_and_cold_users_make_up_everybody(small) -> None:
    rows = [("a", f"i{day % 4}", day, f"a{day}") for day in range(1, 6)] + [("b", "i0", 9, "b1"), ("b", "i5", 9, "b1")]
    data = small([*rows, ("c", "i5", 1, "c1")])
    targets = sparse.csr_array(np.array([[0, 1, 0, 0, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]], dtype=bool))
    model = OwnFrequency.fit(data, catalog.config("own_frequency"), 0)
    result = evaluate(model, data, targets, MostPopular.fit(data, Config(), 0).popularity, k=2)
    assert result.per_user["baskets"].to_pylist() == [5, 1]
    summary = result.summary
    assert (summary["warm_users"], summary["cold_users"], summary["users"]) == (1, 1, 2)
    assert summary["ndcg_at_2"] == pytest.approx((summary["warm_ndcg_at_2"] + summary["cold_ndcg_at_2"]) / 2)
    assert summary["warm_new_users"] == 1
    assert "cold_new_users" not in summary  # b buys i5 again


def test_the_confusion_matrix_counts_every_pair_of_user_and_item_once(evaluations, data) -> None:
    summary = evaluations["own_frequency"].summary
    cells = [summary[f"{shown}_{bought}"] for shown in ("shown", "unshown") for bought in ("bought", "unbought")]
    assert sum(cells) == summary["users"] * len(data.items)
    assert summary["shown_bought"] == pytest.approx(summary["precision_at_5"] * 5 * summary["users"])
    assert cells[0] + cells[2] == pytest.approx(summary["targets"] * summary["users"])


def test_pairs_are_kept_of_what_the_model_names_itself(evaluations, data) -> None:
    own, trees = evaluations["own_frequency"].pairs, evaluations["two_stage"].pairs
    measured = evaluations["own_frequency"].per_user["user_key"].to_pylist()
    assert len(own.user) == data.history()[np.flatnonzero(np.isin(data.users, measured))].nnz
    assert not own.probabilities
    assert trees.probabilities
    assert set(trees.figures(0)) == {f"pairs_{name}" for name in ("roc_auc", "pr_auc", "brier", "calibration_error")}


def test_popularity_shows_one_list_and_others_their_own(evaluations) -> None:
    assert evaluations["most_popular"].summary["distinct_lists"] == 1
    assert evaluations["most_popular"].summary["coverage_at_5"] == pytest.approx(5 / 45)
    assert evaluations["own_frequency"].summary["distinct_lists"] > 30


def test_the_chunk_size_changes_nothing(data, targets, popularity, evaluations) -> None:
    model = OwnFrequency.fit(data, catalog.config("own_frequency"), 0)
    again = evaluate(model, data, targets, popularity, k=5, chunk=7)
    assert again.per_user.equals(evaluations["own_frequency"].per_user)
    assert again.summary == evaluations["own_frequency"].summary


def test_an_older_champion_is_asked_by_key(data, targets, popularity, evaluations) -> None:
    model = OwnFrequency.fit(data, catalog.config("own_frequency"), 0)
    turn = np.arange(len(data.items))[::-1]
    scores = dict(zip(data.users, model.scores(np.arange(len(data.users))), strict=True))

    class Turned:
        """The same model with its users and items in other positions, and one unknown item."""

        users = data.users[::-1]
        items = np.append(data.items[turn], "gone")

        def scores(self, users: np.ndarray) -> np.ndarray:
            rows = np.array([scores[self.users[user]] for user in users])[:, turn]
            return np.hstack([rows, np.full((len(users), 1), 9, dtype=np.float32)])

    again = evaluate(Turned(), data, targets, popularity, k=5)
    assert again.per_user.equals(evaluations["own_frequency"].per_user)


def test_a_champion_falls_back_for_a_user_whom_it_never_met(data, targets, popularity) -> None:
    model = OwnFrequency.fit(data, catalog.config("own_frequency"), 0)
    strangers = replace(model, users=np.char.add(model.users, "x"))
    evaluation = evaluate(strangers, data, targets, popularity, k=5)
    assert evaluation.summary["fallback_share"] == 1
    assert evaluation.summary["distinct_lists"] == 1


def test_no_targets_give_an_empty_evaluation(data, targets, popularity) -> None:
    model = MostPopular.fit(data, Config(), 0)
    evaluation = evaluate(model, data, (targets * False).tocsr(), popularity, k=5)
    assert evaluation.per_user.num_rows == 0
    assert evaluation.summary["users"] == 0
    assert np.isnan(evaluation.summary["ndcg_at_5"])


def test_shown_lists_are_kept_by_item_id_with_the_share_that_the_fallback_filled(data, targets, popularity) -> None:
    oracle = Oracle(data.users, data.items, targets.toarray())
    shown = evaluate(oracle, data, targets, popularity, k=5).per_user
    targets = targets.toarray()[np.flatnonzero(targets.sum(axis=1))]
    for listed, fallback, own in zip(
        shown["items_at_5"].to_pylist(), shown["fallback_at_5"].to_pylist(), targets, strict=True
    ):
        known = min(5, int(own.sum()))
        assert len(set(listed)) == 5
        assert set(listed[:known]) <= set(data.items[own].tolist())
        assert fallback == pytest.approx(1 - known / 5)
