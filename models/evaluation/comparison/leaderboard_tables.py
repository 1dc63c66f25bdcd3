"""Formats the leaderboard as tables, for pages and terminals."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from models.evaluation.comparison.leaderboard import GAIN
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.metrics.user_averages import COLD, COLD_BASKETS, HIGH, LOW, NEW, NEWCOMER, WARM

Row = Mapping[str, Any]
Table = list[dict[str, str]]

_PLAIN: Final = {"recall_at_10": "recall", "hit_rate_at_10": "hit rate", "coverage_at_10": "coverage"}


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
