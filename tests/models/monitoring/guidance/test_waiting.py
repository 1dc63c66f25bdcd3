"""Tests the next step while commands or runs of the worker are under way."""

import pytest

from models.monitoring.guidance.next_step import Stage, Step
from models.monitoring.guidance.waiting import Work, wait_for

TRAIN = Step(Stage.DATASET, "No model is trained on data set d1 yet.", "tailorbird train")
DECIDE = Step(Stage.WAITING, "Version 3 waits.", 'tailorbird decide 3 --approve --reason "…"')
SCORE = Step(Stage.STALE, "The lists of home are out of date.", "tailorbird score home")
RETRAIN = Work("retrain", "`tailorbird retrain --minutes 3` (process 9244, since 2026-11-28 05:00 UTC)")


@pytest.mark.parametrize("flow", ["features", "search", "train", "review", "retrain", "demo"])
def test_while_a_model_is_made_the_next_step_is_to_wait_for_it(flow: str) -> None:
    step = wait_for(TRAIN, [Work(flow, f"{flow} (since 05:00)")])
    assert (step.stage, step.command, step.also) == (Stage.UNDER_WAY, "tailorbird status", "")
    assert step.situation == f"{TRAIN.situation} {flow} (since 05:00) is under way; wait until it has ended."


def test_several_works_are_named_together() -> None:
    step = wait_for(TRAIN, [RETRAIN, Work("search", "search als")])
    assert step.situation.endswith("UTC) and search als are under way; wait until they have ended.")


def test_work_that_has_nothing_to_do_with_the_next_step_changes_nothing() -> None:
    assert wait_for(TRAIN, []) is TRAIN
    assert wait_for(TRAIN, [Work("ingest", "an ingest"), Work("score", "score home"), Work("", "")]) is TRAIN


def test_the_same_command_is_not_named_a_second_time() -> None:
    assert wait_for(SCORE, [Work("score", "score home")]).command == "tailorbird status"
    ingest = Step(Stage.EMPTY, "Nothing is ingested yet.", "tailorbird ingest MAPPING PATH…")
    assert wait_for(ingest, [Work("ingest", "ingest shop")]).stage is Stage.UNDER_WAY


def test_a_person_may_decide_meanwhile_and_make_lists_if_the_work_makes_none() -> None:
    assert wait_for(DECIDE, [RETRAIN]).also == f"Meanwhile you can run `{DECIDE.command}`."
    assert wait_for(SCORE, [Work("search", "search als")]).also == "Meanwhile you can run `tailorbird score home`."
    assert wait_for(SCORE, [RETRAIN]).also == ""
