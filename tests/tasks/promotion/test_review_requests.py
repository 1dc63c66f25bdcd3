from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from infra.installation import Installation
from infra.registry.client import Registry
from models.errors import TailorbirdError
from models.gate.results import Check, GateResult, GroupResult, outcome
from tasks.promotion.apply_decision import _check, apply_decision, reopen
from tasks.promotion.recorded_bundles import TrainedBundle
from tasks.promotion.review_requests import (
    APPROVED,
    REJECTED,
    Decision,
    DecisionRefusedError,
    close,
    expire,
    open_reviews,
    request,
    review_of,
)

YES, NO = Decision(True, "bob", "fine", "form"), Decision(False, "ann", "too few lists", "command")


def gate(passed: bool = True, value: float = 1.0) -> GateResult:
    groups = (GroupResult("age", "old", 9, 0.4, 0.4, 0.0, -0.1, 0.1, False, True),)
    return GateResult(passed, (Check("is tall", value, 2.0, outcome(passed), "1 m."),), groups)


def request_review(installation: Installation, version: int, **changes: Any) -> dict[str, Any]:
    return request(installation, "v1", version, bundle(version), gate(**changes), 0)


def bundle(version: int, digest: str = "a digest") -> TrainedBundle:
    return TrainedBundle(f"run {version}", "a key", "als", "v1", digest, "figures")


def test_a_review_is_found_by_its_version_or_is_the_newest(installation: Installation) -> None:
    with pytest.raises(TailorbirdError, match=r"^Nothing is ingested yet\. Next: `tailorbird ingest"):
        review_of(installation)
    request_review(installation, 3)
    request_review(installation, 4)
    assert review_of(installation)["model_version"] == 4
    assert review_of(installation, 3)["model_version"] == 3
    with pytest.raises(TailorbirdError, match="no review of version 9"):
        review_of(installation, 9)


def test_a_request_keeps_the_gate_and_what_could_not_be_measured_is_empty(installation: Installation) -> None:
    review = request_review(installation, 3, value=float("nan"))
    assert review["gate"][0] | {"low": None, "high": None} == {
        "name": "is tall", "value": None, "limit": 2.0, "outcome": "passed", "detail": "1 m.", "low": None, "high": None
    }  # fmt: skip
    assert review["groups"][0]["trait"] == "age"
    assert review["expires_at"] - review["requested_at"] == timedelta(days=7)


def test_a_request_that_is_open_or_too_old_is_renewed_and_a_decided_one_stays(installation: Installation) -> None:
    first = request_review(installation, 3, passed=False)
    again = request_review(installation, 3)
    assert (first["review_id"], first["passed"], again["passed"]) == (again["review_id"], False, True)
    with installation.engine.begin() as connection:
        close(connection, again, NO)
    assert request_review(installation, 3, passed=False)["passed"] is True
    assert review_of(installation, 3)["decision"] == REJECTED
    request_review(installation, 4)
    with installation.engine.begin() as connection:
        connection.execute(text("UPDATE reviews SET expires_at = now() - interval '1 hour'"))
        expire(connection)
    again = request_review(installation, 4)
    assert [again[name] for name in ("decision", "reviewer", "reason", "via", "decided_at")] == [None] * 5


def test_a_decision_about_a_request_that_was_decided_or_renewed_since_is_refused(
    installation: Installation,
) -> None:
    review = request_review(installation, 3)
    with installation.engine.begin() as connection:
        close(connection, review, NO)
    with pytest.raises(DecisionRefusedError, match="decided or reviewed again"), installation.engine.begin() as late:
        close(late, review, YES)
    decided = review_of(installation, 3)
    assert (decided["decision"], decided["reviewer"], decided["reason"]) == (REJECTED, "ann", "too few lists")
    assert (decided["via"], decided["overridden"]) == ("command", False)
    seen = request_review(installation, 4)
    request_review(installation, 4, passed=False)
    with pytest.raises(DecisionRefusedError, match="reviewed again"), installation.engine.begin() as late:
        close(late, seen, YES)
    assert review_of(installation, 4)["decision"] is None


def test_only_what_is_late_and_open_expires(installation: Installation) -> None:
    for version in (3, 4, 5):
        request_review(installation, version)
    with installation.engine.begin() as connection:
        connection.execute(text("UPDATE reviews SET expires_at = now() - interval '1 hour' WHERE model_version <> 4"))
        close(connection, review_of(installation, 5), YES)
        assert expire(connection) == [3]
        assert [review["model_version"] for review in open_reviews(connection)] == [4]
    assert review_of(installation, 3)["reviewer"] == "nobody"
    assert review_of(installation, 5)["decision"] == APPROVED


