"""Publishes lists without a model by the steps of scoring; the process may be stopped at each step."""

import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from infra.installation import current
from models.lists.ranked_lists import Lists
from models.lists.rules.placement_config import Placement
from tasks.scoring import batch_state
from tasks.scoring.publish_batch import Segments, TextCodes, Work, publish_lists
from tests.faults.storm.stop import Stop

USERS, K, ITEMS, CHUNK = 240, 5, 40, 30
BREATH = 0.01
"""Seconds that a chunk of lists takes to make."""
COPY, DROP = "in the middle of COPY", "drop"
STEPS = {
    "claim": "^INSERT INTO recommendation_batches",
    "stage": "^CREATE TABLE batch_items",
    "keys": "^ALTER TABLE batch_items_[0-9]+ ADD PRIMARY KEY",
    COPY: "nothing that SQLAlchemy sees",
    "check": r"SELECT count\(\*\) AS lists",
    "attach": "^ALTER TABLE recommendations ATTACH",
    "between attach and point": "JOIN pg_locks",
    "point": "^(INSERT INTO|UPDATE) placements",
    "pointed": "^UPDATE recommendation_batches SET status=.* NOT IN",
    "retire": "^ALTER TABLE recommendations DETACH",
    DROP: "^DROP TABLE IF EXISTS recommendations",
}
"""The statement a process has just sent, and maybe not committed, when it stops at a step."""


@cache
def whole(number: int) -> frozenset[tuple[str, int, str, float]]:
    """What readers see of a run's batch: user, rank, item and score."""
    users = [(f"u{user:03}", user) for user in range(USERS)]
    return frozenset(
        (name, rank + 1, f"i{(user + number + rank) % ITEMS}", float(number * K + K - rank))
        for name, user in users
        for rank in range(K)
    )


def publish_run(number: int, step: str | None, outcome: str) -> None:
    """Publish the lists of that run. Stop at the step, if one is given, until the test lets the process go on."""
    installation = current()
    stop = Stop(step, Path(outcome), STEPS)
    stop.listen()
    publish_lists(installation, lambda: work(number, stop), "home")


def work(number: int, stop: Stop) -> Work:
    """Lists that differ by the number of their run only."""
    users = np.array([f"u{user:03}" for user in range(USERS)])
    items = np.array([f"i{item}" for item in range(ITEMS)])

    def lists(texts: TextCodes) -> Iterator[Lists]:
        why = texts.codes(["because"])[0]
        for first in range(0, USERS, CHUNK):
            time.sleep(BREATH)
            if first == USERS // 2:
                stop.at(COPY)
            rows, ranks = np.arange(first, first + CHUNK), np.arange(K)
            listed = (rows[:, None] + number + ranks) % ITEMS
            scores = np.broadcast_to(number * K + K - ranks, listed.shape)
            reasons = np.full(listed.shape, why, dtype=np.int32)
            short = np.full(CHUNK, "")
            yield Lists(rows, users[rows], listed.astype(np.int32), scores.astype(np.float32), reasons, short)

    return Work(
        Placement(k=K),
        batch_state.BatchSpec("home", f"run {number}", number, "v1", K),
        users,
        items,
        np.ones(ITEMS, dtype=bool),
        lists,
        Segments(["all"], np.zeros(USERS, dtype=np.int64)),
    )
