import pytest

from models.recommenders.search_space import Float, Parameter
from models.tuning.study_config import (
    Budget,
    SearchError,
    SearchPlan,
    TrialLimits,
    same_shape,
    search_notes,
    search_table,
)

ROWS = {"interactions": 1_000, "users": 100, "items": 50}


def test_the_best_is_the_most_accurate_and_of_equals_the_first() -> None:
    assert SearchPlan().best([(0.1,), (0.3,), (0.3,), (0.2,)]) == 1


def test_coverage_that_is_asked_for_may_cost_a_hundredth_of_the_accuracy() -> None:
    plan = SearchPlan(coverage=True)
    assert plan.best([(0.3, 0.1), (0.298, 0.2), (0.296, 0.9)]) == 1
    assert plan.objectives == ("ndcg_at_10", "coverage_at_10")


def test_another_question_has_another_digest() -> None:
    plans = [
        SearchPlan(),
        SearchPlan("grid"),
        SearchPlan(folds=3),
        SearchPlan(limits=TrialLimits(memory_mb=5)),
        SearchPlan(seed=8),
    ]
    space: dict[str, Parameter] = {"x": Float(0, 1)}
    wider: dict[str, Parameter] = {"x": Float(0, 2)}
    digests = [plan.digest(space, 9) for plan in plans]
    assert len({*digests, SearchPlan().digest(wider, 9), SearchPlan("grid").digest(space, 10)}) == len(plans) + 2
    assert SearchPlan().digest(space, 9) == SearchPlan().digest(space, 10) == digests[0]


@pytest.mark.parametrize("limits", [{"fit_seconds": 0}, {"memory_mb": -5}, {"artifact_mb": float("nan")}])
def test_limits_that_nothing_can_keep_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(SearchError, match="above 0"):
        TrialLimits(**limits)


def test_a_search_on_nothing_is_refused() -> None:
    with pytest.raises(SearchError, match="at least one fold"):
        SearchPlan(folds=0)


def test_the_cost_of_a_trial_is_compared_with_the_limits_that_there_are() -> None:
    assert TrialLimits(fit_seconds=10, artifact_mb=4).excess(15, 1e6, 2) == {"fit_seconds": 0.5, "artifact_mb": -0.5}


@pytest.mark.parametrize("ends", [(None, None), (0, None), (None, 0), (5, -1)])
def test_a_search_without_an_end_or_without_a_beginning_is_refused(ends: tuple[int | None, float | None]) -> None:
    with pytest.raises(SearchError, match="trials, minutes"):
        Budget(*ends)


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
