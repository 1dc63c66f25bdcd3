from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from models import catalog
from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData
from models.errors import TailorbirdError
from models.evaluation.comparison import (
    FIGURES,
    by_history,
    comparison,
    costs,
    differences,
    gain,
    leaderboard,
    tables,
)
from models.evaluation.cross_validation import (
    cross_validation_folds,
    folds_table,
    folds_title,
    measure,
)
from models.evaluation.example_users import examples
from models.evaluation.metrics.bootstrap import NEW, Estimate
from models.evaluation.offline import Evaluation, evaluate
from models.recommenders.baselines.most_popular import MostPopular
from models.recommenders.baselines.own_frequency import OwnFrequency
from models.recommenders.protocols import Recommender
from tests.models.conftest import CUTS, DAY, Shop

USERS = 300


def measured(mean: float, seed: int, new: list[float | None] | None = None) -> Evaluation:
    values = np.random.default_rng(seed).normal(mean, 0.1, USERS)
    keys = pa.array([f"u{number:03}" for number in range(USERS)])
    table = {"user_key": keys, "ndcg_at_10": values, "new_ndcg_at_10": pa.array(new or [0.1] * USERS, pa.float64())}
    return Evaluation(pa.table(table), {"ndcg_at_10": float(values.mean()), "coverage_at_10": 0.5})


MODELS = {
    "two_stage": measured(0.5, 1),
    "own_frequency": measured(0.3, 2),
    "als": measured(0.2, 3),
    "most_popular": measured(0.4, 4),
}


def test_baselines_come_first_and_the_best_comes_last() -> None:
    assert [row["model"] for row in leaderboard(MODELS)] == ["most_popular", "own_frequency", "als", "two_stage"]
    assert leaderboard(dict(reversed(MODELS.items()))) == leaderboard(MODELS)


def test_each_step_is_set_against_the_best_before_it() -> None:
    first, second, *_, last = leaderboard(MODELS)
    assert "gain" not in first
    assert first["coverage_at_10"] == 0.5
    assert second["gain"] == pytest.approx(second["ndcg_at_10"] - first["ndcg_at_10"])
    assert second["gain_low"] < second["gain_high"] < 0
    assert last["gain"] == pytest.approx(last["ndcg_at_10"] - first["ndcg_at_10"])
    assert (last["new_gain"], last["new_gain_low"]) == (0, 0)


def test_users_without_new_targets_count_for_neither() -> None:
    some: list[float | None] = [None, 0.2, *[0.1] * (USERS - 2)]
    result = differences(measured(0.1, 1, some), measured(0.1, 2, [None, *[0.1] * (USERS - 1)]), "new_ndcg_at_10")
    assert len(result) == USERS - 1
    assert result.sum() == pytest.approx(0.1)
    assert differences(measured(0.1, 1, some), measured(0.1, 2), "new_ndcg_at_10") is None


def row(model: str, ndcg: float, **more: float) -> dict[str, object]:
    figures = {"ndcg_at_10": ndcg, "warm_ndcg_at_10": ndcg, "new_ndcg_at_10": ndcg / 10}
    bounds = {f"{name}{end}": value + step for name, value in figures.items() for end, step in _ENDS.items()}
    plain = {"recall_at_10": 0.1, "hit_rate_at_10": 0.8, "coverage_at_10": 0.25, "warm_users": 1996.0}
    return {"model": model, **figures, **bounds, **plain, **more}


_ENDS = {"_low": -0.01, "_high": 0.01}


def test_each_step_shows_its_gain_over_the_one_above() -> None:
    gained = {"gain": 0.2, "gain_low": -0.1, "gain_high": 0.3}
    result = tables([row("most_popular", 0.2), row("als", 0.4, **gained)])
    first, second = result["All items: each model against the best above it"]
    assert first["gain (95 %)"] == ""
    assert second == {
        "model": "als",
        "NDCG@10 (95 %)": "0.4000 (0.3900, 0.4100)",
        "gain (95 %)": "+0.2000 (-0.1000, +0.3000)",
        "recall": "0.1000",
        "hit rate": "0.8000",
        "coverage": "0.2500",
    }


