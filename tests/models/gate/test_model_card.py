from dataclasses import replace

import numpy as np
import pytest

from models.evaluation.comparison.metric_table import Line
from models.evaluation.metrics.bootstrap import Estimate
from models.gate.model_card import LONGEST, ReviewedVersion, TrainingSummary, about, card, verdict, with_verdict
from models.gate.results import Check, GateResult, GroupResult, Outcome, not_applicable

CHECKS = (
    Check("has figures", 900.0, 900.0, Outcome.PASSED, "ndcg_at_10 is a number for 900 of 900 users."),
    Check(
        "better than the champion",
        0.018,
        0.0,
        Outcome.PASSED,
        "+0.0180 a user: better than the champion.",
        0.0144,
        0.0215,
    ),
)
FAILED = Check(
    "covers the catalogue", 0.01, 0.05, Outcome.REFUSED, "1 % of the catalogue, less than half of the reference's."
)
GROUPS = (
    GroupResult("age", "65+", 120, 0.40, 0.41, 0.01, -0.01, 0.03, True, True),
    GroupResult("age", "19-24", 80, 0.40, 0.39, -0.01, -0.03, 0.01, True, True),
    GroupResult("age", "unknown", 9, 0.40, 0.10, -0.30, -0.50, -0.1, False, True),
)
SUBJECT = ReviewedVersion(
    version=3,
    kind="two_stage",
    candidate="this version",
    reference="champion (als)",
    material=TrainingSummary("v5-20180101-795a8fa7", 1483228800, 1512086400, 1514764800, 2467, 68082, 900),
    lines=[
        Line(
            "ndcg_at_10",
            "NDCG@10: are the ten places right?",
            {"this version": Estimate(0.4393, 0.4255, 0.4526), "champion (als)": Estimate(0.4213, 0.4075, 0.435)},
            Estimate(0.018, 0.0144, 0.0215),
        ),
        Line("diversity_at_10", "diversity: of the categories", {"this version": Estimate(0.7, 0.6, 0.8)}),
        Line("new_ndcg_at_10", "NDCG@10: are they right?", {"this version": Estimate(0.05, np.nan, np.nan)}, None),
    ],
    gains={"most_popular": "+0.2597 (+0.2491 to +0.2703)"},
    summary={"ndcg_at_10": 0.4393, "cold_users": 120.0, "cold_ndcg_at_10": 0.1}
    | {"score_ms": 1.3, "score_ms_low": 1.25, "score_ms_high": 1.5},
    gate=GateResult(True, CHECKS, GROUPS),
    links="See [the training run](http://mlflow/#/run).",
)
GOLDEN = """\
Version 3 passed the gate and waits for a person's decision.

## What it is

`two_stage`. Two stages (Covington, Adams and Sargin 2016): retrievers return candidates, a ranker orders them by \
features. Learned from what 2,467 people bought of 68,082 items from 2017-01-01 00:00 UTC to 2018-01-01 00:00 UTC \
(data set v5-20180101-795a8fa7); measured on what 900 of them bought from 2017-12-01 00:00 UTC on, by the same model \
trained before.

## Figures

|  | this version | champion (als) | difference |
| --- | --- | --- | --- |
| NDCG@10 | 0.4393 (0.4255 to 0.4526) | 0.4213 (0.4075 to 0.4350) | +0.0180 (+0.0144 to +0.0215) |
| NDCG@10, new items | 0.0500 | - | - |

Gains in NDCG@10: over most_popular +0.2597 (+0.2491 to +0.2703).

A list of 20 takes 1.3000 (1.2500 to 1.5000) ms of one thread, made as batch scoring makes it.

## Groups

2 groups of people were judged. None is served significantly worse. The worst off is age 19-24 (80 people): -0.0100 \
(-0.0300 to +0.0100).

## The gate

- ✓ has figures, better than the champion

## Limits
"""


def test_a_card_states_first_what_was_found_then_what_the_version_is_and_is_not() -> None:
    text = card(SUBJECT).replace("\u2003", "")
    assert text.startswith(GOLDEN)
    assert "\n- For the 120 people with fewer than 5 baskets NDCG@10 is 0.1000, for all users 0.4393.\n" in text
    end = text.partition("## To decide")[2]
    assert "`tailorbird decide 3 --approve --reason …`" in end
    assert end.endswith("\n\nSee [the training run](http://mlflow/#/run).")


