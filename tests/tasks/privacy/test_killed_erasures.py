"""Erasures are killed at any moment, and other work runs before they go on."""

import signal
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import text

from infra import locks
from infra.database.schema.privacy_schema import ERASE
from infra.installation import Installation
from infra.keys.trust import KeyRotatingError
from serving.queries.user_recommendations import user_list
from tasks.datasets.build_dataset import build_dataset, split_by
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.quarantine.replay_rows import replay_quarantine
from tasks.privacy.erase_users import erase_users
from tasks.privacy.requests import ask, requests
from tasks.scoring import batch_state
from tasks.scoring.roll_back import roll_back_lists
from tasks.scoring.score_placement import score_placement
from tests.tasks import forked
from tests.tasks.privacy.stores import holding, keys_of
from tests.tasks.privacy.test_erase_users import KEEPS_OUT, events_of_others
from tests.waiting import until

_KILLS_OF_ONE = 3
_KILLED = """
import signal
from infra.installation import current
from tasks.privacy.erase_users import erase_users
here = current()
here.lake
signal.setitimer(signal.ITIMER_REAL, {after})
erase_users(here)
"""


def shown_batch(here: Installation) -> int | None:
    with here.engine.connect() as connection:
        return batch_state.live_batch(connection, "home")


def is_erasing(here: Installation) -> bool:
    try:
        with locks.locked(here.engine):
            return False
    except KeyRotatingError:
        return True


@pytest.mark.parametrize("kills", [6, pytest.param(30, marks=pytest.mark.faults)])
def test_erasures_that_are_killed_among_other_work_leave_nothing_and_change_nobody_else(
    published: Any, kills: int
) -> None:
    here, chance, bought, died = published.here, np.random.default_rng(kills), published.shop.transactions, 0
    keys = keys_of(here)
    *people, last, stays = sorted(keys)[: kills // _KILLS_OF_ONE + 2]
    erased = [keys[one] for one in (*people, last)]
    score_placement.fn(k=5)
    shown, others = user_list(here.engine, stays), events_of_others(here, erased)
    ask(here, ERASE, [last], "ann", "asked by mail")
    started = time.monotonic()
    erase_users(here)
    seconds = time.monotonic() - started  # with the imports of this process, which the others share

    with here.engine.connect() as connection:
        first = connection.execute(text("SELECT batch_id FROM quarantine ORDER BY batch_id")).scalar()

    def ingest() -> None:
        published.shop.write(transactions=bought.append_column("turn", pa.array([str(died)] * len(bought))))
        ingest_events.fn("complete_journey", published.shop.events_file)

    def score_and_roll_back() -> None:
        before = shown_batch(here)
        score_placement.fn(k=5)
        if shown_batch(here) != before:
            roll_back_lists.fn("home", "ann", "odd prices")
        assert shown_batch(here) == before

    between = (
        ingest,
        lambda: replay_quarantine.fn(first),
        lambda: build_dataset.fn(split_by(validation_days=20, test_days=20)),
        score_and_roll_back,
    )
    for at, one in enumerate(people):
        ask(here, ERASE, [one], "ann", "asked by mail")
        for turn in range(_KILLS_OF_ONE):
            ended = forked.run(_KILLED.format(after=chance.uniform(0.001, seconds / 2)))
            assert ended.code in (0, -signal.SIGALRM), ended.err
            died += ended.code != 0
            until(lambda: not is_erasing(here))  # PostgreSQL notices the end of the process
            between[(at * _KILLS_OF_ONE + turn) % len(between)]()
        erase_users(here)
        assert holding(here, {*erased[: at + 1], keys[last]}) == [KEEPS_OUT]
    assert died > kills / 6
    assert user_list(here.engine, stays) == shown
    assert events_of_others(here, erased) == others
    assert {line["state"] for line in requests(here.engine)} == {"done"}
