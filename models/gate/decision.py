"""The gate: decides whether a candidate may be promoted, by paired comparisons on the same held-out weeks."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.evaluation.comparison import figures, paired
from models.evaluation.metrics.bootstrap import HIGH, LOW, NEW, Estimate, estimates
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.offline import Evaluation
from models.gate import fairness_checks as by_group
from models.gate.exposure_checks import (
    FALLBACK,
    FIGURES,
    ExposureReference,
    exposure,
    overlap,
    serves_cold_users,
    shows_enough,
)
from models.gate.fairness_checks import Group, Traits
from models.gate.results import (
    BETTER,
    Check,
    GateResult,
    Outcome,
    at_most,
    compared,
    gate_result,
    not_applicable,
    outcome,
)
from models.gate.thresholds import GateThresholds

_FEWEST = 10
"""Users that a group needs: a sound model may know none of fewer."""


def sanity_checks(candidate: Evaluation, metric: str, limits: GateThresholds) -> list[Check]:
    """Check that all users have metrics, that no score is NaN, and that lists differ."""
    return [_has_figures(candidate, metric, limits.users), _has_scores(candidate), _is_personal(candidate)]


def _has_figures(candidate: Evaluation, metric: str, least: int) -> Check:
    values = figures(candidate, metric)
    sound = int(np.isfinite(values).sum())
    detail = f"{metric} is a number for {sound:,} of {len(values):,} users."
    if len(values) < least:
        detail += f" It takes {least} to decide: hold out weeks in which more known users bought something."
    return Check(
        "has figures", float(sound), float(max(least, len(values))), outcome(least <= sound == len(values)), detail
    )


def _has_scores(candidate: Evaluation) -> Check:
    nan_scores = candidate.summary.get("nan_scores", float("nan"))
    detail = "Every score is a number." if nan_scores == 0 else f"{nan_scores:,.0f} scores are NaN."
    return at_most("scores are numbers", nan_scores, 0.0, detail)


def _is_personal(candidate: Evaluation) -> Check:
    lists = candidate.summary.get("distinct_lists", float("nan"))
    passed = lists > 1
    detail = f"{lists:,.0f} different lists." if passed else "All users would get the same list."
    return Check("is personal", lists, 1.0, outcome(passed), detail)


def serves_all_users(candidate: Evaluation, groups: Sequence[Group], limits: GateThresholds) -> Check:
    """Check that few users, overall and in each group, get only best sellers."""
    filled = figures(candidate, FALLBACK)
    only_fallback = filled >= 1
    groups_by_name = {"all": np.ones(len(only_fallback), dtype=bool)} | {
        f"{g.trait} {g.value}": g.members for g in groups
    }
    shares = {
        name: float(only_fallback[members].mean())
        for name, members in groups_by_name.items()
        if members.sum() >= _FEWEST
    }
    if not shares:
        return not_applicable("answers every group", f"It takes {_FEWEST} people to ask.")
    worst = max(shares, key=lambda name: shares[name])
    share = shares[worst]
    whom = "people" if worst == "all" else f"people with {worst}"
    detail = f"The model has only best sellers for {share:.0%} of the {int(groups_by_name[worst].sum()):,} {whom}."
    return at_most("answers every group", share, limits.silent_share, detail)


CHAMPION: Final = "the champion"

Floats = NDArray[np.float64]
_GAP = "overfit_gap"


def costs(candidate: Evaluation, limits: GateThresholds) -> list[Check]:
    """Check the time per list, and the size.

    Other work on the machine only adds time, so only a whole interval above the limit fails.
    """
    summary, nothing = candidate.summary, float("nan")
    size, value = summary.get("artifact_mb", nothing), summary.get("score_ms", nothing)
    low, high = (summary.get(f"score_ms{edge}", value) for edge in (LOW, HIGH))
    detail = f"{value:.2f} ms of one thread for a user's list, interval {low:.2f} to {high:.2f} ms."
    return [
        Check("is fast enough", value, limits.score_ms, outcome(bool(low <= limits.score_ms)), detail),
        at_most("is small enough", size, limits.artifact_mb, f"{size:,.1f} MB on disk."),
    ]


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


class _Comparison(NamedTuple):
    """A comparison of the candidate with one model on a metric."""

    name: str
    opponent: str
    both: tuple[Floats, Floats] | None
    """Metrics per user of both models; None if they cannot be compared."""
    better: bool
    """Whether the candidate has to be better, not just no worse."""


def decide(
    candidate: Evaluation,
    baselines: Mapping[str, Evaluation],
    champion: Evaluation | None,
    seed: int,
    traits: Traits | None = None,
    limits: GateThresholds = GateThresholds(),  # noqa: B008 -- a frozen value
    metric: str = METRIC,
    promoted: Mapping[str, float] | None = None,
    dropped: Mapping[str, str] | None = None,
) -> GateResult:
    """Refuse a broken candidate, else compare it with every baseline, the champion and the `limits`.

    It must be better than the champion (the whole interval above zero) and not significantly worse than any baseline
    (not the whole interval below zero). Before the first champion, the best baseline takes its place in all other
    checks. Baselines are named by their model kind, and may include the candidate. `traits` are of the candidate's
    users.

    `promoted` has the champion's metrics as stored at its promotion, None without a champion. They are the reference
    for exposure, also for the champion's own settings trained on newer data.
    `dropped` has the traits that make no groups, with the reasons.
    """
    checks = sanity_checks(candidate, metric, limits)
    others = {name: evaluation for name, evaluation in baselines.items() if evaluation is not candidate}
    if any(check.refused for check in checks):
        return gate_result(checks)
    name, reference = _reference(others, champion, metric)
    groups = by_group.groups_of(traits or {})
    comparisons = _comparisons(candidate, others, champion, (name, reference), metric)
    compared_by = paired(candidate, reference, metric) if reference else None
    estimates_by_name = _estimates(comparisons, groups if compared_by else [], compared_by, seed)
    checks += [_check(comparison, estimates_by_name.get(comparison.name)) for comparison in comparisons]
    checks += _inapplicable(candidate, others, metric)
    group_differences = [estimates_by_name[_title(group)] for group in groups] if compared_by else []
    results = by_group.results(traits or {}, *compared_by, group_differences, limits) if compared_by else []
    checks += by_group.checks(results, name, limits) + by_group.inapplicable_checks(
        traits or {}, results, dropped or {}
    )
    checks += [serves_all_users(candidate, groups, limits)]
    checks += [serves_cold_users(candidate, others.get("most_popular"), limits)]
    standard = _standard(champion, promoted, (name, reference))
    checks += exposure(candidate, standard, limits)
    checks += [] if standard and standard.refuses else [shows_enough(candidate, limits)]
    checks += [overlap(candidate, champion, limits)] if champion else []
    checks += [overfit(candidate, baselines, limits), *costs(candidate, limits)]
    return gate_result(checks, results)


def _standard(
    champion: Evaluation | None, promoted: Mapping[str, float] | None, reference: tuple[str, Evaluation | None]
) -> ExposureReference | None:
    """Return the reference for exposure: the champion at its promotion, before the first one the best baseline."""
    if promoted and not FIGURES.isdisjoint(promoted):
        return ExposureReference("at the champion's promotion", promoted, True)
    if champion is not None:
        return ExposureReference("with the champion", champion.summary, True)
    if promoted is not None:
        return ExposureReference("at the champion's promotion", {}, True)
    name, evaluation = reference
    return ExposureReference(f"with {name}", evaluation.summary, False) if evaluation else None


def _reference(
    baselines: Mapping[str, Evaluation], champion: Evaluation | None, metric: str
) -> tuple[str, Evaluation | None]:
    """Return the reference model: the champion, before the first one the best baseline."""
    if champion is not None:
        return CHAMPION, champion
    best = max(sorted(baselines), key=lambda name: baselines[name].summary.get(metric, -np.inf), default=None)
    return (best, baselines[best]) if best else ("nobody", None)


def _comparisons(
    candidate: Evaluation,
    baselines: Mapping[str, Evaluation],
    champion: Evaluation | None,
    reference: tuple[str, Evaluation | None],
    metric: str,
) -> list[_Comparison]:
    comparisons = [
        _Comparison(f"not worse than {name}", name, paired(candidate, other, metric), False)
        for name, other in baselines.items()
    ]
    if champion is not None:
        both = paired(candidate, champion, metric)
        comparisons.append(_Comparison(BETTER, CHAMPION, both, True))
    name, other = reference
    if other is not None and _bought_new(candidate, metric):
        title = f"not worse than {name} on new items"
        comparisons.append(_Comparison(title, name, paired(candidate, other, NEW + metric), False))
    return comparisons


def _bought_new(candidate: Evaluation, metric: str) -> bool:
    return NEW + metric in candidate.per_user.column_names and bool(candidate.summary.get(f"{NEW}users"))


def _inapplicable(candidate: Evaluation, baselines: Mapping[str, Evaluation], metric: str) -> list[Check]:
    """Return checks for the comparisons that the data do not allow."""
    checks = [] if baselines else [not_applicable("not worse than a baseline", "No other baseline was trained.")]
    if not _bought_new(candidate, metric):
        checks.append(not_applicable("not worse on new items", "No user bought a new item."))
    return checks


def _estimates(
    comparisons: Sequence[_Comparison], groups: Sequence[Group], both: tuple[Floats, Floats] | None, seed: int
) -> dict[str, Estimate]:
    """Return the mean differences and their intervals, all from the same resampled users."""
    columns = {
        comparison.name: comparison.both[0] - comparison.both[1] for comparison in comparisons if comparison.both
    }
    if both is not None:
        columns |= {_title(group): np.where(group.members, both[0] - both[1], np.nan) for group in groups}
    return estimates(columns, seed)


def _title(group: Group) -> str:
    return f"{group.trait}={group.value}"


def _check(comparison: _Comparison, difference: Estimate | None) -> Check:
    name, opponent = comparison.name, comparison.opponent
    if difference is None:
        how = "was not measured on all of the candidate's users: evaluate both on the same held-out weeks."
        return Check(name, float("nan"), 0.0, Outcome.REFUSED, f"{opponent} {how}")
    passed = difference.low > 0 if comparison.better else difference.high >= 0
    good, bad = ("better than", "not proven better than") if comparison.better else (
        "not significantly worse than", "significantly worse than"
    )  # fmt: skip
    return compared(name, difference, 0.0, passed, f"{good if passed else bad} {opponent}")
