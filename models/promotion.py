"""May a candidate answer shoppers? Only for what it beats, user by user on the same held-out weeks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.columns import USER_KEY
from models.evaluation.evaluate import Evaluation
from models.training_data import index_of

METRIC: Final = "ndcg_at_10"
SAMPLES: Final = 2000
LEVEL: Final = 0.95

_BLOCK: Final = 4_000_000


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
            checks.append(_not_worse(name, _compared(candidate, baseline, metric), seed))
        if champion is not None:
            checks.append(_better(_compared(candidate, champion, metric), seed))
    return Gate(all(check.passed for check in checks), tuple(checks))


def interval(differences: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """Percentile bootstrap interval (Efron 1979) of the mean, users resampled with replacement."""
    random, n = np.random.default_rng(seed), len(differences)
    rows = max(1, _BLOCK // n)
    means = [
        differences[random.integers(n, size=(min(rows, SAMPLES - start), n))].mean(axis=1)
        for start in range(0, SAMPLES, rows)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _has_figures(candidate: Evaluation, metric: str) -> Check:
    values = _values(candidate, metric)
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


def _not_worse(name: str, differences: NDArray[np.float64] | None, seed: int) -> Check:
    title = f"not worse than {name}"
    if differences is None:
        return _other_users(title, name)
    low, high = interval(differences, seed)
    mean, passed = float(differences.mean()), high >= 0
    verdict = "not significantly worse than" if passed else "significantly worse than"
    return Check(title, mean, 0.0, passed, _sentence(mean, low, high, verdict, name), low, high)


def _better(differences: NDArray[np.float64] | None, seed: int) -> Check:
    title = "better than the champion"
    if differences is None:
        return _other_users(title, "the champion")
    low, high = interval(differences, seed)
    mean, passed = float(differences.mean()), low > 0
    verdict = "better than" if passed else "not proven better than"
    return Check(title, mean, 0.0, passed, _sentence(mean, low, high, verdict, "the champion"), low, high)


def _sentence(mean: float, low: float, high: float, verdict: str, name: str) -> str:
    return f"{mean:+.4f} a user, {LEVEL:.0%} interval {low:+.4f} to {high:+.4f}: {verdict} {name}."


def _other_users(title: str, name: str) -> Check:
    detail = f"{name} was not measured on all of the candidate's users: evaluate both on the same held-out weeks."
    return Check(title, float("nan"), 0.0, False, detail)


def _compared(candidate: Evaluation, other: Evaluation, metric: str) -> NDArray[np.float64] | None:
    """Differences per user of the candidate; None when the other lacks a figure for one of them."""
    at = index_of(_keys(other), candidate.per_user[USER_KEY])
    if len(at) == 0 or (at < 0).any():
        return None
    differences = _values(candidate, metric) - _values(other, metric)[at]
    return differences if np.isfinite(differences).all() else None


def _keys(evaluation: Evaluation) -> NDArray[np.str_]:
    return np.array(evaluation.per_user[USER_KEY].to_pylist(), dtype=np.str_)


def _values(evaluation: Evaluation, metric: str) -> NDArray[np.float64]:
    column = evaluation.per_user[metric].cast("float64")
    return np.asarray(column.to_numpy(), dtype=np.float64)
