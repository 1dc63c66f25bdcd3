"""Decisions about versions, on the real servers: by command, by tag, by alias, too late, against the gate."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from models.errors import TailorbirdError
from tasks.promotion.champion import CHALLENGER, CHAMPION
from tasks.promotion.mlflow_annotations import NOTE
from tasks.promotion.review_requests import DecisionRefusedError
from tasks.reconciler.reconcile import reconcile_once
from tasks.scoring.roll_back import roll_back_model

if TYPE_CHECKING:
    from conftest import Desk, Shop


def stands(desk: Desk, version: int) -> None:
    """Assert that the table, the alias and the page of the version agree."""
    assert desk.champion()["model_version"] == version
    assert desk.registry.aliases()[CHAMPION] == version
    assert desk.champion()["alias_synced_at"] is not None


def within(seconds: float, happened: Any) -> bool:
    """Return whether it happened in time."""
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.5)
    return bool(happened())


def test_a_version_that_waits_is_the_challenger(desk: Desk) -> None:
    version = desk.ask()
    assert desk.registry.aliases()[CHALLENGER] == version
    assert "waits for a person" in desk.registry.version(version).description
    remaining = desk.review(version)["expires_at"] - desk.review(version)["requested_at"]
    assert remaining.days == 7


def test_an_approval_by_command_makes_it_the_champion_and_records_who_and_why(stocked: Shop, desk: Desk) -> None:
    before, version = desk.champion(), desk.ask()
    result = stocked.json("decide", str(version), "--approve", "--reason", "steadier", "--reviewer", "ann")
    assert (result["decision"], result["champion"]) == ("approved", version)
    stands(desk, version)
    now = desk.champion()
    assert (now["previous_promotion_id"], now["actor"], now["reason"]) == (before["promotion_id"], "ann", "steadier")
    assert (now["via"], now["overridden"], now["gate"][0]["name"]) == ("command", False, "is tall enough")
    page = desk.registry.version(version)
    assert (page.tags["review"], page.tags["reviewer"]) == ("approved", "ann")
    assert "approved by ann: steadier" in page.description
    assert CHALLENGER not in desk.registry.aliases()


def test_a_no_by_command_leaves_the_champion_and_is_not_changed_by_a_later_yes(stocked: Shop, desk: Desk) -> None:
    before, version = desk.champion()["model_version"], desk.ask()
    stocked.run("decide", str(version), "--reject", "--reason", "too few lists", "--reviewer", "bob")
    stands(desk, before)
    assert desk.registry.version(version).tags["review"] == "rejected"
    with pytest.raises(DecisionRefusedError, match=f"Version {version} was rejected by bob; a decision is not changed"):
        desk.decide(version)


def test_the_running_reconciler_applies_a_tag_within_a_minute(desk: Desk) -> None:
    version = desk.ask()
    desk.tag(version, reviewer="cleo", reason="seen on the page", review="approved")
    assert within(60, lambda: desk.champion()["model_version"] == version)
    assert within(10, lambda: desk.registry.aliases()[CHAMPION] == version)
    stands(desk, version)
    assert desk.champion()["via"] == "tag"
    assert desk.champion()["reason"] == "seen on the page"
    assert desk.champion()["actor"] == "cleo"


def test_a_tag_can_reject_too_and_an_alias_of_that_name_does_the_same(desk: Desk) -> None:
    first, second = desk.ask(), desk.ask()
    desk.tag(first, review="rejected")
    desk.registry.set_alias("rejected", second)
    reconcile_once()
    assert [desk.review(version)["decision"] for version in (first, second)] == ["rejected", "rejected"]
    assert "rejected" not in desk.registry.aliases()


def test_a_yes_by_tag_for_what_the_gate_refused_is_answered_on_the_version(desk: Desk) -> None:
    before, version = desk.champion()["model_version"], desk.ask(passed=False)
    desk.tag(version, review="approved")
    reconcile_once()
    stands(desk, before)
    page = desk.registry.version(version)
    assert "review" not in page.tags
    assert "Not approved: The gate refused version" in page.tags["review_note"]
    assert "is tall enough: It is 1 m tall." in page.description
    desk.tag(version, review="approved", override="short is fine this week")
    reconcile_once()
    stands(desk, version)
    assert (desk.champion()["overridden"], desk.champion()["reason"]) == (True, "short is fine this week")


def test_a_decision_that_was_made_is_put_on_the_version_again_when_somebody_changes_the_tag(desk: Desk) -> None:
    version = desk.ask()
    desk.decide(version, approve=False)
    desk.tag(version, review="approved")
    reconcile_once()
    assert desk.registry.version(version).tags["review"] == "rejected"
    assert desk.champion()["model_version"] != version


def test_the_champion_alias_moved_by_hand_to_a_version_that_passed_is_a_yes(desk: Desk) -> None:
    version = desk.ask()
    desk.registry.set_alias(CHAMPION, version)
    reconcile_once()
    stands(desk, version)
    assert desk.champion()["via"] == "alias"
    assert desk.review(version)["decision"] == "approved"


def test_an_alias_moved_back_to_an_earlier_champion_restores_it(desk: Desk) -> None:
    before, version = desk.champion(), desk.ask()
    desk.decide(version)
    desk.registry.set_alias(CHAMPION, before["model_version"])
    reconcile_once()
    stands(desk, before["model_version"])
    assert desk.champion()["restored_promotion_id"] == before["promotion_id"]


@pytest.mark.parametrize("case", ["refused", "rejected", "never reviewed"])
def test_an_alias_moved_to_a_version_that_may_not_answer_is_put_back_with_the_reason(desk: Desk, case: str) -> None:
    before = desk.champion()["model_version"]
    version = desk.version() if case == "never reviewed" else desk.ask(passed=case != "refused")
    if case == "rejected":
        desk.decide(version, approve=False)
    desk.registry.set_alias(CHAMPION, version)
    reconcile_once()
    stands(desk, before)
    why = {"refused": "The gate refused", "rejected": "was rejected by ann", "never reviewed": "There is no review of"}
    assert within(20, lambda: NOTE in desk.registry.version(version).tags)  # the running reconciler may have been first
    page = desk.registry.version(version)
    assert "The alias champion was put back" in page.tags[NOTE]
    assert why[case] in page.description


def test_an_alias_that_was_taken_away_comes_back(desk: Desk) -> None:
    before = desk.champion()["model_version"]
    desk.registry.drop_alias(CHAMPION)
    reconcile_once()
    stands(desk, before)


def test_a_review_that_nobody_decides_is_rejected_at_its_deadline(desk: Desk) -> None:
    version = desk.ask()
    desk.write(f"UPDATE reviews SET expires_at = now() - interval '1 second' WHERE model_version = {version}")
    with pytest.raises(DecisionRefusedError, match="was rejected by nobody"):
        desk.decide(version)
    late = desk.ask()
    desk.write(f"UPDATE reviews SET expires_at = now() - interval '1 second' WHERE model_version = {late}")
    reconcile_once()
    review = desk.review(late)
    assert (review["decision"], review["via"]) == ("rejected", "deadline")
    assert "Nobody decided until 20" in review["reason"]
    assert desk.registry.version(late).tags["review"] == "rejected"
    assert CHALLENGER not in desk.registry.aliases()


def test_a_refusal_is_overridden_only_on_purpose_and_with_a_reason(stocked: Shop, desk: Desk) -> None:
    version = desk.ask(passed=False)
    with pytest.raises(DecisionRefusedError, match=r"is tall enough: It is 1 m tall\. .* --override"):
        desk.decide(version, reason="I like it")
    with pytest.raises(DecisionRefusedError, match="Say why"):
        desk.decide(version, reason="  ", override=True)
    stocked.run("decide", str(version), "--approve", "--override", "--reason", "a week's trial")
    stands(desk, version)
    assert (desk.champion()["overridden"], desk.champion()["reason"]) == (True, "a week's trial")


def test_a_version_that_was_held_against_another_champion_is_reviewed_again_first(desk: Desk) -> None:
    first, second = desk.ask(), desk.ask()
    desk.decide(first)
    with pytest.raises(DecisionRefusedError, match=r"compared with another champion.*Run `tailorbird review` again"):
        desk.decide(second)
    assert desk.review(second)["decision"] is None
    desk.ask(second)
    desk.decide(second)
    stands(desk, second)


def test_a_rollback_returns_to_the_champion_before_and_to_its_lists(stocked: Shop, desk: Desk) -> None:
    before, live = desk.champion(), stocked.json("status")["batch"]
    version = desk.ask()
    desk.decide(version)
    stocked.run("score")
    assert stocked.json("status")["batch"]["model_version"] == version
    result = stocked.json("rollback", "model", "--reason", "complaints", "--actor", "ann")
    assert (result["from"], result["to"], result["batches"]["home"]) == (version, before["model_version"], live["id"])
    stands(desk, before["model_version"])
    assert desk.champion()["restored_promotion_id"] == before["promotion_id"]
    assert {row["batch_id"] for row in stocked.json("recommend", "household-0001")} == {live["id"]}
    with pytest.raises(TailorbirdError, match=f"There is no champion before version {before['model_version']}"):
        roll_back_model.fn("ann", "more")


def test_with_automatic_reviews_what_passes_is_promoted_at_once_and_recorded_as_that(stocked: Shop, desk: Desk) -> None:
    desk.decide(desk.ask())  # a champion that is learned again in no time
    before = desk.champion()
    newer = stocked.json("features", "--as-of", "2017-12-17", "--validation-days", "30", "--test-days", "31")["version"]
    try:
        models = ("--model", "most_popular", "--model", "own_frequency")
        output = stocked.run("review", "--dataset", newer, *models, TAILORBIRD_REVIEW="auto")
        now = desk.champion()
        assert now["previous_promotion_id"] == before["promotion_id"]
        assert (now["dataset_version"], now["via"], now["actor"]) == (newer, "auto", "the gate")
        assert f"Version {now['model_version']}: approved." in output
        stands(desk, now["model_version"])
    finally:
        desk.write(f"DELETE FROM datasets WHERE version = '{newer}'")
