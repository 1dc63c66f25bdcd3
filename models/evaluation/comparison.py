"""Compares models: user by user, metric by metric, and on the leaderboard, baselines first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.columns import USER_KEY
from models.evaluation.metrics.bootstrap import (
    COLD,
    COLD_BASKETS,
    HIGH,
    ITEM_KINDS,
    LOW,
    NEW,
    NEWCOMER,
    REPEAT,
    WARM,
    Estimate,
    estimates,
    mean_of,
    with_bounds,
)
from models.evaluation.metrics.mlflow_names import BASELINE_GROUP
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.offline import SEED, Evaluation
from models.primitives.vocabulary import index_of, words
from models.recommenders.kinds import Kind


def paired(one: Evaluation, other: Evaluation, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the metrics of both models for each user of `one`; NaN for users without a metric.

    Return None if the other model was not measured on all of these users, or if both have metrics for different users,
    or for none.
    """
    positions = index_of(words(other.per_user[USER_KEY]), one.per_user[USER_KEY])
    if len(positions) == 0 or (positions < 0).any():
        return None
    own, theirs = figures(one, metric), figures(other, metric)[positions]
    known = np.isfinite(own)
    return (own, theirs) if known.any() and np.array_equal(known, np.isfinite(theirs)) else None


def differences(one: Evaluation, other: Evaluation, metric: str) -> NDArray[np.float64] | None:
    """Return `one` less the other, per user with a metric; None if they cannot be compared."""
    both = paired(one, other, metric)
    return None if both is None else (both[0] - both[1])[np.isfinite(both[0])]


def gain(one: Evaluation, other: Evaluation, metric: str, seed: int) -> Estimate | None:
    """Return the mean difference and its paired bootstrap interval; None if the models cannot be compared."""
    gained = differences(one, other, metric)
    return None if gained is None else mean_of(gained, seed)


def figures(evaluation: Evaluation, metric: str) -> NDArray[np.float64]:
    """Return a metric per user; NaN if missing."""
    column = evaluation.per_user[metric].cast("float64")
    return np.asarray(column.to_numpy(), dtype=np.float64)


FIGURES: Final = {
    "ndcg_at_10": "NDCG@10: hits among ten places, weighted by place",
    "recall_at_10": "recall@10: share of the purchases that are on the list",
    "map_at_10": "MAP@10: precision at each hit",
    "hit_rate_at_10": "hit rate@10: share of users with a hit",
    "roc_auc": "ROC AUC: chance that a bought item ranks above another; unscored items are last",
    "coverage_at_10": "coverage: share of the catalogue that is shown",
    "gini_at_10": "Gini index: 0 for equal exposure, 1 if a few items have all places",
    "long_tail_at_10": "long tail: share of places for the rarer four fifths of the catalogue",
    "novelty_at_10": "novelty: rarity of the items, in bits",
    "diversity_at_10": "diversity: 0 if all items are in one category, 1 if categories differ",
    "fallback_share": "filled up: share of places with best sellers, without items of the model",
}
"""Compared metrics: name and meaning."""
BETTER: Final = ("ndcg_at_10", "recall_at_10", "map_at_10", "hit_rate_at_10", "roc_auc")
"""Metrics of which more is better. For the others it depends on the shop's goals."""
COSTS: Final = {
    "score_ms": "one list of 20: milliseconds on one thread",
    "artifact_mb": "stored model: megabytes",
    "fit_seconds": "one fit: seconds",
}
PARTS: Final = {
    WARM: f"known well: {COLD_BASKETS} baskets or more",
    COLD: f"hardly known: 1 to {COLD_BASKETS - 1} baskets",
    NEWCOMER: "newcomers: no basket before",
}


@dataclass(frozen=True)
class Line:
    """One metric of all models."""

    figure: str
    meaning: str
    values: dict[str, Estimate]
    """By model, without models that lack the metric. Bounds are NaN without an interval."""
    difference: Estimate | None = None
    """The candidate less the reference; means over users have a paired interval."""

    @property
    def verdict(self) -> str:
        """`better` or `worse` if the whole interval is on one side and more is better; else empty."""
        difference = self.difference
        if difference is None or self.figure.removeprefix(NEW).removeprefix(REPEAT) not in BETTER:
            return ""
        return "better" if difference.low > 0 else "worse" if difference.high < 0 else ""