@pytest.mark.parametrize(
    ("passed", "already", "answer", "mode", "error"),
    [
        (True, None, YES, "manual", None),
        (False, None, NO, "manual", None),
        (True, APPROVED, YES, "manual", None),
        (True, None, NO, "never", None),
        (True, None, YES, "auto", None),
        (
            False,
            None,
            YES,
            "manual",
            r"The gate refused version 3. is tall: 1 m. To promote it all the same: `tailorbird decide 3 --approve",
        ),
        (False, None, Decision(True, "bob", "a trial", "form", True), "manual", None),
        (False, None, Decision(True, "bob", " ", "form", True), "manual", "Say why version 3 is approved"),
        (True, None, Decision(False, "bob", "…", "tag"), "manual", 'Say why version 3 is rejected.*"too few lists"'),
        (True, None, YES, "never", "while TAILORBIRD_REVIEW is `never`"),
        (True, REJECTED, YES, "manual", "was rejected by ann; a decision is not changed"),
        (True, APPROVED, NO, "manual", "was approved by ann; a decision is not changed"),
    ],
)
def test_a_decision_is_made_once_and_against_the_gate_only_on_purpose(
    passed: bool, already: str | None, answer: Decision, mode: str, error: str | None
) -> None:
    failed = [{"name": "is tall", "passed": passed, "detail": "1 m."}]
    review = {"model_version": 3, "passed": passed, "decision": already, "reviewer": "ann", "gate": failed}
    review |= {"run_id": "run", "digest": "a digest"}
    if error is None:
        _check(review, answer, mode)
        return
    with pytest.raises(DecisionRefusedError, match=error):
        _check(review, answer, mode)


def test_a_decided_review_keeps_the_bundle_that_was_decided_about(installation: Installation) -> None:
    review = request_review(installation, 3)
    assert (review["run_id"], review["digest"]) == ("run 3", "a digest")
    renewed = request(installation, "v1", 3, bundle(3, "another digest"), gate(), 0)
    assert renewed["digest"] == "another digest"  # nobody decided about the first one
    with installation.engine.begin() as connection:
        close(connection, renewed, YES)
    with pytest.raises(DecisionRefusedError, match="Version 3 was decided when it stood for another bundle"):
        request(installation, "v1", 3, bundle(3, "a third digest"), gate(), 0)
    assert review_of(installation, 3)["digest"] == "another digest"


def test_a_version_whose_review_has_no_digest_can_be_rejected_but_must_be_reviewed_again_to_be_promoted(
    installation: Installation,
) -> None:
    request_review(installation, 3)
    with installation.engine.begin() as connection:
        connection.execute(text("UPDATE reviews SET run_id = NULL, digest = NULL"))
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    with pytest.raises(DecisionRefusedError, match=r"before reviews recorded .* review --dataset v1` again"):
        apply_decision(installation, registry, 3, YES)
    assert review_of(installation, 3)["decision"] is None
    assert apply_decision(installation, registry, 3, NO)["decision"] == REJECTED


def test_only_a_rejected_version_is_asked_about_again(installation: Installation) -> None:
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    with pytest.raises(TailorbirdError, match=r"no review of version 3\. .*Next: `tailorbird"):
        reopen(installation, registry, 3, "ann", "a slip")
    request_review(installation, 3)
    with pytest.raises(DecisionRefusedError, match=r"Version 3 has no decision yet: .*Next: `tailorbird"):
        reopen(installation, registry, 3, "ann", "a slip")
    with installation.engine.begin() as connection:
        close(connection, review_of(installation, 3), YES)
    with pytest.raises(DecisionRefusedError, match=r"Version 3 was approved by bob: .*Next: `tailorbird"):
        reopen(installation, registry, 3, "ann", "a slip")


def test_a_newer_comparison_keeps_the_rejection_of_a_version_that_was_asked_about_again(
    installation: Installation,
) -> None:
    request_review(installation, 3, passed=False)
    with installation.engine.begin() as connection:
        close(connection, review_of(installation, 3), NO)
    reopen(installation, Registry(installation.endpoints.mlflow_tracking_uri), 3, "bob", "a slip")
    for passed in (True, False):
        review = request_review(installation, 3, passed=passed)
        assert [check["name"] for check in review["gate"]] == ["is tall", "rejected before"]
        assert (review["passed"], "too few lists" in review["gate"][-1]["detail"]) == (passed, True)
