"""What a candidate costs beside accuracy: what it learned by heart, time and room."""

from collections.abc import Mapping

from models.evaluation.evaluate import Evaluation
from models.gate.check import Check, at_most
from models.gate.limits import Limits

_GAP = "overfit_gap"


def costs(candidate: Evaluation, limits: Limits) -> list[Check]:
    """Time for a list, and size."""
    milliseconds = candidate.summary.get("score_ms", float("nan"))
    size = candidate.summary.get("artifact_mb", float("nan"))
    return [
        at_most("is fast enough", milliseconds, limits.score_ms, f"{milliseconds:.2f} ms for a user's list."),
        at_most("is small enough", size, limits.artifact_mb, f"{size:,.1f} MB on disk."),
    ]


def overfit(candidate: Evaluation, baselines: Mapping[str, Evaluation], limits: Limits) -> Check:
    """The gap between learned and held-out weeks, beside the largest of a baseline: these count and learn nothing."""
    title, gap = "is not over-fit", candidate.summary.get(_GAP)
    if gap is None:
        return Check(title, 0.0, 0.0, True, "Nobody bought something in the last weeks of learning and in the test.")
    gaps = {name: found.summary[_GAP] for name, found in baselines.items() if _GAP in found.summary}
    widest = max(gaps, key=lambda name: gaps[name]) if gaps else ""
    allowed = gaps.get(widest, 0.0) + limits.overfit_rise
    beside = f"{gaps[widest]:.3f} for {widest}, which only counts" if gaps else "no baseline to hold it against"
    detail = f"{gap:.3f} better on weeks it has learned from than on the test weeks; {beside}."
    return at_most(title, gap, allowed, detail)