def comparison(
    candidate: str, reference: str | None, evaluations: Mapping[str, Evaluation], seed: int, kind: str = ""
) -> list[Line]:
    """Return a line for each of `FIGURES` that the candidate has, over the items of this `kind`: a prefix."""
    evaluation, other = evaluations[candidate], evaluations.get(reference or "")
    names = [kind + name for name in FIGURES if np.isfinite(evaluation.summary.get(kind + name, np.nan))]
    gained = gains(evaluation, other, names, seed) if other else {}
    return [
        Line(name, FIGURES[name.removeprefix(kind)], _values(evaluations, name), gained.get(name)) for name in names
    ]


def by_history(candidate: str, reference: str | None, evaluations: Mapping[str, Evaluation], seed: int) -> list[Line]:
    """Return NDCG at 10 by length of history, without empty parts."""
    evaluation, other = evaluations[candidate], evaluations.get(reference or "")
    parts = {part: _values(evaluations, part + METRIC) for part in PARTS}
    present = {part: values for part, values in parts.items() if candidate in values}
    gained = gains_by_history(evaluation, other, seed) if other else {}
    return [
        Line(
            METRIC,
            f"{PARTS[part]}, {evaluation.summary.get(f'{part}users', np.nan):,.0f} people",
            values,
            gained.get(part),
        )
        for part, values in present.items()
    ]


def baseline_figures(evaluations: Mapping[str, Evaluation]) -> dict[str, float]:
    """Return the accuracy of the models that every other model must beat, under their names in MLflow."""
    kinds = [kind for kind in (Kind.MOST_POPULAR, Kind.OWN_FREQUENCY) if kind in evaluations]
    return {f"{BASELINE_GROUP}/{kind}_{METRIC}": evaluations[kind].summary[METRIC] for kind in kinds}


def costs(evaluations: Mapping[str, Evaluation]) -> list[Line]:
    """Return the costs of the models: time and size."""
    lines = [Line(name, meaning, _values(evaluations, name)) for name, meaning in COSTS.items()]
    return [line for line in lines if line.values]


def _values(evaluations: Mapping[str, Evaluation], name: str) -> dict[str, Estimate]:
    summaries = {model: evaluation.summary for model, evaluation in evaluations.items()}
    missing = float("nan")
    return {
        model: Estimate(summary[name], summary.get(name + LOW, missing), summary.get(name + HIGH, missing))
        for model, summary in summaries.items()
        if np.isfinite(summary.get(name, missing))
    }


def format_estimate(figure: Estimate | None, sign: str = "") -> str:
    """Return a figure as text, with its interval if it has one; `sign` is `+` for differences."""
    if figure is None:
        return "-"
    value, low, high = (_number(number, sign) for number in figure)
    return f"{value} ({low} to {high})" if np.isfinite(figure.low) else value


def _number(value: float, sign: str) -> str:
    return f"{value:{sign},.1f}" if abs(value) >= 10 else f"{value:{sign}.4f}"


def gains(one: Evaluation, other: Evaluation, names: Sequence[str], seed: int) -> dict[str, Estimate | None]:
    """Return `one` less the other by metric; None if they cannot be compared.

    Metrics per user have paired intervals, all from the same resampled users.
    """
    per_user = [name for name in names if name in one.per_user.column_names and name in other.per_user.column_names]
    both = {name: paired(one, other, name) for name in per_user}
    gained = estimates({name: figures[0] - figures[1] for name, figures in both.items() if figures}, seed)
    return {name: gained.get(name) if name in per_user else _together(one, other, name) for name in names}


def gains_by_history(one: Evaluation, other: Evaluation, seed: int) -> dict[str, Estimate | None]:
    """Return gains in the deciding metric by part of the users: `WARM`, `COLD`, and `NEWCOMER`.

    Newcomers have no interval because only their means are stored. Empty parts are left out.
    """
    gains_by_part = _by_baskets(one, other, seed) if "baskets" in one.per_user.column_names else {}
    if NEWCOMER + METRIC in one.summary:
        gains_by_part[NEWCOMER] = _together(one, other, NEWCOMER + METRIC)
    return gains_by_part


def _by_baskets(one: Evaluation, other: Evaluation, seed: int) -> dict[str, Estimate | None]:
    both = paired(one, other, METRIC)
    if both is None:
        return {}
    few, gained = one.per_user["baskets"].to_numpy() < COLD_BASKETS, both[0] - both[1]
    parts = {WARM: np.where(few, np.nan, gained), COLD: np.where(few, gained, np.nan)}
    return dict(estimates({part: values for part, values in parts.items() if np.isfinite(values).any()}, seed))


