import numpy as np
import pyarrow as pa
import pytest

from models.evaluation.evaluate import Evaluation
from models.promotion import METRIC, Gate, decide

USERS = 400


def measured(values: np.ndarray, lists: float = 99, first: int = 0) -> Evaluation:
    keys = [f"u{user:04}" for user in range(first, first + len(values))]
    table = pa.table({"user_key": pa.array(keys, pa.string()), METRIC: pa.array(values, pa.float64())})
    return Evaluation(table, {METRIC: float(np.mean(values)) if len(values) else np.nan, "distinct_lists": lists})


def around(mean: float, seed: int) -> Evaluation:
    return measured(np.random.default_rng(seed).normal(mean, 0.1, USERS))


def failed(gate: Gate) -> list[str]:
    return [check.name for check in gate.checks if not check.passed]


def test_a_better_candidate_passes_with_an_interval_above_zero() -> None:
    gate = decide(around(0.40, 1), {"most_popular": around(0.2, 2)}, around(0.35, 3), seed=0)
    assert gate.passed
    against = gate.checks[-1]
    assert against.name == "better than the champion"
    assert 0 < against.low < against.value < against.high
    assert "better than the champion" in against.detail


def test_without_a_champion_not_being_worse_than_the_baselines_is_enough() -> None:
    own = around(0.4, 1)
    assert decide(own, {"own_frequency": own, "most_popular": around(0.2, 2)}, None, seed=0).passed


def test_a_candidate_significantly_worse_than_a_baseline_is_refused() -> None:
    gate = decide(around(0.2, 1), {"own_frequency": around(0.4, 2)}, None, seed=0)
    assert failed(gate) == ["not worse than own_frequency"]
    assert gate.checks[-1].high < 0
    assert "significantly worse than own_frequency" in gate.checks[-1].detail


def test_a_candidate_equal_to_the_champion_is_not_better() -> None:
    same = around(0.4, 1)
    gate = decide(same, {}, same, seed=0)
    assert failed(gate) == ["better than the champion"]
    assert gate.checks[-1].low == gate.checks[-1].high == 0


@pytest.mark.parametrize("broken", [np.full(USERS, np.nan), np.append(np.full(USERS - 1, 0.9), np.nan), np.array([])])
def test_figures_that_are_missing_refuse_the_candidate(broken: np.ndarray) -> None:
    gate = decide(measured(broken), {"most_popular": around(0.1, 1)}, None, seed=0)
    assert failed(gate) == ["has figures"]
    assert len(gate.checks) == 2


def test_one_list_for_everybody_is_refused_whatever_its_figures() -> None:
    gate = decide(measured(np.full(USERS, 0.9), lists=1), {"most_popular": around(0.1, 1)}, None, seed=0)
    assert failed(gate) == ["is personal"]
    assert gate.checks[1].detail == "Everybody would get the same list."


def test_figures_on_other_users_cannot_be_compared() -> None:
    other = measured(np.full(USERS, 0.1), first=1)
    gate = decide(around(0.4, 1), {"most_popular": other}, other, seed=0)
    assert failed(gate) == ["not worse than most_popular", "better than the champion"]
    assert "same held-out weeks" in gate.checks[-1].detail


def test_a_reference_without_a_figure_for_a_user_cannot_be_compared() -> None:
    gap = measured(np.append(np.full(USERS - 1, 0.1), np.nan))
    assert failed(decide(around(0.4, 1), {"most_popular": gap}, None, seed=0)) == ["not worse than most_popular"]


def test_users_are_paired_by_key_not_by_row() -> None:
    values = np.linspace(0, 1, USERS)
    turned = Evaluation(measured(values).per_user.take(list(range(USERS))[::-1]), {"distinct_lists": 9.0})
    gate = decide(measured(values + 0.001), {}, turned, seed=0)
    assert gate.passed
    assert gate.checks[-1].value == pytest.approx(0.001)


def test_a_candidate_as_good_as_the_champion_is_rarely_called_better() -> None:
    passed = [decide(around(0.4, 2 * i), {}, around(0.4, 2 * i + 1), seed=i).passed for i in range(200)]
    assert np.mean(passed) <= 0.06
