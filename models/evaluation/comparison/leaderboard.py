"""Builds the leaderboard: baselines first, and the gain of each model over the best one before it."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from models.evaluation.comparison.paired import gain
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.metrics.user_averages import COLD, COLD_BASKETS, HIGH, LOW, NEW, NEWCOMER, WARM, with_bounds
from models.evaluation.offline import SEED, Evaluation

BASELINES: Final = ("most_popular", "segment_popular", "own_frequency", "own_and_popular")
"""Models that every other model has to beat, in this order."""

GAIN: Final = "gain"

LeaderboardRow = dict[str, str | float]
"""The name as `model`, and figures by their names."""
Row = Mapping[str, Any]
Table = list[dict[str, str]]

_PLAIN: Final = {"recall_at_10": "recall", "hit_rate_at_10": "hit rate", "coverage_at_10": "coverage"}


def leaderboard(evaluations: Mapping[str, Evaluation], metric: str = METRIC, seed: int = SEED) -> list[LeaderboardRow]:
    """Return one row per model: its name as `model`, its summary, and `gain` and `new_gain` with intervals.

    Baselines come first, then the others by the metric, the best last. A gain is relative to the best row above. The
    first row has no gain, and neither has a row whose gain cannot be measured.
    """
    steps = leaderboard_order({name: evaluation.summary[metric] for name, evaluation in evaluations.items()})
    rows: list[LeaderboardRow] = []
    for step, name in enumerate(steps):
        row: LeaderboardRow = {"model": name, **evaluations[name].summary}
        for items in ("", NEW) if step else ():
            above = {other: evaluations[other].summary.get(items + metric, np.nan) for other in steps[:step]}
            best = max(above, key=lambda other: np.nan_to_num(above[other], nan=-np.inf))
            gained = gain(evaluations[name], evaluations[best], items + metric, seed)
            row |= with_bounds(items + GAIN, gained) if gained else {}
        rows.append(row)
    return rows


def leaderboard_order(values: Mapping[str, float]) -> list[str]:
    """Return the names of models in order: baselines, then the others by value."""
    others = sorted(set(values) - set(BASELINES), key=lambda name: (values[name], name))
    return [*(name for name in BASELINES if name in values), *others]


def tables(rows: Iterable[Row]) -> dict[str, Table]:
    """Return tables by title: gains over all items and over new items, and accuracy by length of history."""
    rows = list(rows)
    titled = {f"{title}: each model against the best above it": _steps(rows, kind) for title, kind in _ITEMS.items()}
    titled |= {f"{title}: NDCG@10 by how long users are known": _parts(rows, kind) for title, kind in _ITEMS.items()}
    return {title: table for title, table in titled.items() if table}


_ITEMS: Final = {"All items": "", "Items new to the user": NEW}


def _steps(rows: list[Row], kind: str) -> Table:
    return [
        {
            "model": row["model"],
            "NDCG@10 (95 %)": _with_interval(row, kind + METRIC, ""),
            "gain (95 %)": _with_interval(row, kind + GAIN, "+"),
            **{title: _number(row.get(kind + name), "") for name, title in _PLAIN.items()},
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
        return _number(row.get(name), sign)
    return f"{_number(row[name], sign)} ({row[name + LOW]:{sign}.4f}, {row[name + HIGH]:{sign}.4f})"


def _number(value: float | None, sign: str) -> str:
    return "" if value is None else f"{value:{sign}.4f}"