def test_a_check_that_the_gate_refused_comes_first_with_its_sentence() -> None:
    text = card(replace(SUBJECT, gate=GateResult(False, (*CHECKS, FAILED), GROUPS)))
    assert text.startswith("Version 3 was refused by the gate; it does not pass: covers the catalogue.\n")
    assert (
        "- ✗ **covers the catalogue**: 1 % of the catalogue, less than half of the reference's.\n- ✓ has figures,"
        in text
    )


def test_a_group_that_is_served_worse_is_named() -> None:
    worse = replace(GROUPS[1], high=-0.005, passed=False)
    assert "**Served worse: 1.** The worst off is age 19-24" in card(
        replace(SUBJECT, gate=GateResult(False, CHECKS, (GROUPS[0], worse)))
    )


def test_with_nobody_to_compare_with_there_are_no_differences_and_no_groups() -> None:
    text = card(replace(SUBJECT, reference=None, gains={}, gate=GateResult(True, CHECKS)))
    text = text.replace("\u2003", "")
    assert "|  | this version |\n| --- | --- |\n| NDCG@10 | 0.4393 (0.4255 to 0.4526) |\n" in text
    assert "## Groups" not in text
    assert "Gains" not in text


def test_names_out_of_the_data_are_no_markup() -> None:
    hostile = replace(GROUPS[1], trait="<script>alert(1)</script>", value="[a](javascript:b)|\n## Sold")
    text = card(replace(SUBJECT, gate=GateResult(True, CHECKS, (hostile,))))
    assert "&lt;script&gt;alert(1)&lt;/script&gt; \\[a\\](javascript:b)\\| ## Sold (80 people)" in text
    assert "<script" not in text


def test_another_verdict_takes_the_place_of_the_first_and_leaves_the_rest() -> None:
    text = card(SUBJECT)
    decided = with_verdict(text, "Version 3 was approved by Ada: better.")
    assert decided == text.replace("passed the gate and waits for a person's decision.", "was approved by Ada: better.")
    assert with_verdict(decided, "Version 3 was rejected by Ada: no.").count("## What it is") == 1
    assert (
        with_verdict("Version 1 waits.\n\n- ✓ **has figures**: yes", "Version 1 was rejected.")
        == "Version 1 was rejected.\n"
    )


def test_a_heading_in_a_reviewers_reason_is_not_taken_for_the_cards() -> None:
    once = with_verdict(card(SUBJECT), "Version 3 was approved by Ada: fine.\n\n## What it is\n\na trap")
    assert once.count("\n## What it is") == 1
    assert with_verdict(once, "Version 3 waits.") == with_verdict(card(SUBJECT), "Version 3 waits.")


@pytest.mark.parametrize("sentence", ["short", "long " * 2000])
def test_a_card_is_no_longer_than_mlflow_keeps_and_loses_no_way_to_decide(sentence: str) -> None:
    many = tuple(replace(FAILED, name=f"question {n}", detail="because of this and of that " * 5) for n in range(60))
    text = with_verdict(card(replace(SUBJECT, gate=GateResult(False, many, GROUPS))), sentence)
    assert len(text) <= LONGEST
    assert "… the rest is in the report.\n\n## To decide" in text
    assert text.endswith("See [the training run](http://mlflow/#/run).")


def test_every_kind_explains_itself_in_a_sentence() -> None:
    assert about("own_frequency").startswith("Repeat purchases: ")


def test_the_verdict_names_what_failed() -> None:
    assert verdict(2, GateResult(False, (FAILED, replace(FAILED, name="fast")))) == (
        "Version 2 was refused by the gate; it does not pass: covers the catalogue; fast."
    )


def test_warnings_and_questions_not_asked_stand_with_their_sentences() -> None:
    warning = Check("shows items evenly", 0.9, 0.84, Outcome.WARNING, "Gini index 0.900.")
    unasked = not_applicable("no group worse", "No trait divides people into groups.")
    text = card(replace(SUBJECT, gate=GateResult(True, (*SUBJECT.gate.checks, warning, unasked))))
    assert "- ! **shows items evenly**: Warning. Gini index 0.900." in text
    assert "- ? **no group worse**: Not asked. No trait divides people into groups." in text
