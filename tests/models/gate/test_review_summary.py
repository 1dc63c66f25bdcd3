from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from models.evaluation.offline import Evaluation
from models.gate.results import GateResult
from models.gate.review_summary import THIS, ReviewSummary, compared_sentences


def measured(mean: float, seed: int) -> Evaluation:
    values = np.random.default_rng(seed).normal(mean, 0.1, 300)
    keys = [f"u{number:03}" for number in range(300)]
    table = pa.table({"user_key": keys, "baskets": [7] * 300, "ndcg_at_10": values})
    return Evaluation(table, {"ndcg_at_10": float(values.mean()), "warm_ndcg_at_10": float(values.mean())})


KINDS = {"r1": "two_stage", "r2": "most_popular", "r3": "own_frequency", "r4": "als", "r5": "als"}
MEANS = {"r1": 0.5, "r2": 0.2, "r3": 0.4, "r4": 0.45, "r5": 0.3}
GATE_RESULT = {run: measured(mean, seed) for seed, (run, mean) in enumerate(MEANS.items())}


def reviewed(reference: str | None = None, result: Mapping[str, Evaluation] = GATE_RESULT) -> ReviewSummary:
    return ReviewSummary(2, "r1", reference, KINDS, result, "v1", GateResult(True, ()))


def test_a_version_stands_beside_the_champion_and_the_baselines() -> None:
    result = reviewed("r5")
    assert result.reference == "champion (als)"
    assert list(result.compared) == [THIS, "champion (als)", "most_popular", "own_frequency"]
    assert result.reference_sentence == "This version is compared with champion (als)."


def test_before_the_first_champion_the_best_baseline_stands_for_one() -> None:
    result = reviewed()
    assert list(result.compared) == [THIS, "own_frequency", "most_popular"]
    assert "own_frequency, the best of the baselines, since there is no champion yet" in result.reference_sentence


def test_a_champion_of_a_baselines_kind_is_called_the_champion() -> None:
    assert list(reviewed("r3").compared) == [THIS, "champion (own_frequency)", "most_popular"]


def test_a_version_is_not_held_against_itself() -> None:
    assert reviewed("r1").reference == "own_frequency"
    assert "the champion's own recipe, learned from newer data" in reviewed("r1").reference_sentence


def test_alone_it_stands_for_itself() -> None:
    without_reference = reviewed(None, {"r1": GATE_RESULT["r1"]})
    assert without_reference.reference is None
    assert list(without_reference.compared) == [THIS]
    assert without_reference.reference_sentence == "There is no model to compare it with."
    assert without_reference.gains() == {}


def test_a_version_of_a_baselines_kind_is_distinguished_from_the_baseline() -> None:
    result = replace(reviewed(), run_id="r3")
    assert result.candidate is GATE_RESULT["r3"]
    assert list(result.compared) == [THIS, "most_popular"]


def test_the_tables_are_of_the_figures_there_are() -> None:
    tables = {title: [line.figure for line in lines] for title, lines in reviewed("r5").tables.items()}
    assert tables["All items"] == ["ndcg_at_10"]
    assert tables["Items that are new to the person"] == []
    assert tables["NDCG@10 by how long people are known"] == ["ndcg_at_10"]


@pytest.mark.parametrize("baseline", ["most_popular", "own_frequency"])
def test_gains_over_baselines_have_their_intervals(baseline: str) -> None:
    answer = reviewed("r5").gains()
    assert "champion (als)" not in answer
    assert answer[baseline].startswith("+0.")
    assert " to +0." in answer[baseline]


@pytest.mark.parametrize("values", [np.full(300, np.nan), np.empty(0)])
def test_a_broken_version_is_reported_as_far_as_it_can_be(values: np.ndarray) -> None:
    keys = [f"u{number:03}" for number in range(len(values))]
    table = pa.table({"user_key": keys, "baskets": [7] * len(values), "ndcg_at_10": pa.array(values, pa.float64())})
    damaged = Evaluation(table, {"ndcg_at_10": float("nan"), "nan_scores": 12.0})
    result = reviewed("r5", GATE_RESULT | {"r1": damaged})
    assert result.gains() == {}
    assert [line for lines in result.tables.values() for line in lines] == []


def test_a_review_states_what_it_compares_what_it_trains_and_what_it_leaves_out() -> None:
    ranking = {"most_popular": True, "als": False, "two_stage": False}
    assert compared_sentences("v1", ranking, 3, ["item_knn"]) == (
        "Compared on v1: most_popular (trained already); als, two_stage (trained now); the champion, version 3. Left "
        "out: item_knn, trained but not named; --model names all that are compared."
    )


def test_without_a_champion_and_with_nothing_left_out_it_is_one_sentence() -> None:
    assert compared_sentences("v1", {"als": True}) == "Compared on v1: als (trained already)."
