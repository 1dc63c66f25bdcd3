"""What the tests of placements share: a file of placements, what was bought, and what readers see."""

from collections.abc import Callable
from datetime import timedelta
from statistics import median
from typing import Any, NamedTuple

import duckdb
from sqlalchemy import text

Place = Callable[[str], None]


class Entry(NamedTuple):
    """A line of somebody's list."""

    item: str
    reason: str
    brand: str | None
    category: str | None
    price: float | None


def lists(stage: Any, placement: str = "home", about: str = "user_key") -> dict[str, list[Entry]]:
    """What readers see, best first."""
    view = "current_recommendations" if about == "user_key" else "current_item_recommendations"
    asked = text(f"SELECT * FROM {view} WHERE placement = :placement ORDER BY {about}, rank")
    found: dict[str, list[Entry]] = {}
    with stage.here.engine.connect() as connection:
        for row in connection.execute(asked, {"placement": placement}).mappings():
            line = (row["item_id"], row["reason"], row["brand"], row["category"], row["price"])
            found.setdefault(row[about], []).append(Entry(*line))
    return found


def items_of(shown: dict[str, list[Entry]]) -> dict[str, set[str]]:
    return {whose: {entry.item for entry in entries} for whose, entries in shown.items()}


def why_short(stage: Any) -> dict[str, str | None]:
    """The reason why each list at home is short, None if it is not."""
    live = "SELECT subject, shortfall_reason FROM recommendations JOIN placements USING (batch_id)"
    asked = text(f"{live} WHERE placements.placement = 'home'")
    with stage.here.engine.connect() as connection:
        return {row.subject: row.shortfall_reason for row in connection.execute(asked)}


def purchases(stage: Any) -> dict[str, dict[str, list[Any]]]:
    """When each user bought each item, by baskets, as the lake has it."""
    statement = """
        SELECT user_key, item_id, list(DISTINCT occurred_at ORDER BY occurred_at) FROM read_parquet($files)
        WHERE event_type = 'purchase' GROUP BY ALL
    """
    found: dict[str, dict[str, list[Any]]] = {}
    for user, item, moments in duckdb.execute(statement, {"files": stage.here.lake.event_files()}).fetchall():
        found.setdefault(user, {})[item] = moments
    return found


def due_now(bought: dict[str, dict[str, list[Any]]]) -> dict[str, set[str]]:
    """What is due of it, worked out one user and item after the other."""
    now = max(moments[-1] for items in bought.values() for moments in items.values())
    usual = {
        (user, item): (moments[-1] - moments[0]) / (len(moments) - 1)
        for user, items in bought.items()
        for item, moments in items.items()
        if len(moments) > 1
    }
    of_item: dict[str, list[timedelta]] = {}
    for (_, item), gap in usual.items():
        of_item.setdefault(item, []).append(gap)
    of_shop = median(usual.values()) if usual else timedelta()

    def is_due(user: str, item: str, last: Any) -> bool:
        others = of_item.get(item, [])
        gap = usual.get((user, item), median(others) if len(others) >= 3 else of_shop)
        return bool(now - last >= max(timedelta(days=1), gap))

    return {
        user: {item for item, moments in items.items() if is_due(user, item, moments[-1])}
        for user, items in bought.items()
    }
