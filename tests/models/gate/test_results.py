from math import isnan

import pytest

from models.gate.results import Outcome, at_most, gate_result, not_applicable, stored_outcome


def test_only_a_refusal_keeps_a_candidate_from_being_promoted() -> None:
    fine, unasked = at_most("is small", 1.0, 2.0, "1 MB."), not_applicable("is liked", "Nobody was asked.")
    assert gate_result([fine, unasked]).passed
    assert not gate_result([fine, unasked, at_most("is fast", 3.0, 2.0, "3 s.")]).passed


def test_a_question_that_was_not_asked_did_not_pass() -> None:
    unasked = not_applicable("is liked", "Nobody was asked.")
    assert (unasked.passed, unasked.refused) == (False, False)
    assert isnan(unasked.value)


@pytest.mark.parametrize(
    ("stored", "result"),
    [
        ({"outcome": "not asked"}, Outcome.NOT_APPLICABLE),
        ({"outcome": "warning"}, Outcome.WARNING),
        ({"passed": True}, Outcome.PASSED),
        ({"passed": False}, Outcome.REFUSED),
    ],
)
def test_stored_checks_are_read_also_from_before_there_were_warnings(
    stored: dict[str, object], result: Outcome
) -> None:
    assert stored_outcome(stored) is result
