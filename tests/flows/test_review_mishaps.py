"""Versions that were deleted, damaged or requested again, and tags that people set at the wrong moment.

REVIEW_ROUNDS states how often a race is run; `make faults` runs it a hundred times.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from mlflow import MlflowClient

from infra.configuration.settings import Settings
from infra.registry.connection import NAME, VersionGoneError
from infra.services.processes import end_strays
from infra.supervisor import commands
from tasks.promotion.champion import CHALLENGER, CHAMPION
from tasks.promotion.mlflow_annotations import annotate_version
from tasks.promotion.review_requests import DecisionRefusedError
from tasks.reconciler.mlflow_requests import _promote_moved, apply_moved_alias
from tasks.reconciler.reconcile import reconcile_once
from tasks.review.review_models import _run_of

if TYPE_CHECKING:
    from conftest import Desk, Shop

ROUNDS = int(os.environ.get("REVIEW_ROUNDS", "2"))


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
    assert _run_of(desk.champion()) == run_id
    other = desk.version()
    desk.registry.set_alias(CHAMPION, other)
    reconcile_once()
    assert CHAMPION not in desk.registry.aliases()
    assert "was put back" in desk.registry.version(other).tags["review_note"]


def test_a_version_whose_model_is_lost_gets_a_note_and_others_are_decided_all_the_same(desk: Desk) -> None:
    before = desk.champion()["model_version"]
    without_files, other = desk.ask(without_model(desk)), desk.ask()
    desk.tag(without_files, review="approved")
    desk.tag(other, review="rejected", reviewer="ann")
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
        assert within(10, lambda: desk.registry.aliases()[CHAMPION] != version)
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


def test_a_note_goes_when_its_reason_is_over(desk: Desk) -> None:
    version = desk.ask(passed=False)
    desk.tag(version, review="approved")
    reconcile_once()
    assert "review_note" in desk.registry.version(version).tags
    desk.decide(version, override=True)
    assert "review_note" not in desk.registry.version(version).tags


def test_a_tag_that_is_set_while_the_report_is_made_is_applied(desk: Desk) -> None:
    version = desk.ask()
    review = desk.review(version)
    desk.tag(version, review="rejected", reviewer="ann")
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
    desk.tag(version, review="rejected", reviewer="nobody")  # as it may still stand there for a moment
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


def within(seconds: float, happened: Any) -> bool:
    """Return whether it happened in time."""
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.5)
    return bool(happened())


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
