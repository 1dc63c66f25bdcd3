"""Checks the costs of a candidate: overfitting, time per list, and size."""

from collections.abc import Mapping

from models.evaluation.metrics.user_averages import HIGH, LOW
from models.evaluation.offline import Evaluation
from models.gate.results import Check, at_most, not_applicable, outcome
from models.gate.thresholds import GateThresholds

_GAP = "overfit_gap"


def costs(candidate: Evaluation, limits: GateThresholds) -> list[Check]:
    """Check the time per list, and the size."""
    size = candidate.summary.get("artifact_mb", float("nan"))
    return [
        _fast_enough(candidate.summary, limits.score_ms),
        at_most("is small enough", size, limits.artifact_mb, f"{size:,.1f} MB on disk."),
    ]


def _fast_enough(summary: Mapping[str, float], limit: float) -> Check:
    """Check the time per list. Other work on the machine only adds time, so only a whole interval above it fails."""
    value = summary.get("score_ms", float("nan"))
    low, high = (summary.get(f"score_ms{edge}", value) for edge in (LOW, HIGH))
    detail = f"{value:.2f} ms of one thread for a user's list, interval {low:.2f} to {high:.2f} ms."
    return Check("is fast enough", value, limit, outcome(bool(low <= limit)), detail)


def overfit(candidate: Evaluation, baselines: Mapping[str, Evaluation], limits: GateThresholds) -> Check:
    """Compare the overfitting gap with the largest gap of a baseline, because baselines only count."""
    title, gap = "is not over-fit", candidate.summary.get(_GAP)
    if gap is None:
        return not_applicable(title, "No user bought in both the last training weeks and the test weeks.")
    gaps = {name: baseline.summary[_GAP] for name, baseline in baselines.items() if _GAP in baseline.summary}
    widest = max(gaps, key=lambda name: gaps[name]) if gaps else ""
    allowed = gaps.get(widest, 0.0) + limits.overfit_rise
    comparison = f"{gaps[widest]:.3f} for {widest}, a baseline" if gaps else "no baseline to compare it with"
    detail = f"{gap:.3f} better on the training weeks than on the test weeks; {comparison}."
    return at_most(title, gap, allowed, detail)
