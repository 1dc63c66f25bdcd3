"""Writes sentences on the weaknesses of a model, from its metrics."""

from collections.abc import Mapping
from math import isfinite

from models.evaluation.metrics.ranking import METRIC
from models.evaluation.metrics.user_averages import COLD, COLD_BASKETS, NEW, NEWCOMER
from models.gate.results import GateResult, GroupResult


def weaknesses(summary: Mapping[str, float], gate: GateResult) -> list[str]:
    """Return sentences on NaN scores, users with little history, new and rare items, and groups, with figures."""
    sentences = [
        _nan_scores(summary),
        _cold(summary),
        _newcomers(summary),
        _news(summary),
        _spread(summary),
        _filled(summary),
    ]
    return [sentence for sentence in [*sentences, *_groups(gate)] if sentence] + [
        "Intervals cover the choice of users, not the choice of weeks. And users bought without seeing these "
        "lists, so no figure here measures their effect."
    ]


def _nan_scores(summary: Mapping[str, float]) -> str:
    nan_scores = summary.get("nan_scores", 0.0)
    return f"Broken: {nan_scores:,.0f} of its scores are NaN." if nan_scores else ""


def _cold(summary: Mapping[str, float]) -> str:
    users, figure = summary.get(f"{COLD}users", 0.0), summary.get(COLD + METRIC, float("nan"))
    if not users or not isfinite(figure):
        return f"There were no users with fewer than {COLD_BASKETS} baskets to measure it on."
    figures = f"NDCG@10 is {figure:.4f}, for all users {summary[METRIC]:.4f}"
    few = " So few users prove little." if users < 50 else ""
    return f"For the {users:,.0f} people with fewer than {COLD_BASKETS} baskets {figures}.{few}"


def _newcomers(summary: Mapping[str, float]) -> str:
    users, figure = summary.get(f"{NEWCOMER}users", 0.0), summary.get(NEWCOMER + METRIC, float("nan"))
    if not users or not isfinite(figure):
        return "Newcomers were not measured: there were none in the test weeks."
    return f"For the {users:,.0f} newcomers, who have no earlier purchase, NDCG@10 is {figure:.4f}."


def _news(summary: Mapping[str, float]) -> str:
    figure = summary.get(NEW + METRIC, float("nan"))
    if not isfinite(figure):
        return "No user bought a new item in the test weeks, so its accuracy on new items is not known."
    share = figure / summary[METRIC] if summary[METRIC] else float("nan")
    again = " Most of its hits are items bought before." if share < 0.5 else ""
    return f"On items that are new to the person NDCG@10 is {figure:.4f}.{again}"


def _spread(summary: Mapping[str, float]) -> str:
    unseen, rare = 1 - summary.get("coverage_at_10", float("nan")), summary.get("long_tail_at_10", float("nan"))
    if not isfinite(unseen) or not isfinite(rare):
        return ""
    return f"{unseen:.0%} of the catalogue is never shown; {rare:.0%} of the places go to its rarer four fifths."


def _filled(summary: Mapping[str, float]) -> str:
    share = summary.get("fallback_share", float("nan"))
    return f"{share:.1%} of the places are filled with best sellers." if share > 0 else ""


def _groups(gate: GateResult) -> list[str]:
    small = [group for group in gate.groups if not group.judged]
    if not gate.groups:
        return ["How single groups are served is not known."]
    return [f"{len(small)} groups are too small to be judged: {_some(small)}."] if small else []


def _some(groups: list[GroupResult]) -> str:
    names = [f"{group.trait} {group.value} ({group.users})" for group in groups]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
