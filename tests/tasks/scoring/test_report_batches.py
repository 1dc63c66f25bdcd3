"""The report of a scoring run, whatever became of its placements."""

from typing import Any

import pytest

from models.errors import TailorbirdError
from tasks.scoring.score_placement import report_batches


def batch(placement: str) -> dict[str, Any]:
    entries = {"placement": placement, "batch_id": 1, "model_version": 1, "users": 1, "recommendations": 1}
    return entries | {"status": "published", "summary": {}}


def test_all_refusals_are_reported_at_once_with_the_placements_that_are_shown() -> None:
    made = [batch("home"), TailorbirdError("Email is odd."), batch("buy-again"), TailorbirdError("Items are few.")]
    with pytest.raises(TailorbirdError, match=r"Email is odd\. Items are few\. Placements .*: home, buy-again\."):
        report_batches(made)


def test_one_reason_of_several_placements_stands_once() -> None:
    made: list[Any] = [TailorbirdError("No model was promoted yet.") for _ in range(5)]
    with pytest.raises(TailorbirdError, match=r"^No model was promoted yet\. Placements .*: none\.$"):
        report_batches(made)


def test_a_defect_stays_one() -> None:
    with pytest.raises(ZeroDivisionError):
        report_batches([batch("home"), TailorbirdError("Email is odd."), ZeroDivisionError()])


def test_without_refusals_the_batches_are_what_was_made() -> None:
    assert report_batches([batch("home")]) == [batch("home")]