def test_only_parts_with_users_are_shown_and_how_many_they_are() -> None:
    result = tables([row("most_popular", 0.2)])
    all_items = result["All items: NDCG@10 by how long users are known"]
    assert all_items == [{"model": "most_popular", "from 5 baskets on (1,996)": "0.2000 (0.1900, 0.2100)"}]
    assert "Items new to the user: NDCG@10 by how long users are known" not in result
    assert tables([]) == {}


@pytest.fixture(scope="module")
def evaluations(data: TrainingData, targets: Any, popularity: NDArray[np.float32]) -> dict[str, Evaluation]:
    def of(model: type[Recommender]) -> Evaluation:
        return evaluate(model.fit(data, model.config_type(), 0), data, targets, popularity)

    return {"own": of(OwnFrequency), "popular": of(MostPopular)}


@pytest.fixture
def known() -> Callable[..., Evaluation]:
    """Return an evaluation of users with so many baskets."""

    def make(baskets: list[int], values: list[float], **summary: float) -> Evaluation:
        keys = [f"u{number}" for number in range(len(values))]
        table = pa.table({"user_key": keys, "baskets": baskets, "ndcg_at_10": values})
        return Evaluation(table, {"ndcg_at_10": float(np.mean(values)), **summary})

    return make


@pytest.mark.parametrize("kind", ["", NEW])
def test_a_figure_is_shown_for_every_model_with_the_gain_user_by_user(
    evaluations: dict[str, Evaluation], kind: str
) -> None:
    lines = {line.figure: line for line in comparison("own", "popular", evaluations, seed=1, kind=kind)}
    assert list(lines) == [kind + name for name in FIGURES]
    own, popular = evaluations["own"], evaluations["popular"]
    for line in lines.values():
        assert line.values["own"].value == own.summary[line.figure]
        assert line.difference is not None
        assert line.difference.value == pytest.approx(own.summary[line.figure] - popular.summary[line.figure])
    assert lines[f"{kind}map_at_10"].difference == gain(own, popular, f"{kind}map_at_10", 1)


def test_figures_of_all_lists_together_differ_without_an_interval(evaluations: dict[str, Evaluation]) -> None:
    lines = {line.figure: line for line in comparison("own", "popular", evaluations, seed=1)}
    difference = lines["coverage_at_10"].difference
    assert difference is not None
    assert difference.value > 0
    assert np.isnan(difference.low)
    assert lines["coverage_at_10"].verdict == ""


def test_better_is_only_what_the_whole_interval_calls_so_and_where_more_is_better(
    evaluations: dict[str, Evaluation],
) -> None:
    lines = {line.figure: line for line in comparison("own", "popular", evaluations, seed=1)}
    assert lines["ndcg_at_10"].verdict == "better"
    assert lines["novelty_at_10"].verdict == ""
    turned = {line.figure: line for line in comparison("popular", "own", evaluations, seed=1)}
    assert turned["ndcg_at_10"].verdict == "worse"
    unsure = replace(lines["ndcg_at_10"], difference=Estimate(0.1, -0.1, 0.2))
    assert unsure.verdict == ""


def test_a_figure_that_an_older_model_was_not_measured_by_is_left_blank(evaluations: dict[str, Evaluation]) -> None:
    old = evaluations["popular"]
    summary = {name: value for name, value in old.summary.items() if not name.startswith("long_tail")}
    older = Evaluation(old.per_user.drop_columns(["long_tail_at_10"]), summary)
    lines = {line.figure: line for line in comparison("own", "popular", evaluations | {"popular": older}, seed=1)}
    assert list(lines["long_tail_at_10"].values) == ["own"]
    assert lines["long_tail_at_10"].difference is None


