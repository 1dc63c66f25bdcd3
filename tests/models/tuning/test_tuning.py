from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product

import pytest

from models.datasets.dataset import Dataset
from models.evaluation.cross_validation import FoldData, artifact_mb, search_folds
from models.evaluation.offline import evaluate
from models.recommenders.baselines.most_popular import MostPopular, popularity
from models.recommenders.search_space import Choice, Float, Integer, Parameter, grid, within
from models.tuning.retune_policy import LastSearch, reason_to_search
from models.tuning.study_config import (
    Budget,
    SearchError,
    SearchPlan,
    TrialLimits,
    same_shape,
    search_notes,
    search_table,
)
from tests.models.conftest import CUTS, make_shop

ROWS = {"interactions": 1_000, "users": 100, "items": 50}
DAY = 86_400
NOW = datetime(2026, 5, 1, tzinfo=UTC)
SPACE = {"rate": Float(0.1, 10, log=True), "depth": Integer(2, 4), "loss": Choice(("a", "b"))}


def test_the_best_is_the_most_accurate_and_of_equals_the_first() -> None:
    assert SearchPlan().best([(0.1,), (0.3,), (0.3,), (0.2,)]) == 1


def test_coverage_that_is_asked_for_may_cost_a_hundredth_of_the_accuracy() -> None:
    plan = SearchPlan(coverage=True)
    assert plan.best([(0.3, 0.1), (0.298, 0.2), (0.296, 0.9)]) == 1
    assert plan.objectives == ("ndcg_at_10", "coverage_at_10")


def test_another_question_has_another_digest() -> None:
    limited = SearchPlan(limits=TrialLimits(memory_mb=5))
    plans = [SearchPlan(), SearchPlan("grid"), SearchPlan(folds=3), limited, SearchPlan(seed=8)]
    space: dict[str, Parameter] = {"x": Float(0, 1)}
    wider: dict[str, Parameter] = {"x": Float(0, 2)}
    digests = [plan.digest(space, 9) for plan in plans]
    assert len({*digests, SearchPlan().digest(wider, 9), SearchPlan("grid").digest(space, 10)}) == len(plans) + 2
    assert SearchPlan().digest(space, 9) == SearchPlan().digest(space, 10) == digests[0]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: TrialLimits(memory_mb=-5), "above 0"),
        (lambda: TrialLimits(artifact_mb=float("nan")), "above 0"),
        (lambda: SearchPlan(folds=0), "at least one fold"),
        (lambda: Budget(None, None), "trials, minutes"),
        (lambda: Budget(5, -1), "trials, minutes"),
    ],
)
def test_a_search_that_nothing_can_keep_is_refused(made: Callable[[], object], message: str) -> None:
    with pytest.raises(SearchError, match=message):
        made()


def test_the_cost_of_a_trial_is_compared_with_the_limits_that_there_are() -> None:
    assert TrialLimits(fit_seconds=10, artifact_mb=4).excess(15, 1e6, 2) == {"fit_seconds": 0.5, "artifact_mb": -0.5}


def test_settings_are_good_for_data_sets_of_about_the_same_size_with_the_same_label() -> None:
    one = {"rows": ROWS, "label": {"kind": "purchase"}}
    assert same_shape(one, {"rows": {**ROWS, "users": 190}, "label": {"kind": "purchase"}})
    assert not same_shape(one, {"rows": {**ROWS, "users": 201}, "label": {"kind": "purchase"}})
    assert not same_shape(one, {"rows": ROWS, "label": {"kind": "click"}})


def test_a_table_shows_the_gain_of_a_search() -> None:
    row = {"model": "als", "ndcg_10": 0.22, "defaults": 0.2, "trials": 5, "best": {"factors": 64, "alpha": 1.23456}}
    assert search_table([row, {**row, "defaults": None}]) == [
        {
            "model": "als",
            "NDCG@10, weeks before the test": "0.2200",
            "on the defaults": gain,
            "tried": 5,
            "settings": "factors 64, alpha 1.23",
        }
        for gain in ("+10.0%", "")
    ]


