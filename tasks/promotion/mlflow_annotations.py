"""Tells reviewers where they look: tags and the description of a version in MLflow."""

from collections.abc import Mapping

from infra.database.schema.promotion_rows import Review
from infra.registry.client import Registry, VersionGoneError
from models.gate.model_card import with_verdict
from models.gate.results import stored_outcome
from models.primitives.escaping import for_markdown
from tasks.promotion.review_requests import REJECTED, UNDECIDED_REVIEWER

NOTE = "review_note"
"""The tag that says why something that a person asked for in MLflow was not done."""
ROLLED_BACK = "rolled_back"
"""The tag with the promotion that was rolled back: once it is there, what `review` says was set since."""
_ANSWER = ("review", "reviewer", "reason", "override")


def annotate_version(registry: Registry, review: Review, note: str = "") -> None:
    """Write the gate's reasons and the decision on the version, unless it was deleted in MLflow.

    A `note` says what was asked for in vain. What a person set meanwhile and nobody has heard yet is left alone. A
    version that was rolled back loses the tags of its decision, so that they can be set again.
    """
    version, decision, back = review["model_version"], review["decision"], review["rolled_back"]
    verdict = "passed the gate and waits for a person's decision." if review["passed"] else "was refused by the gate."
    if decision:
        verdict = f"was {decision} by {for_markdown(review['reviewer'])}: {for_markdown(review['reason'])}"
    if back:
        verdict += " It was rolled back since. Another yes makes it the champion again."
    checks = [
        f"- {(found := stored_outcome(check)).mark} **{for_markdown(check['name'])}**: "
        f"{found.heading}{for_markdown(check['detail'])}"
        for check in review["gate"]
    ]
    top = "\n\n".join([*([f"**{for_markdown(note)}**"] if note else []), f"Version {version} {verdict}"])
    try:
        known = registry.version(version)
    except VersionGoneError:
        return
    registry.describe(version, with_verdict(known.description or "", top, "\n" + "\n".join(checks)))
    tags = {"validation_status": "passed" if review["passed"] else "refused"}
    if back:
        tags |= {ROLLED_BACK: str(back)}
    elif decision:
        tags |= {"review": decision, "reviewer": review["reviewer"]}
    registry.untag_version(version, *(_ANSWER if back else [ROLLED_BACK]))
    registry.tag_version(version, tags | ({NOTE: note} if note else {}))
    registry.untag_version(version, *([] if note else [NOTE]), *([] if decision else _said_before(known.tags, note)))


def _said_before(tags: Mapping[str, str], note: str) -> list[str]:
    """The tags of an earlier word about an open request: one that was answered with a note, or the deadline's."""
    late = (tags.get("review"), tags.get("reviewer")) == (REJECTED, UNDECIDED_REVIEWER)
    return ["review", "reviewer"] if late else ["review"] if note else []
