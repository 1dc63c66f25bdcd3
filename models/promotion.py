"""May a candidate answer shoppers? Only for what it beats, user by user on the same held-out weeks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.evaluation.bootstrap import LEVEL, Estimate
from models.evaluation.evaluate import Evaluation
from models.evaluation.paired import figures, gain

METRIC: Final = "ndcg_at_10"


@dataclass(frozen=True)
class Check:
    """One question to the candidate, and its answer in a sentence."""

    name: str
    value: float
    """What was measured; for a comparison the mean difference per user."""
    limit: float
    passed: bool
    detail: str
    low: float | None = None
    """The interval of the difference, for comparisons."""
    high: float | None = None


@dataclass(frozen=True)
class Gate:
    """The decision with everything it rests on."""

    passed: bool
    checks: tuple[Check, ...]


def decide(
    candidate: Evaluation,
    baselines: Mapping[str, Evaluation],
    champion: Evaluation | None,
    seed: int,
    metric: str = METRIC,
) -> Gate:
    """Refuse a candidate without sound figures; else compare it with every baseline and the champion.

    It must be better than the champion (the whole interval above zero) and not significantly worse than any
    baseline (not the whole interval below zero). Baselines are named by their model kind.
    """
    checks = [_has_figures(candidate, metric), _is_personal(candidate)]
    if all(check.passed for check in checks):
        for name, baseline in baselines.items():
            checks.append(_not_worse(name, gain(candidate, baseline, metric, seed)))
        if champion is not None:
            checks.append(_better(gain(candidate, champion, metric, seed)))
    return Gate(all(check.passed for check in checks), tuple(checks))


def _has_figures(candidate: Evaluation, metric: str) -> Check:
    values = figures(candidate, metric)
    sound = int(np.isfinite(values).sum())
    passed = 0 < sound == len(values)
    detail = f"{metric} is a number for {sound:,} of {len(values):,} users."
    if not len(values):
        detail = "No user was evaluated: hold out weeks in which known users bought something."
    return Check("has figures", float(sound), float(len(values)), passed, detail)


def _is_personal(candidate: Evaluation) -> Check:
    lists = candidate.summary.get("distinct_lists", float("nan"))
    passed = lists > 1
    detail = f"{lists:,.0f} different lists." if passed else "Everybody would get the same list."
    return Check("is personal", lists, 1.0, passed, detail)


def _not_worse(name: str, found: Estimate | None) -> Check:
    title = f"not worse than {name}"
    if found is None:
        return _other_users(title, name)
    passed = found.high >= 0
    verdict = "not significantly worse than" if passed else "significantly worse than"
    return _comparison(title, found, passed, f"{verdict} {name}")


def _better(found: Estimate | None) -> Check:
    title = "better than the champion"
    if found is None:
        return _other_users(title, "the champion")
    passed = found.low > 0
    verdict = "better than" if passed else "not proven better than"
    return _comparison(title, found, passed, f"{verdict} the champion")


def _comparison(title: str, found: Estimate, passed: bool, verdict: str) -> Check:
    value, low, high = found
    detail = f"{value:+.4f} a user, {LEVEL:.0%} interval {low:+.4f} to {high:+.4f}: {verdict}."
    return Check(title, value, 0.0, passed, detail, low, high)


def _other_users(title: str, name: str) -> Check:
    detail = f"{name} was not measured on all of the candidate's users: evaluate both on the same held-out weeks."
    return Check(title, float("nan"), 0.0, False, detail)
