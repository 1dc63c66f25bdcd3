"""A small simulated shop with stationary windows, as columns of events."""

import numpy as np

from models.monitoring.drift.calibration.windows import History
from models.monitoring.drift.signals.event_columns import DAY, KIND, MISSING_CODE, Events, ItemTable, gaps

USERS, ITEMS, START = 300, 40, 1_600_000_000 // DAY * DAY


def make_events(weeks: int, seed: int = 3, users: int = USERS) -> Events:
    """Return events: every user buys some items each week, popular ones more often, and views others."""
    random = np.random.default_rng(seed)
    user = np.repeat(np.tile(np.arange(users), weeks), 6)
    week = np.repeat(np.arange(weeks), users * 6)
    n = len(user)
    weight = 1 / np.arange(1, ITEMS + 1)
    item = random.choice(ITEMS, n, p=weight / weight.sum())
    kind = np.where(random.random(n) < 0.5, KIND["purchase"], KIND["view"])
    at = START + week * 7 * DAY + random.integers(0, 7 * DAY, n)
    order = np.argsort(at, kind="stable")
    user, item, kind, at = user[order], item[order], kind[order], at[order]
    bought = kind == KIND["purchase"]
    value = np.where(bought, (item + 1) * np.exp(random.normal(0, 0.2, n)), np.nan)
    ones = np.where(bought, 1.0, np.nan)
    empty, never = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.bool_)
    session = np.full(n, MISSING_CODE)
    since = np.full(n, START)
    gap = gaps(user, item, at, kind)
    return Events(user, item, kind, at, session, ones, value, bought, empty, never, since, since, gap)


def goods() -> ItemTable:
    """Return items in four categories."""
    category = np.arange(ITEMS) % 4
    return ItemTable(category, np.eye(4, dtype=np.float32)[category])


def history(result: Events, cut: int, users: int = USERS) -> History:
    """Return the shop's weeks; the champion knows the weeks before the cut."""
    return History(result, goods(), START, 7, cut, users)
