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

from tests.faults.storm.publishing import Shelves
from tests.faults.storm.reports import report
from tests.faults.storm.shelves import COPY, DROP, STEPS

if TYPE_CHECKING:
    from conftest import Site

KILLS_IN_SHORT, KILLS_A_ROUND, RESTARTS = 12, 3, 0.1
LOSE_LOCK = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
WAITING = """
    SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO recommendation_batches%'
"""


@pytest.fixture(scope="module")
def shelves(
    found_empty_site: Callable[[str, Path], Site], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shelves]:
    made = Shelves(found_empty_site("shelves", tmp_path_factory.mktemp("shelves")))
    with made.readers:
        yield made
    made.engine.dispose()


@pytest.fixture
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether it may take minutes."""
    return bool(request.config.getoption("--kills"))


def test_a_run_that_is_killed_at_any_step_is_taken_up_by_the_next(shelves: Shelves, thorough: bool) -> None:
    number = shelves.new()
    for step in STEPS:
        assert shelves.stopped(number, step).kill(), step
        if thorough or shelves.live() == number:
            shelves.settle(number)
            number = shelves.new()
    shelves.settle(number)


def test_postgres_may_stop_at_once_at_any_step(shelves: Shelves, thorough: bool) -> None:
    number = shelves.new()
    for step in (COPY, "check", "attach", "point", *(["retire"] if thorough else [])):
        run = shelves.stopped(number, step)
        shelves.restart()
        run.go_on()
        said = run.said()
        assert "Nothing is lost" in (said["told"] or ""), (step, said)
        if thorough:
            shelves.settle(number)
            number = shelves.new()
    shelves.settle(number)


def test_a_kept_batch_whose_tables_went_in_a_run_that_was_killed_is_none_to_go_back_to(shelves: Shelves) -> None:
    oldest = shelves.kept()[-1]
    assert shelves.stopped(oldest, DROP).kill()
    assert oldest not in shelves.kept()
    shelves.settle(oldest)


def test_what_a_run_publishes_that_has_lost_its_lock_is_not_made_anew_by_the_one_that_got_it(shelves: Shelves) -> None:
    number = shelves.new()
    late = shelves.stopped(number, "point")
    shelves.site.sql(LOSE_LOCK)
    other = shelves.start(number)
    while not shelves.site.sql(WAITING):
        assert other.alive(), other.said()
        time.sleep(0.005)
    late.go_on()
    assert (late.said()["kinds"], other.said()["kinds"]) == ([], [])
    shelves.settle(number)


def test_whatever_is_killed_readers_see_one_whole_batch_and_the_disk_is_given_back(
    shelves: Shelves, thorough: bool, request: pytest.FixtureRequest
) -> None:
    kills, seed = request.config.getoption("--kills") or KILLS_IN_SHORT, request.config.getoption("--seed")
    began = time.monotonic()
    shelves.finish(shelves.new())
    span, total = time.monotonic() - began, Counter[str]()
    for number in count(seed):
        storm = Storm(np.random.default_rng(number), span, RESTARTS if thorough else 0)
        done = rage(shelves, storm, min(KILLS_A_ROUND, kills - total["kills"]))
        total += done + Counter({"rounds that converged": 1})
        print(f"seed {number}: {dict(done)}", flush=True)
        if total["kills"] >= kills:
            break
    readers = shelves.readers
    seen = {"reads": readers.reads, "reads without PostgreSQL": readers.failed, "batches seen": len(readers.runs)}
    report("publishing", seed, {**total, **seen})


class Storm(NamedTuple):
    """What decides the moments, how long a run takes, and how often PostgreSQL goes too."""

    random: np.random.Generator
    span: float
    restarts: float


def rage(shelves: Shelves, storm: Storm, kills: int) -> Counter[str]:
    """A run, alone or beside another, is killed several times over; then it settles."""
    random, done, log = storm.random, Counter[str](), list[str]()
    number = shelves.new()
    beside = [number, shelves.new(), *shelves.kept()]
    try:
        while done["kills"] < kills:
            mine = [number] if random.random() < 0.6 else [number, int(random.choice(beside))]
            runs = [shelves.start(one) for one in mine]
            time.sleep(random.uniform(0.02, storm.span))
            outage = bool(random.random() < storm.restarts)
            if outage:
                shelves.restart(signal.SIGQUIT if random.random() < 0.5 else signal.SIGKILL)
                done["restarts of PostgreSQL"] += 1
            for run in runs:
                killed = not outage and run.kill()
                said = "killed" if killed else run.said()
                log.append(f"{run.job}: {said} after {time.monotonic() - run.since:.2f} s")
                done["kills" if killed else "finished"] += 1
                assert killed or well(run.said(), outage), log[-1]
        shelves.settle(number)
    except BaseException:
        print(*log, sep="\n")
        raise
    return done


def well(said: dict[str, Any], outage: bool) -> bool:
    """A run came to its end, was overtaken, or lost the database."""
    return said["kinds"][:1] in ([], ["OvertakenError"]) or (outage and "Nothing is lost" in (said["told"] or ""))
