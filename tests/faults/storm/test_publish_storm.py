"""Real processes publish lists while they, and PostgreSQL, are killed at any moment, and readers read on."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from tests.faults.storm.conftest import report
from tests.faults.storm.publishing import COPY, DROP, STEPS, Publisher

if TYPE_CHECKING:
    from conftest import Site

KILLS_IN_SHORT, KILLS_A_ROUND, RESTARTS = 12, 3, 0.1
LOSE_LOCK = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
WAITING = """
    SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO recommendation_batches%'
"""


@pytest.fixture(scope="module")
def publisher(make_site: Callable[[str, Path], Site], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Publisher]:
    made = Publisher(make_site("shelves", tmp_path_factory.mktemp("shelves")))
    with made.readers:
        yield made
    made.engine.dispose()


@pytest.fixture
def thorough(request: pytest.FixtureRequest) -> bool:
    """Return whether the test may take minutes."""
    return bool(request.config.getoption("--kills"))


def test_a_run_that_is_killed_at_any_step_is_taken_up_by_the_next(publisher: Publisher, thorough: bool) -> None:
    number = publisher.new()
    for step in STEPS:
        assert publisher.stopped(number, step).kill(), step
        if thorough or publisher.live() == number:
            publisher.settle(number)
            number = publisher.new()
    publisher.settle(number)


def test_postgres_may_stop_at_once_at_any_step(publisher: Publisher, thorough: bool) -> None:
    number = publisher.new()
    for step in (COPY, "check", "attach", "point", *(["retire"] if thorough else [])):
        run = publisher.stopped(number, step)
        publisher.restart()
        run.go_on()
        outcome = run.outcome()
        assert "Nothing is lost" in (outcome["message"] or ""), (step, outcome)
        if thorough:
            publisher.settle(number)
            number = publisher.new()
    publisher.settle(number)


def test_a_kept_batch_whose_tables_went_in_a_run_that_was_killed_is_none_to_go_back_to(publisher: Publisher) -> None:
    oldest = publisher.rollback_batches()[-1]
    assert publisher.stopped(oldest, DROP).kill()
    assert oldest not in publisher.rollback_batches()
    publisher.settle(oldest)


def test_a_batch_of_a_run_that_lost_its_lock_is_not_repeated_by_the_run_that_got_it(
    publisher: Publisher,
) -> None:
    number = publisher.new()
    late = publisher.stopped(number, "point")
    publisher.site.sql(LOSE_LOCK)
    other = publisher.start(number)
    while not publisher.site.sql(WAITING):
        assert other.alive(), other.outcome()
        time.sleep(0.005)
    late.go_on()
    assert (late.outcome()["kinds"], other.outcome()["kinds"]) == ([], [])
    publisher.settle(number)


def test_whatever_is_killed_readers_see_one_whole_batch_and_the_disk_is_given_back(
    publisher: Publisher, thorough: bool, kills: Callable[[int], int], seed: int
) -> None:
    wanted_kills, began = kills(KILLS_IN_SHORT), time.monotonic()
    publisher.finish(publisher.new())
    span, total = time.monotonic() - began, Counter[str]()
    for number in count(seed):
        storm = Storm(np.random.default_rng(number), span, RESTARTS if thorough else 0)
        done = rage(publisher, storm, min(KILLS_A_ROUND, wanted_kills - total["kills"]))
        total += done + Counter({"rounds that converged": 1})
        print(f"seed {number}: {dict(done)}", flush=True)
        if total["kills"] >= wanted_kills:
            break
    readers = publisher.readers
    seen = {"reads": readers.reads, "reads without PostgreSQL": readers.failed, "batches seen": len(readers.runs)}
    report("publishing", seed, {**total, **seen})


class Storm(NamedTuple):
    """The random moments, the duration of a run, and how often PostgreSQL is killed too."""

    random: np.random.Generator
    span: float
    restarts: float


def rage(publisher: Publisher, storm: Storm, kills: int) -> Counter[str]:
    """Kill a run, alone or beside another, several times; then let it finish."""
    random, done, log = storm.random, Counter[str](), list[str]()
    number = publisher.new()
    beside = [number, publisher.new(), *publisher.rollback_batches()]
    try:
        while done["kills"] < kills:
            numbers = [number] if random.random() < 0.6 else [number, int(random.choice(beside))]
            runs = [publisher.start(one) for one in numbers]
            time.sleep(random.uniform(0.02, storm.span))
            outage = bool(random.random() < storm.restarts)
            if outage:
                publisher.restart(signal.SIGQUIT if random.random() < 0.5 else signal.SIGKILL)
                done["restarts of PostgreSQL"] += 1
            for run in runs:
                killed = not outage and run.kill()
                outcome = "killed" if killed else run.outcome()
                log.append(f"{run.job}: {outcome} after {time.monotonic() - run.since:.2f} s")
                done["kills" if killed else "finished"] += 1
                assert killed or well(run.outcome(), outage), log[-1]
        publisher.settle(number)
    except BaseException:
        print(*log, sep="\n")
        raise
    return done


def well(outcome: dict[str, Any], outage: bool) -> bool:
    """Return whether a run finished, was overtaken, or lost the database."""
    return outcome["kinds"][:1] in ([], ["OvertakenError"]) or (
        outage and "Nothing is lost" in (outcome["message"] or "")
    )
