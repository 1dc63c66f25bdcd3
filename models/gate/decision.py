"""The gate: decides whether a candidate may be promoted, by paired comparisons on the same held-out weeks."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.evaluation.comparison import BASELINES, figures, paired
from models.evaluation.metrics.bootstrap import HIGH, ITEM_KINDS, LOW, Estimate, estimates
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
    GroupResult,
    Outcome,
    at_most,
    compared,
    comparison_name,
    gate_result,
    not_applicable,
    outcome,
)
from models.gate.thresholds import GateThresholds

_FEWEST = 10
"""Users that a group needs: a sound model may know none of fewer."""


def _has_figures(candidate: Evaluation, least: int) -> Check:
    values = figures(candidate, METRIC)
    sound = int(np.isfinite(values).sum())
    detail = f"{METRIC} is a number for {sound:,} of {len(values):,} users."
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
    """A comparison of the candidate with one model on one kind of items."""

    opponent: str
    items: str
    """The end of a sentence."""
    both: tuple[Floats, Floats] | None
    """Metrics per user of both models; None if they cannot be compared."""

    @property
    def name(self) -> str:
        """The name of the check."""
        return comparison_name(self.opponent, self.items)


def decide(
    candidate: Evaluation,
    others: Mapping[str, Evaluation],
    champion: Evaluation | None,
    seed: int,
    traits: Traits | None = None,
    limits: GateThresholds = GateThresholds(),  # noqa: B008 -- a frozen value
    promoted: Mapping[str, float] | None = None,
    dropped: Mapping[str, str] | None = None,
) -> GateResult:
    """Refuse a broken candidate, else compare it with every other model, the champion and the `limits`.

    Models are compared on all items, on items new to the user, and on items that the user had bought. The candidate
    must be better than the champion on one of them (the whole interval above zero), and significantly worse than no
    model on any (not the whole interval below zero). The intervals hold for all comparisons together. Before the first
    champion, the best baseline takes its place in all other checks. The `others` are named by their model kind, and may
    include the candidate. `traits` are of the candidate's users.

    `promoted` has the champion's metrics as stored at its promotion, None without a champion. They are the reference
    for exposure, also for the champion's own settings trained on newer data: then there is no `champion` to compare.
    `dropped` has the traits that make no groups, with the reasons.
    """
    checks = [_has_figures(candidate, limits.users), _has_scores(candidate), _is_personal(candidate)]
    baselines = {name: evaluation for name, evaluation in others.items() if name in BASELINES}
    others = {name: evaluation for name, evaluation in others.items() if evaluation is not candidate}
    if any(check.refused for check in checks):
        return gate_result(checks)
    name, reference = _reference(baselines, candidate, champion)
    groups = by_group.groups_of(traits or {})
    compared_by = paired(candidate, reference, METRIC) if reference else None
    renewal = champion is None and promoted is not None
    checks += _comparisons(candidate, others, champion, limits, seed, renewal)
    checks += [] if others else [not_applicable("not worse than a baseline", "No other model was trained.")]
    results: list[GroupResult] = []
    if compared_by:
        own, theirs = compared_by
        columns = {f"{group.trait}={group.value}": np.where(group.members, own - theirs, np.nan) for group in groups}
        differences = list(estimates(columns, seed).values())
        results = by_group.results(traits or {}, own, theirs, differences, limits)
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
    baselines: Mapping[str, Evaluation], candidate: Evaluation, champion: Evaluation | None
) -> tuple[str, Evaluation | None]:
    """Return the reference model: the champion, before the first one the best baseline."""
    if champion is not None:
        return CHAMPION, champion
    others = {name: evaluation for name, evaluation in baselines.items() if evaluation is not candidate}
    best = max(sorted(others), key=lambda name: others[name].summary.get(METRIC, -np.inf), default=None)
    return (best, others[best]) if best else ("nobody", None)


def _comparisons(
    candidate: Evaluation,
    others: Mapping[str, Evaluation],
    champion: Evaluation | None,
    limits: GateThresholds,
    seed: int,
    renewal: bool,
) -> list[Check]:
    """Return a check per model and kind of items, and whether the candidate is better than the champion.

    A renewal is compared on all items only: it replaces the same model, which is no better on a kind of items.
    """
    asked = {"": ""} if renewal else ITEM_KINDS
    kinds = {prefix: items for prefix, items in asked.items() if _measured(candidate, prefix + METRIC, limits)}
    models = {**others, **({CHAMPION: champion} if champion else {})}
    compared_with = [
        _Comparison(name, items, paired(candidate, other, prefix + METRIC))
        for name, other in models.items()
        for prefix, items in kinds.items()
    ]
    columns = {one.name: one.both[0] - one.both[1] for one in compared_with if one.both}
    checks = _each(compared_with, estimates(columns, seed, comparisons=len(columns)))
    if champion is not None:
        own = {one.items: columns[one.name] for one in compared_with if one.opponent == CHAMPION and one.both}
        checks.append(_better(estimates(own, seed, comparisons=max(1, len(own)))))
    unknown = [items for prefix, items in asked.items() if prefix not in kinds]
    reason = f"Fewer than {limits.users} users bought such items."
    return [*checks, *(not_applicable(f"not worse{items}", reason) for items in unknown)]


def _measured(candidate: Evaluation, name: str, limits: GateThresholds) -> bool:
    """Return whether enough users have the metric; all of them have that over all items."""
    known = name in candidate.per_user.column_names
    return known and int(np.isfinite(figures(candidate, name)).sum()) >= limits.users


def _each(comparisons: Sequence[_Comparison], differences: Mapping[str, Estimate]) -> list[Check]:
    checks = []
    for one in comparisons:
        difference = differences.get(one.name)
        if difference is None:
            checks.append(_incomparable(one.name, one.opponent))
            continue
        passed = difference.high >= 0
        verdict = f"{'not ' if passed else ''}significantly worse than {one.opponent}{one.items}"
        checks.append(compared(one.name, difference, 0.0, passed, verdict))
    return checks


def _better(differences: Mapping[str, Estimate]) -> Check:
    """Check that the whole interval of a difference is above zero, on one kind of items."""
    if "" not in differences:
        return _incomparable(BETTER, CHAMPION)
    better = [items for items, difference in differences.items() if difference.low > 0]
    items = better[0] if better else ""
    verdict = f"better than {CHAMPION}{' and'.join(better)}" if better else f"not proven better than {CHAMPION}"
    return compared(BETTER, differences[items], 0.0, bool(better), verdict)


def _incomparable(name: str, opponent: str) -> Check:
    how = "was not measured on all of the candidate's users: evaluate both on the same held-out weeks."
    return Check(name, float("nan"), 0.0, Outcome.REFUSED, f"{opponent} {how}")
