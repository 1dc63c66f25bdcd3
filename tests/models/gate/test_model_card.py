from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from models.evaluation.offline import Evaluation
from models.gate.model_card import (
    LONGEST,
    THIS,
    ReviewSummary,
    TrainingSummary,
    card,
    compared_sentences,
    weaknesses,
    with_verdict,
)
from models.gate.results import Check, GateResult, GroupResult, Outcome, not_applicable
from tests.models.reviewed import ALONE, CHECKS, GROUPS, VERSION

FAILED = Check(
    "covers the catalogue", 0.01, 0.05, Outcome.REFUSED, "1 % of the catalogue, less than half of the reference's."
)
MATERIAL = TrainingSummary("v5-2018", 1483228800, 1512086400, 1514764800, 2467, 68082, 900)
LINKS = "See [the training run](http://mlflow/#/run)."


HEADS = {"mix": "ranker", "discover": "als"}


def card_of(gate: GateResult = VERSION.gate, version: ReviewSummary = VERSION) -> str:
    return card(replace(version, gate=gate), MATERIAL, LINKS, HEADS)


GOLDEN = """\
Version 3 passed the gate and waits for a person's decision.

## What it is

`two_stage`. Two stages (Covington, Adams and Sargin 2016): retrievers return candidates, a ranker orders them by \
features. Placements are ranked by policy: `mix` by ranker, `discover` by als. \
Learned from what 2,467 people bought of 68,082 items from 2017-01-01 00:00 UTC to 2018-01-01 00:00 UTC \
(data set v5-2018); measured on what 900 of them bought from 2017-12-01 00:00 UTC on, by the same model \
trained before.

## Figures

|  | this version | champion (als) | difference |
| --- | --- | --- | --- |
| NDCG@10 | 0.4393 (0.4255 to 0.4526) | 0.4213 (0.4075 to 0.4350) | +0.0180 (+0.0180 to +0.0180) |
| NDCG@10 on new items | 0.0500 | - | - |

Gains in NDCG@10: over most_popular +0.2597 (+0.2597 to +0.2597).

A list of 20 takes 1.3000 (1.2500 to 1.5000) ms of one thread, made as batch scoring makes it.

## Groups

2 groups of people were judged. None is served significantly worse. The worst off is age 19-24 (80 people): -0.0100 \
(-0.0300 to +0.0100).

## The gate

- ✓ has figures, better than the champion

## Limits
"""


def test_a_card_states_first_what_was_found_then_what_the_version_is_and_is_not() -> None:
    text = card_of().replace("\u2003", "")
    assert text.startswith(GOLDEN)
    assert "\n- For the 120 people with fewer than 5 baskets NDCG@10 is 0.1000, for all users 0.4393.\n" in text
    end = text.partition("## To decide")[2]
    assert "`tailorbird decide 3 --approve --reason …`" in end
    assert end.endswith("\n\nSee [the training run](http://mlflow/#/run).")


def test_a_check_that_the_gate_refused_comes_first_with_its_sentence() -> None:
    text = card_of(GateResult(False, (*CHECKS, FAILED), GROUPS))
    assert text.startswith("Version 3 was refused by the gate; it does not pass: covers the catalogue.\n")
    assert (
        "- ✗ **covers the catalogue**: 1 % of the catalogue, less than half of the reference's.\n- ✓ has figures,"
        in text
    )


def test_a_group_that_is_served_worse_is_named() -> None:
    worse = replace(GROUPS[1], high=-0.005, passed=False)
    assert "**Served worse: 1.** The worst off is age 19-24" in card_of(GateResult(False, CHECKS, (GROUPS[0], worse)))


def test_with_nobody_to_compare_with_there_are_no_differences_and_no_groups() -> None:
    text = card_of(ALONE.gate, ALONE)
    text = text.replace("\u2003", "")
    assert "|  | this version |\n| --- | --- |\n| NDCG@10 | 0.4393 (0.4255 to 0.4526) |\n" in text
    assert "## Groups" not in text
    assert "Gains" not in text
    assert (ALONE.reference, list(ALONE.compared)) == (None, [THIS])
    assert ALONE.reference_sentence == "There is no model to compare it with."


def test_names_out_of_the_data_are_no_markup() -> None:
    hostile = replace(GROUPS[1], trait="<script>alert(1)</script>", value="[a](javascript:b)|\n## Sold")
    text = card_of(GateResult(True, CHECKS, (hostile,)))
    assert "&lt;script&gt;alert(1)&lt;/script&gt; \\[a\\](javascript:b)\\| ## Sold (80 people)" in text
    assert "<script" not in text


def test_another_verdict_takes_the_place_of_the_first_and_leaves_the_rest() -> None:
    text = card_of()
    decided = with_verdict(text, "Version 3 was approved by Ada: better.")
    assert decided == text.replace("passed the gate and waits for a person's decision.", "was approved by Ada: better.")
    assert with_verdict(decided, "Version 3 was rejected by Ada: no.").count("## What it is") == 1
    assert (
        with_verdict("Version 1 waits.\n\n- ✓ **has figures**: yes", "Version 1 was rejected.")
        == "Version 1 was rejected.\n"
    )


