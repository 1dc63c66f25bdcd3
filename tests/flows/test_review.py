"""Decisions about versions, on the real servers: by command, by tag, by alias, too late, against the gate."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mlflow import MlflowClient

from infra.bundles.promoted import verify_promoted
from infra.configuration.settings import Settings
from infra.registry.connection import NAME, VersionGoneError
from infra.services.processes import end_strays
from infra.supervisor import commands
from models.errors import TailorbirdError
from tasks.promotion.champion import CHALLENGER, CHAMPION
from tasks.promotion.mlflow_annotations import NOTE, annotate_version
from tasks.promotion.review_requests import DecisionRefusedError
from tasks.reconciler.mlflow_requests import _promote_moved, apply_moved_alias
from tasks.reconciler.reconcile import reconcile_once
from tasks.scoring.roll_back import roll_back_model
from tests.waiting import until

if TYPE_CHECKING:
    from conftest import Desk, Shop

ROUNDS = int(os.environ.get("REVIEW_ROUNDS", "2"))


def stands(desk: Desk, version: int) -> None:
    """Assert that the table, the alias and the page of the version agree."""
    assert desk.champion()["model_version"] == version
    assert desk.registry.aliases()[CHAMPION] == version
    assert desk.champion()["alias_synced_at"] is not None


def delete(desk: Desk, version: int) -> None:
    """Delete a version, as a person does in MLflow."""
    MlflowClient(desk.installation.endpoints.mlflow_tracking_uri).delete_model_version(NAME, str(version))


def without_model(desk: Desk) -> int:
    """Register a version whose run has no model any more."""
    client = MlflowClient(desk.installation.endpoints.mlflow_tracking_uri)
    run = client.create_run(client.get_experiment_by_name(NAME).experiment_id, tags={"kind": "own_frequency"})  # type: ignore[union-attr]
    source = f"{run.info.artifact_uri}/model"
    return int(client.create_model_version(NAME, source, run.info.run_id, await_creation_for=0).version)


def expire_now(desk: Desk, version: int) -> None:
    desk.write(f"UPDATE reviews SET expires_at = now() - interval '1 second' WHERE model_version = {version}")
    reconcile_once()


def test_an_approval_by_command_makes_it_the_champion_and_records_who_and_why(stocked: Shop, desk: Desk) -> None:
    before, version = desk.champion(), desk.ask()
    assert desk.registry.aliases()[CHALLENGER] == version
    assert "waits for a person" in desk.registry.version(version).description
    assert (desk.review(version)["expires_at"] - desk.review(version)["requested_at"]).days == 7
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


def test_a_version_is_exported_by_command_and_not_imported_where_it_was_trained(
    stocked: Shop, desk: Desk, tmp_path: Path
) -> None:
    version, to = desk.ask(), str(tmp_path / "exchange" / "version")
    exported = stocked.json("model", "export", str(version), to)
    assert (exported["version"], exported["kind"], exported["folder"]) == (version, "own_frequency", to)
    assert exported["bytes"] > 100_000
    assert "exists. Name a new folder." in stocked.run("model", "export", str(version), to, code=1)
    refused = stocked.run("model", "import", to, "--reason", "to see it refused", code=1)
    assert "The model was trained in this installation" in refused
    assert desk.review(version)["decision"] is None


def test_the_running_reconciler_applies_a_tag_within_a_minute(desk: Desk) -> None:
    version = desk.ask()
    desk.tag(version, reviewer="cleo", reason="seen on the page", review="approved")
    until(lambda: desk.champion()["model_version"] == version, 60)
    until(lambda: desk.registry.aliases()[CHAMPION] == version, 10)
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
    assert "review_note" not in desk.registry.version(version).tags


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
    until(lambda: NOTE in desk.registry.version(version).tags, 20)  # the running reconciler may have been first
    page = desk.registry.version(version)
    assert "The alias champion was put back" in page.tags[NOTE]
    assert why[case] in page.description


def test_an_alias_that_was_taken_away_comes_back(desk: Desk) -> None:
    before = desk.champion()["model_version"]
    desk.registry.drop_alias(CHAMPION)
    reconcile_once()
    stands(desk, before)


def test_a_review_that_nobody_decides_is_rejected_at_its_deadline(desk: Desk) -> None:
    late = desk.ask()
    expire_now(desk, late)
    review = desk.review(late)
    assert (review["decision"], review["via"]) == ("rejected", "deadline")
    assert "Nobody decided until 20" in review["reason"]
    assert desk.registry.version(late).tags["review"] == "rejected"
    assert CHALLENGER not in desk.registry.aliases()


def test_a_refusal_is_overridden_by_command_and_the_reason_is_recorded(stocked: Shop, desk: Desk) -> None:
    version = desk.ask(passed=False)
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


def test_a_challenger_that_was_deleted_in_mlflow_stops_no_other_decision(desk: Desk) -> None:
    version, gone = desk.ask(), desk.ask()
    delete(desk, gone)
    reconcile_once()
    assert CHALLENGER not in desk.registry.aliases()
    with pytest.raises(VersionGoneError, match=f"Version {gone} was deleted in MLflow: run `tailorbird review` again"):
        desk.decide(gone)
    desk.decide(gone, approve=False)
    desk.decide(version)
    assert desk.registry.aliases()[CHAMPION] == version


def test_a_champion_that_was_deleted_in_mlflow_answers_and_is_compared_with_all_the_same(desk: Desk) -> None:
    version = desk.ask()
    run_id = desk.registry.version(version).run_id
    desk.decide(version)
    delete(desk, version)
    assert reconcile_once() == []
    assert desk.champion()["model_version"] == version
    assert verify_promoted(desk.champion()).run_id == run_id
    other = desk.version()
    desk.registry.set_alias(CHAMPION, other)
    reconcile_once()
    assert CHAMPION not in desk.registry.aliases()
    assert "was put back" in desk.registry.version(other).tags["review_note"]


def test_a_version_whose_model_is_lost_gets_a_note_and_others_are_decided_all_the_same(desk: Desk) -> None:
    before = desk.champion()["model_version"]
    without_files, other = desk.ask(without_model(desk)), desk.ask()
    desk.tag(without_files, review="approved")
    desk.tag(other, reviewer="ann", review="rejected")
    reconcile_once()
    assert desk.review(without_files)["decision"] is None
    assert "Not approved: " in desk.registry.version(without_files).tags["review_note"]
    assert desk.review(other)["decision"] == "rejected"
    desk.registry.set_alias(CHAMPION, without_files)
    reconcile_once()
    assert desk.registry.aliases()[CHAMPION] == before
    assert "was put back" in desk.registry.version(without_files).tags["review_note"]


def test_while_reviews_are_switched_off_an_alias_moved_to_an_earlier_champion_is_refused(desk: Desk) -> None:
    before, version = desk.champion()["model_version"], desk.ask()
    desk.decide(version)
    never = replace(desk.installation, settings=desk.installation.settings.model_copy(update={"review": "never"}))
    with pytest.raises(DecisionRefusedError, match="TAILORBIRD_REVIEW is `never`"):
        _promote_moved(never, desk.registry, desk.champion(), before)
    assert desk.champion()["model_version"] == version


def test_a_persons_description_of_a_version_stays_below_the_note(desk: Desk) -> None:
    version = desk.version()
    desk.registry.describe(version, "Trained by hand.\n\nSee the wiki.")
    for _ in range(2):
        desk.registry.set_alias(CHAMPION, version)
        reconcile_once()
        until(lambda: desk.registry.aliases()[CHAMPION] != version, 10)
    note, *others = desk.registry.version(version).description.split("\n\n")
    assert note.startswith("**The alias champion was put back: There is no review")
    assert others == ["Trained by hand.", "See the wiki."]


def test_two_reconcilers_that_see_the_same_alias_at_once_do_not_note_that_it_was_put_back(desk: Desk) -> None:
    first, second = desk.ask(), desk.version()
    desk.decide(first)
    desk.decide(desk.ask(second))
    for moved in (first, second) * ROUNDS:
        desk.registry.set_alias(CHAMPION, moved)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: list(apply_moved_alias(desk.installation, desk.registry)), range(2)))
        assert (desk.champion()["model_version"], desk.registry.aliases()[CHAMPION]) == (moved, moved)
        assert "review_note" not in desk.registry.version(moved).tags


def test_a_tag_that_is_set_while_the_report_is_made_is_applied(desk: Desk) -> None:
    version = desk.ask()
    review = desk.review(version)
    desk.tag(version, reviewer="ann", review="rejected")
    annotate_version(desk.registry, review)
    reconcile_once()
    assert (desk.review(version)["decision"], desk.review(version)["reviewer"]) == ("rejected", "ann")


def test_an_expired_review_can_be_requested_again(desk: Desk) -> None:
    version = desk.ask()
    expire_now(desk, version)
    with pytest.raises(DecisionRefusedError, match=r"was rejected by nobody.*Next: `tailorbird review` asks again"):
        desk.decide(version)
    desk.ask(version)
    assert not {"review", "reviewer"} & set(desk.registry.version(version).tags)
    desk.tag(version, reviewer="nobody", review="rejected")  # as it may still stand there for a moment
    reconcile_once()
    assert desk.review(version)["decision"] is None
    desk.decide(version)
    assert desk.champion()["model_version"] == version


def test_an_approving_alias_is_taken_away_only_from_the_version_that_it_is_on(desk: Desk) -> None:
    approved, other = desk.ask(), desk.version()
    desk.decide(approved)
    desk.registry.set_alias("approved", other)
    reconcile_once()
    assert desk.registry.aliases()["approved"] == other
    desk.registry.drop_alias("approved")


def test_with_mlflow_away_a_no_and_a_rollback_answer_at_once_and_the_alias_follows_later(
    stocked: Shop, desk: Desk
) -> None:
    before, version, other = desk.champion()["model_version"], desk.ask(), desk.version()
    desk.decide(version)
    desk.ask(other)
    supervisor = stocked.process("supervisor")
    supervisor.suspend()  # otherwise it starts MLflow again within seconds
    stocked.kill("mlflow")
    end_strays(commands.mark(Settings(var=stocked.var), "mlflow"))
    try:
        stocked.run("decide", str(other), "--reject", "--reason", "an outage", "--reviewer", "ann")
        assert desk.review(other)["decision"] == "rejected"
        output = stocked.run("decide", str(other), "--approve", "--reason", "an outage", code=1)
        assert "Not reachable: mlflow" in output
        result = stocked.json("rollback", "model", "--reason", "an outage", "--actor", "ann")
        assert (result["from"], result["to"]) == (version, before)
        assert desk.champion()["model_version"] == before
        assert desk.champion()["alias_synced_at"] is None
    finally:
        supervisor.resume()
        stocked.run("up")
    reconcile_once()
    assert desk.champion()["model_version"] == desk.registry.aliases()[CHAMPION] == before
    assert desk.champion()["alias_synced_at"] is not None