def test_people_are_grouped_by_how_long_they_are_known(known: Callable[..., Evaluation]) -> None:
    parts = {"warm_users": 3.0, "cold_users": 2.0, "newcomer_users": 4.0}
    one = known([1, 9, 9, 4, 9], [0.1, 0.5, 0.6, 0.3, 0.7], warm_ndcg_at_10=0.6, cold_ndcg_at_10=0.2, **parts)
    other = known([1, 9, 9, 4, 9], [0.3, 0.5, 0.5, 0.5, 0.5], warm_ndcg_at_10=0.5, cold_ndcg_at_10=0.4, **parts)
    newcomers = [replace(e, summary=e.summary | {"newcomer_ndcg_at_10": v}) for e, v in ((one, 0.1), (other, 0.05))]
    warm, cold, new = by_history("one", "other", dict(zip(("one", "other"), newcomers, strict=True)), seed=1)
    assert warm.meaning.endswith("3 people")
    assert warm.difference is not None
    assert warm.difference.value == pytest.approx(0.1)
    assert cold.difference is not None
    assert cold.difference.value == pytest.approx(-0.2)
    assert new.difference is not None
    assert new.difference.value == pytest.approx(0.05)
    alone = known([9, 9], [0.1, 0.2], warm_ndcg_at_10=0.15, warm_users=2.0)
    assert len(by_history("one", None, {"one": alone}, 1)) == 1


def test_costs_are_of_all_models_that_state_them(known: Callable[..., Evaluation]) -> None:
    compared = {"one": known([9], [0.1], score_ms=2.0, fit_seconds=31.0), "other": known([9], [0.1])}
    assert [(line.figure, list(line.values)) for line in costs(compared)] == [
        ("score_ms", ["one"]),
        ("fit_seconds", ["one"]),
    ]


@pytest.fixture(scope="module")
def dataset(shop: Shop) -> Dataset:
    return Dataset(CUTS, *shop)


@pytest.fixture(scope="module")
def both(evaluations: dict[str, Evaluation]) -> tuple[Evaluation, Evaluation]:
    return evaluations["own"], evaluations["popular"]


def ndcg(shown: list[str], bought: list[str]) -> float:
    gained = sum(1 / np.log2(place + 2) for place, item in enumerate(shown) if item in bought)
    best = sum(1 / np.log2(place + 2) for place in range(min(len(shown), len(bought))))
    return float(gained / best)


def test_the_purchases_of_an_example_are_those_that_its_figure_was_measured_by(both: Any, dataset: Dataset) -> None:
    result = examples(*both, dataset)
    assert len(result) == 10
    for one in result:
        assert one.candidate.figure == pytest.approx(ndcg(one.candidate.items, one.bought))
        assert one.reference.figure == pytest.approx(ndcg(one.reference.items, one.bought))


def test_examples_are_the_users_in_the_middle_of_each_tenth_by_gain(dataset: Dataset) -> None:
    gains = np.random.default_rng(1).permutation(100)
    keys = [f"u{number:03}" for number in range(100)]

    def of(values: NDArray[Any]) -> Evaluation:
        columns = {"user_key": keys, "baskets": [3] * 100, "ndcg_at_10": values, "items_at_10": [["i01"]] * 100}
        return Evaluation(pa.table(columns), {})

    result = examples(of(gains / 100), of(np.zeros(100)), dataset)
    assert [round(one.candidate.figure * 100) for one in result] == [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]
    turned = examples(of(np.zeros(100)), of(gains / 100), dataset)
    assert turned[0].user_key != result[0].user_key
    assert turned[0].reference.figure > turned[-1].reference.figure


def test_examples_name_the_items_that_were_bought_before(both: Any, dataset: Dataset, data: TrainingData) -> None:
    history = data.history()
    for one in examples(*both, dataset):
        (user,) = data.user_index(np.array([one.user_key]))
        assert one.bought_before == set(data.items[history[[user]].indices])


def test_fewer_people_than_places_are_all_shown(both: Any, dataset: Dataset) -> None:
    few = [Evaluation(each.per_user.slice(0, 3), each.summary) for each in both]
    assert len({one.user_key for one in examples(*few, dataset)}) == 3