def test_a_heading_in_a_reviewers_reason_is_not_taken_for_the_cards() -> None:
    once = with_verdict(card_of(), "Version 3 was approved by Ada: fine.\n\n## What it is\n\na trap")
    assert once.count("\n## What it is") == 1
    assert with_verdict(once, "Version 3 waits.") == with_verdict(card_of(), "Version 3 waits.")


@pytest.mark.parametrize("sentence", ["short", "long " * 2000])
def test_a_card_is_no_longer_than_mlflow_keeps_and_loses_no_way_to_decide(sentence: str) -> None:
    many = tuple(replace(FAILED, name=f"question {n}", detail="because of this and of that " * 5) for n in range(60))
    text = with_verdict(card_of(GateResult(False, many, GROUPS)), sentence)
    assert len(text) <= LONGEST
    assert "… the rest is in the report.\n\n## To decide" in text
    assert text.endswith("See [the training run](http://mlflow/#/run).")


def test_warnings_and_questions_not_asked_stand_with_their_sentences() -> None:
    warning = Check("shows items evenly", 0.9, 0.84, Outcome.WARNING, "Gini index 0.900.")
    unasked = not_applicable("no group worse", "No trait divides people into groups.")
    text = card_of(GateResult(True, (*CHECKS, warning, unasked)))
    assert "- ! **shows items evenly**: Warning. Gini index 0.900." in text
    assert "- ? **no group worse**: Not asked. No trait divides people into groups." in text


FIGURES = {"ndcg_at_10": 0.4, "users": 900.0, "coverage_at_10": 0.08, "long_tail_at_10": 0.07, "new_ndcg_at_10": 0.05}
GATE = GateResult(True, ())


def group(value: str, users: int, judged: bool) -> GroupResult:
    return GroupResult("age", value, users, 0.4, 0.4, 0.0, -0.1, 0.1, judged, True)


def sentences(gate: GateResult = GATE, **more: float) -> str:
    return "\n".join(weaknesses(FIGURES | more, gate))


def test_people_with_little_history_are_named_with_their_own_figure() -> None:
    text = sentences(cold_users=120.0, cold_ndcg_at_10=0.1138)
    assert "For the 120 people with fewer than 5 baskets NDCG@10 is 0.1138, for all users 0.4000." in text
    assert "prove little" not in text
    assert "prove little" in sentences(cold_users=12.0, cold_ndcg_at_10=0.1138)


def test_groups_without_users_are_not_passed_over() -> None:
    text = sentences()
    assert "to measure it on" in text
    assert "Newcomers were not measured" in text
    assert "How single groups are served is not known." in text


def test_newcomers_and_rare_items_are_named() -> None:
    text = sentences(newcomer_users=30.0, newcomer_ndcg_at_10=0.21)
    assert "For the 30 newcomers, who have no earlier purchase, NDCG@10 is 0.2100." in text
    assert "NDCG@10 is 0.0500. Most of its hits are items bought before." in text
    assert "92% of the catalogue is never shown; 7% of the places" in text
    assert "is not known" in sentences(new_ndcg_at_10=float("nan"))


def test_broken_scores_and_filled_places_are_named_when_there_are_any() -> None:
    assert "are NaN" not in sentences(nan_scores=0.0, fallback_share=0.0)
    assert "filled with" not in sentences(nan_scores=0.0, fallback_share=0.0)
    assert "Broken: 1,204 of its scores are NaN." in sentences(nan_scores=1204.0)
    assert "2.5% of the places are filled with best sellers." in sentences(fallback_share=0.025)


def test_groups_that_are_too_small_are_named_and_soon_only_counted() -> None:
    small = tuple(group(f"{n}0s", n, False) for n in range(2, 8))
    text = sentences(GateResult(True, (), (group("all", 400, True), *small)))
    assert "6 groups are too small to be judged: age 20s (2), age 30s (3), age 40s (4), age 50s (5) and 2 more." in text


def test_figures_of_nobody_are_no_reason_to_fail() -> None:
    assert weaknesses({"users": 0.0, "ndcg_at_10": float("nan"), "new_ndcg_at_10": 0.0}, GATE)


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
    assert list(reviewed("r3").compared) == [THIS, "champion (own_frequency)", "most_popular"]


def test_before_the_first_champion_the_best_baseline_stands_for_one() -> None:
    result = reviewed()
    assert list(result.compared) == [THIS, "own_frequency", "most_popular"]
    assert "own_frequency, the best of the baselines, since there is no champion yet" in result.reference_sentence


def test_a_version_is_not_held_against_itself() -> None:
    assert reviewed("r1").reference == "own_frequency"
    assert "the champion's own recipe, learned from newer data" in reviewed("r1").reference_sentence


def test_a_version_of_a_baselines_kind_is_distinguished_from_the_baseline() -> None:
    result = replace(reviewed(), run_id="r3")
    assert result.candidate is GATE_RESULT["r3"]
    assert list(result.compared) == [THIS, "most_popular"]


def test_the_tables_are_of_the_figures_there_are() -> None:
    tables = {title: [line.figure for line in lines] for title, lines in reviewed("r5").tables.items()}
    assert tables["All items"] == ["ndcg_at_10"]
    assert tables["Items that are new to the person"] == []
    assert tables["NDCG@10 by how long people are known"] == ["ndcg_at_10"]


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
    assert compared_sentences("v1", {"als": True}) == "Compared on v1: als (trained already)."