def _together(one: Evaluation, other: Evaluation, name: str) -> Estimate | None:
    """Return the difference of two means, without an interval."""
    if name not in other.summary:
        return None
    return Estimate(one.summary[name] - other.summary[name], np.nan, np.nan)


BASELINES: Final = ("most_popular", "segment_popular", "own_frequency", "own_and_popular")
"""Models that every other model has to beat, in this order."""

GAIN: Final = "gain"

LeaderboardRow = dict[str, str | float]
"""The name as `model`, and figures by their names."""
Row = Mapping[str, Any]
Table = list[dict[str, str]]

_PLAIN: Final = {"recall_at_10": "recall", "hit_rate_at_10": "hit rate", "coverage_at_10": "coverage"}


def leaderboard(evaluations: Mapping[str, Evaluation], metric: str = METRIC, seed: int = SEED) -> list[LeaderboardRow]:
    """Return one row per model: its name as `model`, its summary, and a `gain` by kind of items with its interval.

    Baselines come first, then the others by the metric, the best last. A gain is relative to the best row above. The
    first row has no gain, and neither has a row whose gain cannot be measured.
    """
    steps = leaderboard_order({name: evaluation.summary[metric] for name, evaluation in evaluations.items()})
    rows: list[LeaderboardRow] = []
    for step, name in enumerate(steps):
        row: LeaderboardRow = {"model": name, **evaluations[name].summary}
        known = evaluations[name].per_user.column_names
        for items in (kind for kind in ITEM_KINDS if step and kind + metric in known):
            above = {other: evaluations[other].summary.get(items + metric, np.nan) for other in steps[:step]}
            best = max(above, key=lambda other: np.nan_to_num(above[other], nan=-np.inf))
            gained = gain(evaluations[name], evaluations[best], items + metric, seed)
            row |= with_bounds({items + GAIN: gained}) if gained else {}
        rows.append(row)
    return rows


def leaderboard_order(values: Mapping[str, float]) -> list[str]:
    """Return the names of models in order: baselines, then the others by value."""
    others = sorted(set(values) - set(BASELINES), key=lambda name: (values[name], name))
    return [*(name for name in BASELINES if name in values), *others]


def tables(rows: Iterable[Row]) -> dict[str, Table]:
    """Return tables by title, for each kind of items: gains, and accuracy by length of history."""
    rows = list(rows)
    measured = {
        title: kind for title, kind in _ITEMS.items() if any(row.get(kind + METRIC) is not None for row in rows)
    }
    titled = {f"{title}: each model against the best above it": _steps(rows, kind) for title, kind in measured.items()}
    titled |= {f"{title}: NDCG@10 by how long users are known": _parts(rows, kind) for title, kind in measured.items()}
    return {title: table for title, table in titled.items() if table}


_ITEMS: Final = {"All items": "", "Items new to the user": NEW, "Items that the user had bought": REPEAT}


def _steps(rows: list[Row], kind: str) -> Table:
    return [
        {
            "model": row["model"],
            "NDCG@10 (95 %)": _with_interval(row, kind + METRIC, ""),
            "gain (95 %)": _with_interval(row, kind + GAIN, "+"),
            **{title: _signed(row.get(kind + name), "") for name, title in _PLAIN.items()},
        }
        for row in rows
    ]


def _parts(rows: list[Row], kind: str) -> Table:
    """Return a table with a column for each part of the users that is not empty."""
    titles = {WARM: f"from {COLD_BASKETS} baskets on", COLD: "fewer baskets", NEWCOMER: "newcomers"}
    first: Row = rows[0] if rows else {}
    user_counts = {part: first[f"{part}{kind}users"] for part in titles if f"{part}{kind}users" in first}
    heads = {part: f"{titles[part]} ({users:,.0f})" for part, users in user_counts.items()}
    cells = [{head: _with_interval(row, part + kind + METRIC, "") for part, head in heads.items()} for row in rows]
    return [{"model": row["model"], **cell_row} for row, cell_row in zip(rows, cells, strict=True)] if heads else []


def _with_interval(row: Row, name: str, sign: str) -> str:
    if row.get(name) is None or row.get(name + LOW) is None:
        return _signed(row.get(name), sign)
    return f"{_signed(row[name], sign)} ({row[name + LOW]:{sign}.4f}, {row[name + HIGH]:{sign}.4f})"


def _signed(value: float | None, sign: str) -> str:
    return "" if value is None else f"{value:{sign}.4f}"
