"""A rollback by mistake is corrected by another yes, whichever way it is given."""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select, text

from infra.bundles import promoted
from infra.bundles.manifest import BundleRefusedError
from infra.database.schema.schema import promotions
from infra.installation import Installation
from infra.registry.client import MODEL_PATH, Registry
from models.errors import TailorbirdError
from tasks.promotion.apply_decision import apply_decision, promote_again, reopen
from tasks.promotion.champion import CHAMPION, current_champion, sync_aliases
from tasks.promotion.decide_review import decide_review
from tasks.promotion.mlflow_annotations import NOTE, REOPENED, ROLLED_BACK
from tasks.promotion.review_requests import Decision, DecisionRefusedError, review_of
from tasks.reconciler.mlflow_requests import apply_mlflow_tags, apply_moved_alias
from tasks.scoring.roll_back import roll_back_model, rollback_effect

YES, AGAIN = Decision(True, "ann", "better", "command"), Decision(True, "bob", "the rollback was a slip", "command")
FIRST, SECOND = 1, 2
"""Versions that became the champion in this order."""


class Store(Registry):
    """A registry in MLflow's own store, without a server to ask."""

    @property
    def is_available(self) -> bool:
        return True


class Shop(NamedTuple):
    """Two versions were promoted, one after the other."""

    stage: Any
    here: Installation
    registry: Registry
    folder: Path

    def rows(self) -> list[dict[str, Any]]:
        with self.here.engine.connect() as connection:
            return [dict(row) for row in connection.execute(select(promotions).order_by("promotion_id")).mappings()]

    def version(self) -> int:
        return int(self.rows()[-1]["model_version"])

    def roll_back(self) -> None:
        roll_back_model.fn("cleo", "complaints")
        sync_aliases(self.here.engine, self.registry)

    def reconcile_tags(self) -> list[str]:
        return [*apply_mlflow_tags(self.here, self.registry), *apply_moved_alias(self.here, self.registry)]

    def tags(self) -> dict[str, str]:
        return dict(self.registry.version(SECOND).tags)