def test_people_who_were_not_measured_by_both_are_left_out(both: Any, dataset: Dataset) -> None:
    own, popular = both
    half = Evaluation(popular.per_user.slice(0, 5), popular.summary)
    assert len(examples(own, half, dataset)) == 5
    assert examples(own, Evaluation(popular.per_user.slice(0, 0), popular.summary), dataset) == []


def test_without_the_lists_there_is_nothing_to_show(both: Any, dataset: Dataset) -> None:
    own, popular = both
    assert examples(own, Evaluation(popular.per_user.drop_columns(["items_at_10"]), popular.summary), dataset) == []


def test_folds_end_where_the_test_weeks_begin_and_are_as_long(dataset: Dataset) -> None:
    result = cross_validation_folds(dataset, 4)
    assert [fold.measured_until - fold.measured_from for fold in result] == [30 * DAY] * 4
    assert result[-1].measured_until == CUTS["test_from"]
    assert all(fold.train_until == fold.measured_from for fold in result)
    assert cross_validation_folds(dataset, 5, horizon_days=7)[0].measured_from == CUTS["test_from"] - 35 * DAY


def test_too_few_folds_and_too_little_history_are_refused(dataset: Dataset) -> None:
    with pytest.raises(TailorbirdError, match="at least 2 folds"):
        cross_validation_folds(dataset, 1)
    with pytest.raises(TailorbirdError, match="fewer folds"):
        cross_validation_folds(dataset, 6)


def test_a_fold_is_a_model_learned_before_it_and_measured_on_it(dataset: Dataset) -> None:
    model = catalog.model_type("own_frequency")
    cuts = []

    def fit(data):
        cuts.append(data.cut)
        return model.fit(data, catalog.config("own_frequency"), 0)

    folds = cross_validation_folds(dataset, 4)
    result = list(measure(fit, dataset, folds))
    assert cuts == [fold.train_until for fold in folds]
    data = dataset.training_data(folds[1].train_until)
    targets = dataset.holdout(data, folds[1].measured_until)
    popular = MostPopular.fit(data, MostPopular.config_type(), 0).popularity
    expected = evaluate(fit(data), data, targets, popular).summary
    assert result[1] == {name: expected[name] for name in result[1]}
    assert {"ndcg_at_10", "new_ndcg_at_10", "roc_auc", "gini_at_10", "users"} <= result[1].keys()
    assert not [name for name in result[1] if "warm_" in name or name.endswith("_low")]


def fold(ndcg: float, day: int) -> dict[str, float]:
    others = {"new_ndcg_at_10": ndcg / 10, "recall_at_10": 0.1, "hit_rate_at_10": 0.8}
    return {"measured_from": day * DAY, "measured_until": (day + 7) * DAY, "ndcg_at_10": ndcg, **others}


POPULAR = [fold(ndcg, 7 * week) for week, ndcg in enumerate((0.1, 0.2, 0.3, 0.2))]
BETTER = [fold(ndcg, 7 * week) for week, ndcg in enumerate((0.2, 0.3, 0.4, 0.4))]


def test_gains_are_taken_fold_by_fold() -> None:
    first, second = folds_table({"als": BETTER, "most_popular": POPULAR})
    assert (first["model"], first["NDCG@10"], first["NDCG@10, gain"]) == ("most_popular", "0.2000 ± 0.0816", "")
    assert second["NDCG@10, gain"] == "+0.1250 ± 0.0500"  # of 0.1, 0.1, 0.1 and 0.2
    assert second["new items, gain"] == "+0.0125 ± 0.0050"
    *_, last = folds_table({"als": POPULAR, "most_popular": BETTER, "own_frequency": POPULAR})
    assert last["NDCG@10, gain"] == "-0.1250 ± 0.0500"  # over the best above, not the last
    assert sum(max(len(name), len(cell)) + 3 for name, cell in second.items()) <= 110
    assert folds_title({"als": BETTER}).startswith(
        "Mean ± sd over 4 folds, 1970-01-01 00:00 UTC to 1970-01-29 00:00 UTC"
    )