def test_a_model_far_below_the_best_gets_a_note() -> None:
    rows = [{"model": model, "ndcg_10": figure} for model, figure in (("als", 0.28), ("two_stage", 0.02), ("k", 0.15))]
    [note] = search_notes(rows)
    assert note.startswith("two_stage reaches less than half of als on the same weeks.")


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Dataset(CUTS, *make_shop(seed=1))


def test_the_validation_weeks_come_first_and_none_reaches_into_the_test(dataset: Dataset) -> None:
    cuts, folds = dataset.cuts, search_folds(dataset, 3)
    assert (folds[0].train_until, folds[0].measured_until) == (cuts.validation_from, cuts.test_from)
    for later, fold in pairwise(folds):
        assert fold.measured_until == later.train_until
    assert len({fold.measured_until - fold.measured_from for fold in folds}) == 1


def test_folds_without_four_weeks_to_learn_from_are_left_out(dataset: Dataset) -> None:
    earliest = min(dataset.interactions["occurred_at"].to_pylist())
    folds = search_folds(dataset, 500)
    assert all(fold.train_until - earliest >= 28 * DAY for fold in folds[1:])
    assert folds[-1].train_until - earliest < 28 * DAY + (dataset.cuts.test_from - dataset.cuts.validation_from)


def test_settings_are_measured_as_models_are(dataset: Dataset) -> None:
    opened = FoldData.of(dataset, search_folds(dataset, 1)[0])
    model = MostPopular.fit(opened.data, MostPopular.config_type(), 7)
    data = dataset.training_data(dataset.cuts.validation_from)
    whole = evaluate(model, data, dataset.holdout(data, dataset.cuts.test_from), popularity(data)).summary
    assert opened.figures(model) == {name: whole[name] for name in ("ndcg_at_10", "coverage_at_10", "new_ndcg_at_10")}
    assert artifact_mb(model) == sum(values.nbytes for values in model.state().values()) / 1e6


@pytest.mark.parametrize(
    ("days", "drift_then", "drift", "answer"),
    [
        (10, None, 0.04, ""),
        (10, None, 0.06, "users have moved by 0.060 since the last search, and 0.050 was the distance before that one"),
        (10, 0.2, 0.19, ""),
        (10, 0.2, 0.21, "users have moved by 0.210 since the last search, and 0.200"),
        (31, 0.2, 0.0, "the last search is 31 days old, and 30 are enough"),
    ],
)
def test_a_search_is_due_when_it_is_old_or_users_have_moved(
    days: int, drift_then: float | None, drift: float, answer: str
) -> None:
    last = LastSearch(NOW - timedelta(days=days), drift_then)
    result = reason_to_search(last, NOW, drift)
    assert result.startswith(answer)
    assert bool(result) == bool(answer)


def test_a_model_that_was_never_searched_is_due() -> None:
    assert reason_to_search(None, NOW, 0.0) == "it has no search yet"


def test_a_grid_is_the_finest_of_no_more_than_so_many_settings() -> None:
    assert [tuple(settings.values()) for settings in grid(SPACE, 20)] == [
        (pytest.approx(rate), depth, loss) for rate, depth, loss in product((0.1, 1, 10), (2, 3, 4), ("a", "b"))
    ]


def test_a_grid_that_is_too_large_has_the_ends_alone() -> None:
    ends = [{"rate": rate, "depth": depth, "loss": loss} for rate, depth, loss in product((0.1, 10), (2, 4), "ab")]
    assert grid(SPACE, 3) == grid(SPACE, 8) == [{**end, "rate": pytest.approx(end["rate"])} for end in ends]


def test_no_setting_of_a_grid_stands_there_twice_nor_outside() -> None:
    settings = grid(SPACE, 10_000)
    assert len({tuple(one.values()) for one in settings}) == len(settings) == 9 * 3 * 2
    assert all(within(SPACE, one) == one for one in settings)


def test_settings_from_elsewhere_are_moved_into_the_space() -> None:
    assert within(SPACE, {"rate": 100, "depth": 1, "loss": "c", "other": 3}) == {"rate": 10, "depth": 2}
