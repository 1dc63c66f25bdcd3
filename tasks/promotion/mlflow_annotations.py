"""Writes the state of a review on its version in MLflow: tags and the description."""

from collections.abc import Mapping

from infra.database.schema.promotion_rows import Review
from infra.registry.client import Registry
from infra.registry.connection import VersionGoneError
from models.gate.model_card import with_verdict
from models.gate.results import stored_outcome
from models.primitives.escaping import for_markdown
from tasks.promotion.review_requests import REJECTED, REJECTED_BEFORE, UNDECIDED_REVIEWER

NOTE = "review_note"
"""The tag with the reason why a request made in MLflow was refused."""
ROLLED_BACK = "rolled_back"
"""The tag with the promotion that was rolled back. A tag `review` beside it was set after the rollback."""
REOPENED = "reopened"
"""The tag with how often the review was reopened. A tag `review` beside the present number was set afterwards."""
_DECISION_TAGS = ("review", "reviewer", "reason", "override")


def marks(review: Review) -> dict[str, str]:
    """Return the tags of the newest rollback and reopening; a decision's tags without them are from before."""
    reopened = sum(check["name"] == REJECTED_BEFORE for check in review["gate"])
    counts = {ROLLED_BACK: review.get("rolled_back"), REOPENED: reopened}
    return {name: str(count) for name, count in counts.items() if count}


def annotate_version(registry: Registry, review: Review, note: str = "") -> None:
    """Write the gate's reasons and the decision on the version, unless it was deleted in MLflow.

    A `note` states why a request was refused. Tags that a person has set since, and that were not read yet, stay. A
    version that was rolled back or reopened loses the tags of its decision, so a person can set them again.
    """
    version, decision, rollback = review["model_version"], review["decision"], review["rolled_back"]
    reviewer, reason = review["reviewer"] or "", review["reason"] or ""
    verdict = "passed the gate and waits for a person's decision." if review["passed"] else "was refused by the gate."
    if decision:
        verdict = f"was {decision} by {for_markdown(reviewer)}: {for_markdown(reason)}"
    if rollback:
        verdict += " It was rolled back since. Another yes makes it the champion again."
    checks = [
        f"- {(outcome := stored_outcome(check)).mark} **{for_markdown(check['name'])}**: "
        f"{outcome.heading}{for_markdown(check['detail'])}"
        for check in review["gate"]
    ]
    top = "\n\n".join([*([f"**{for_markdown(note)}**"] if note else []), f"Version {version} {verdict}"])
    try:
        known = registry.version(version)
    except VersionGoneError:
        return
    registry.describe(version, with_verdict(known.description or "", top, "\n" + "\n".join(checks)))
    tags = {"validation_status": "passed" if review["passed"] else "refused"}
    tags |= (left := marks(review))
    if decision and not rollback:
        tags |= {"review": decision, "reviewer": reviewer}
    outdated = _DECISION_TAGS if rollback or not left.items() <= known.tags.items() else ()
    registry.untag_version(version, *outdated, *([] if rollback else [ROLLED_BACK]), known=known.tags)
    registry.tag_version(version, tags | ({NOTE: note} if note else {}))
    stale = [*([] if note else [NOTE]), *([] if decision else _stale_tags(known.tags, note))]
    registry.untag_version(version, *stale, known=known.tags)


def _stale_tags(tags: Mapping[str, str], note: str) -> list[str]:
    """Return the tags of an open request that were answered with a note, or that the deadline set."""
    from_deadline = (tags.get("review"), tags.get("reviewer")) == (REJECTED, UNDECIDED_REVIEWER)
    return ["review", "reviewer"] if from_deadline else ["review"] if note else []
