"""Sanity checks, which find a broken model before any comparison."""

from collections.abc import Sequence

import numpy as np

from models.evaluation.comparison.paired import figures
from models.evaluation.offline import Evaluation
from models.gate.fairness_checks import Group
from models.gate.results import Check, at_most, not_applicable, outcome
from models.gate.thresholds import GateThresholds

FALLBACK = "fallback_at_10"
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