@pytest.fixture
def shop(stage: Any, mlflow_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.chdir(tmp_path)  # where such a store keeps artifacts
    made = Shop(stage, stage.here, Store(mlflow_store), tmp_path)
    for kind in ("most_popular", "own_frequency"):
        version = stage.ask(made.registry, tmp_path / kind, kind)
        apply_decision(stage.here, made.registry, version, YES)
    assert version == SECOND
    return made


def test_a_yes_after_a_rollback_is_a_new_promotion_with_its_own_reason(shop: Shop) -> None:
    assert rollback_effect(shop.here) == "Version 1 becomes the champion again, in place of version 2."
    shop.roll_back()
    decided = apply_decision(shop.here, shop.registry, SECOND, AGAIN)
    assert (decided["reviewer"], decided["reason"], decided["rolled_back"]) == ("bob", AGAIN.reason, None)
    first, second, third, fourth = shop.rows()
    assert [row["model_version"] for row in (first, second, third, fourth)] == [FIRST, SECOND, FIRST, SECOND]
    assert (second["actor"], second["reason"]) == ("ann", "better")
    assert (fourth["actor"], fourth["reason"], fourth["via"]) == ("bob", AGAIN.reason, "command")
    assert (fourth["previous_promotion_id"], fourth["restored_promotion_id"]) == (
        third["promotion_id"],
        second["promotion_id"],
    )
    shop.roll_back()
    assert shop.version() == FIRST
    with pytest.raises(TailorbirdError, match="There is no champion before version 1"):
        shop.roll_back()


def test_after_two_rollbacks_any_later_champion_can_be_promoted_again(shop: Shop) -> None:
    third = shop.stage.ask(shop.registry, shop.folder / "third")
    apply_decision(shop.here, shop.registry, third, YES)
    shop.roll_back()
    shop.roll_back()
    assert [bool(review_of(shop.here, version)["rolled_back"]) for version in (FIRST, SECOND, third)] == [0, 1, 1]
    apply_decision(shop.here, shop.registry, third, AGAIN)
    assert shop.version() == third
    with pytest.raises(
        DecisionRefusedError, match=rf"version {third} replaced it since.*`tailorbird rollback model --reason"
    ):
        apply_decision(shop.here, shop.registry, SECOND, AGAIN)
    shop.roll_back()
    assert shop.version() == SECOND


def test_an_approval_of_the_champion_changes_nothing_and_reports_that_its_reason_is_not_recorded(shop: Shop) -> None:
    before = shop.rows()
    again = decide_review.fn(SECOND, True, "bob", "me too")
    assert (again["reason"], again["champion"]) == ("better", SECOND)
    assert again["remark"] == "Nothing changed: version 2 was approved before, and the new reason was not recorded."
    assert decide_review.fn(SECOND, True, "ann", "better")["remark"] is None
    assert shop.rows() == before


def test_reasons_that_refuse_a_promotion_refuse_another_one(shop: Shop) -> None:
    shop.roll_back()
    here, before = shop.here, shop.rows()
    never = replace(here, settings=here.settings.model_copy(update={"review": "never"}))
    with pytest.raises(DecisionRefusedError, match="TAILORBIRD_REVIEW is `never`"):
        apply_decision(never, shop.registry, SECOND, AGAIN)
    with pytest.raises(DecisionRefusedError, match="Say why"):
        apply_decision(here, shop.registry, SECOND, replace(AGAIN, reason=" "))
    with here.engine.begin() as connection:
        connection.execute(text("UPDATE reviews SET passed = false, gate = '[]'"))
    with pytest.raises(DecisionRefusedError, match=f"The gate refused version {SECOND}"):
        apply_decision(here, shop.registry, SECOND, AGAIN)
    run = shop.registry.run(str(shop.registry.version(SECOND).run_id))
    stored, bundle = (Path(urlsplit(run.artifact_uri).path) / MODEL_PATH, Path(before[1]["bundle"]))
    for folder in (stored, bundle):
        config = (folder / "config.json").read_bytes()
        (folder / "config.json").write_text("{}")
        with pytest.raises(BundleRefusedError):
            apply_decision(here, shop.registry, SECOND, replace(AGAIN, override=True))
        (folder / "config.json").write_bytes(config)
    assert (shop.rows(), review_of(here, SECOND)["reason"]) == (before, "better")
    apply_decision(here, shop.registry, SECOND, replace(AGAIN, override=True))
    assert shop.version() == SECOND


def test_a_yes_that_a_newer_champion_overtakes_is_refused(shop: Shop) -> None:
    shop.roll_back()
    seen = review_of(shop.here, SECOND)
    newer = shop.stage.ask(shop.registry, shop.folder / "newer")
    apply_decision(shop.here, shop.registry, newer, YES)
    with pytest.raises(DecisionRefusedError, match="decided or reviewed again"):
        promote_again(shop.here, shop.registry, seen, AGAIN)
    assert (shop.version(), review_of(shop.here, SECOND)["reason"]) == (newer, "better")


def test_a_tag_is_a_yes_again_only_if_it_was_set_after_the_rollback(shop: Shop) -> None:
    shop.registry.tag_version(SECOND, {"reason": "an old one"})
    shop.roll_back()
    assert shop.reconcile_tags() == []
    assert shop.version() == FIRST
    assert shop.tags()[ROLLED_BACK] == "2"
    assert not {"review", "reviewer", "reason"} & shop.tags().keys()
    assert "It was rolled back since." in str(shop.registry.version(SECOND).description)
    shop.registry.tag_version(SECOND, {"review": "approved"})
    assert shop.reconcile_tags() == ["Version 2: Not approved again: set the tag `reason` before `review`."]
    assert (shop.version(), "review" in shop.tags(), NOTE in shop.tags()) == (FIRST, False, True)
    shop.registry.tag_version(SECOND, {"reviewer": "bob", "reason": "a slip", "review": "approved"})
    assert shop.reconcile_tags() == ["Version 2 was approved by bob."]
    now = shop.rows()[-1]
    assert (now["model_version"], now["actor"], now["reason"], now["via"]) == (SECOND, "bob", "a slip", "tag")
    assert shop.reconcile_tags() == []
    assert not {ROLLED_BACK, NOTE} & shop.tags().keys()
    assert (shop.tags()["review"], shop.tags()["reviewer"]) == ("approved", "bob")


def test_a_no_by_tag_after_a_rollback_is_refused_on_the_version(shop: Shop) -> None:
    shop.roll_back()
    shop.reconcile_tags()
    shop.registry.tag_version(SECOND, {"reviewer": "bob", "reason": "right so", "review": "rejected"})
    (received,) = shop.reconcile_tags()
    assert "Version 2 was not rejected: Version 2 was approved by ann; a decision is not changed." in received
    assert (shop.version(), "review" in shop.tags()) == (FIRST, False)


@pytest.mark.parametrize("alias", ["approved", CHAMPION])
def test_an_alias_after_a_rollback_is_a_yes_again(shop: Shop, alias: str) -> None:
    shop.roll_back()
    shop.registry.set_alias(alias, SECOND)
    shop.reconcile_tags()
    sync_aliases(shop.here.engine, shop.registry)
    with shop.here.engine.connect() as connection:
        holder = current_champion(connection)
    assert holder is not None
    assert holder["model_version"] == shop.registry.aliases()[CHAMPION] == SECOND
    assert promoted.verify_promoted(holder).kind == "own_frequency"
    assert review_of(shop.here, SECOND)["rolled_back"] is None


def test_a_rejected_version_is_approved_after_another_request_and_both_answers_stay_on_record(shop: Shop) -> None:
    third = shop.stage.ask(shop.registry, shop.folder / "third")
    apply_decision(shop.here, shop.registry, third, replace(YES, approve=False, reason="too few lists"))
    with pytest.raises(DecisionRefusedError, match=rf"`tailorbird review --again {third} --reason"):
        apply_decision(shop.here, shop.registry, third, YES)
    review = reopen(shop.here, shop.registry, third, "bob", "the lists were read wrongly")
    assert [review[name] for name in ("decision", "reviewer", "reason", "via", "decided_at")] == [None] * 5
    assert (review["gate"][-1]["name"], review["gate"][-1]["outcome"]) == ("rejected before", "warning")
    assert shop.reconcile_tags() == []  # the tags of the rejection are no second one
    assert shop.registry.aliases()["challenger"] == third
    page = shop.registry.version(third)
    assert (page.tags[REOPENED], "review" in page.tags) == ("1", False)
    assert "too few lists; asked again by bob: the lists were read wrongly" in str(page.description)
    apply_decision(shop.here, shop.registry, third, YES)
    assert (shop.version(), shop.registry.version(third).tags["review"]) == (third, "approved")
    assert "ann at 20" in shop.rows()[-1]["gate"][-1]["detail"]
    with shop.here.engine.connect() as connection:
        entry = connection.execute(text("SELECT subject, actor, reason, detail FROM audit_log")).mappings().one()
    assert (entry["subject"], entry["actor"], entry["reason"]) == ("version 3", "bob", "the lists were read wrongly")
    assert {name: entry["detail"][name] for name in ("decision", "reviewer", "reason", "via")} == {
        "decision": "rejected", "reviewer": "ann", "reason": "too few lists", "via": "command"
    }  # fmt: skip


def test_tags_that_were_set_before_a_review_was_reopened_reject_nothing(shop: Shop) -> None:
    third = shop.stage.ask(shop.registry, shop.folder / "third")
    for reviewer, reason in (("bob", "odd"), ("cleo", "odder")):
        shop.registry.tag_version(third, {"reviewer": reviewer, "reason": reason, "review": "rejected"})
        assert shop.reconcile_tags() == [f"Version {third} was rejected by {reviewer}."]
        away = Registry("http://127.0.0.1:9")  # the reconciler finds the old tags
        assert reopen(shop.here, away, third, "ann", "once more")["decision"] is None
        assert (shop.reconcile_tags(), review_of(shop.here, third)["decision"]) == ([], None)
    assert [check["detail"].split(" at ")[0] for check in review_of(shop.here, third)["gate"][-2:]] == ["bob", "cleo"]
