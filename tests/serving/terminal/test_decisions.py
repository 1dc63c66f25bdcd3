"""The printed result of a rollback, in numbers of lists."""

import pytest

from serving.terminal.training import print_decision, print_rollback


def test_a_rollback_of_lists_prints_how_many_there_are_now_and_were_before(capsys: pytest.CaptureFixture[str]) -> None:
    print_rollback({"from": 5, "batch_id": 3, "model_version": 1, "users": 1200, "users_before": 1500, "next": None})
    assert "It has 1,200 lists of version 1; before the rollback there were 1,500." in capsys.readouterr().out


def test_a_rollback_of_the_model_prints_the_lists_of_every_placement(capsys: pytest.CaptureFixture[str]) -> None:
    lists = {"home": {"now": 4, "before": 5}, "email": {"now": 7, "before": 7}}
    print_rollback({"from": 2, "to": 1, "batches": {"home": 3, "email": None}, "lists": lists, "next": None})
    shown = capsys.readouterr().out
    assert "home: batch 3 is shown again, with 4 lists; before the rollback there were 5" in shown
    assert "email: no lists of it are kept, so the 7 lists shown before stay" in shown
    assert 'To take this rollback back: tailorbird decide 2 --approve --reason "…"' in shown


def test_a_decision_that_was_made_before_is_printed_with_its_remark_first(capsys: pytest.CaptureFixture[str]) -> None:
    made = {"model_version": 2, "decision": "approved", "reviewer": "ann", "reason": "better", "champion": 2}
    print_decision(made | {"remark": "Nothing changed."})
    assert capsys.readouterr().out.startswith("Nothing changed.\nVersion 2 was approved by ann: better\n")
