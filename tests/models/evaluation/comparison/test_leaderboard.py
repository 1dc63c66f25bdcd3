import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from models.evaluation.comparison.leaderboard import leaderboard, tables
from models.evaluation.comparison.paired import differences, gain
from models.evaluation.offline import Evaluation

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


def test_a_gain_has_the_interval_of_scipys_paired_bootstrap() -> None:
    one, other = MODELS["two_stage"], MODELS["own_frequency"]
    values = [np.array(evaluation.per_user["ndcg_at_10"].to_pylist()) for evaluation in (one, other)]
    expected = stats.bootstrap(
        values, lambda a, b, axis: (a - b).mean(axis=axis), n_resamples=20_000, method="percentile", paired=True, rng=1
    )
    result = gain(one, other, "ndcg_at_10", seed=7)
    bounds = pytest.approx(list(expected.confidence_interval), abs=0.2 * expected.standard_error)
    assert [result.low, result.high] == bounds


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
    title = "All items: each model against the best above it"
    assert result[title] == [
        {
            "model": "most_popular",
            "NDCG@10 (95 %)": "0.2000 (0.1900, 0.2100)",
            "gain (95 %)": "",
            "recall": "0.1000",
            "hit rate": "0.8000",
            "coverage": "0.2500",
        },
        {
            "model": "als",
            "NDCG@10 (95 %)": "0.4000 (0.3900, 0.4100)",
            "gain (95 %)": "+0.2000 (-0.1000, +0.3000)",
            "recall": "0.1000",
            "hit rate": "0.8000",
            "coverage": "0.2500",
        },
    ]


def test_only_parts_with_users_are_shown_and_how_many_they_are() -> None:
    result = tables([row("most_popular", 0.2)])
    all_items = result["All items: NDCG@10 by how long users are known"]
    assert all_items == [{"model": "most_popular", "from 5 baskets on (1,996)": "0.2000 (0.1900, 0.2100)"}]
    assert "Items new to the user: NDCG@10 by how long users are known" not in result
    assert tables([]) == {}


def test_tables_are_at_most_110_characters_wide() -> None:
    gained = {"gain": -0.2, "gain_low": -0.1, "gain_high": 0.3}
    more = {f"{part}users": 1234.0 for part in ("warm_", "cold_", "newcomer_")}
    more |= {f"{p}ndcg_at_10{end}": 0.1 for p in ("cold_", "newcomer_") for end in ("", *_ENDS)}
    for table in tables([row("logistic_regression", 0.2, **gained, **more)]).values():
        width = sum(max(len(name), len(cell)) + 3 for name, cell in table[0].items()) + 1
        assert width <= 110
