"""PostgreSQL's clock jumps under ingests, publishing and leases: nothing is lost, doubled or seen by half."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
from sqlalchemy import Engine

from infra.database.engine import engine
from infra.services import ports
from infra.services.embedded_postgres import EmbeddedPostgres
from tasks.monitoring.retraining.requests import (
    Claim,
    SupersededError,
    claim,
    finish,
    get_request,
    renew_lease,
    request_retraining,
)
from tests.faults.storm.clocks import Clock
from tests.faults.storm.conftest import crashing, prepare, report
from tests.faults.storm.publishing import Publisher

if TYPE_CHECKING:
    from conftest import Site

pytestmark = pytest.mark.faults

JOBS = ("people", "table", "overlap", "dirty", "calls", "more", "late")
ROUNDS, PUBLISHING, LEASES, LONGEST, LEASE = 3, 12, 12, 0.2, 5.0


@pytest.fixture(scope="module")
def clock(seed: int, tmp_path_factory: pytest.TempPathFactory) -> Clock:
    folder = tmp_path_factory.mktemp("clock")
    for path in (folder, *folder.parents[:2]):
        path.chmod(0o755)  # PostgreSQL may be another user
    return Clock(folder, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def server(clock: Clock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """Replace the server of the other storms by one whose clock jumps."""
    port = ports.free(19433 + os.getpid() % 1000)
    with crashing(EmbeddedPostgres(tmp_path_factory.mktemp("displaced"), port)) as made:
        restart(made, clock)
        prepare(made)
        yield made


def restart(server: EmbeddedPostgres, clock: Clock) -> None:
    """The same program with the same options and user, with the clock in its environment."""
    running = server.running()
    assert running is not None
    process = psutil.Process(running.pid)
    command, environment, user = process.cmdline(), process.environ(), process.uids().real
    server.stop()
    identity: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if user != os.geteuid() else {}
    with server.log.open("ab") as log:
        how: dict[str, Any] = {"cwd": "/", "stdout": log, "stderr": log, "start_new_session": True}
        subprocess.Popen(command, env=environment | clock.environment, **how, **identity)
    deadline = time.monotonic() + 30
    while True:
        try:
            with engine(server.url()).connect():
                return
        except Exception:
            assert time.monotonic() < deadline, server.log.read_text()[-600:]
            time.sleep(0.05)


def settled(site: Site, jobs: Any) -> dict[str, Any]:
    site.finish("catalogue")
    site.settle(jobs)
    site.check_ledger()
    return site.state()


def test_ingests_lose_and_double_nothing_while_the_clock_of_postgres_jumps(
    make_site: Callable[[str, Path], Site], clock: Clock, seed: int, tmp_path: Path
) -> None:
    expected = settled(make_site("calm", tmp_path / "calm"), JOBS)
    done: Counter[str] = Counter()
    before = clock.jumps
    for number in range(seed, seed + ROUNDS):
        site = make_site(f"clock_{number}", tmp_path / f"round-{number}")
        jobs = np.random.default_rng(number).permutation(JOBS).tolist()
        with clock.jumping(LONGEST):
            state = settled(site, jobs)
        for name, rows in expected.items():
            assert state[name] == rows, (number, name)
        done["rounds that converged"] += 1
    report("ingests while the clock of postgres jumps", seed, {**done, "jumps": clock.jumps - before})


def test_readers_see_one_whole_batch_while_the_clock_of_postgres_jumps(
    make_site: Callable[[str, Path], Site], clock: Clock, seed: int, tmp_path: Path
) -> None:
    publisher, before = Publisher(make_site("shelves", tmp_path / "shelves")), clock.jumps
    with publisher.readers:
        for _ in range(PUBLISHING):
            number = publisher.new()
            with clock.jumping(LONGEST):
                runs = [publisher.start(number), publisher.start(number)]
                assert [run.outcome()["kinds"][:1] in ([], ["OvertakenError"]) for run in runs] == [True, True]
            publisher.settle(number)  # a limit of time that a jump has passed leaves tables for the next sweep
    publisher.engine.dispose()
    readers = publisher.readers
    counts = {"batches": PUBLISHING, "reads": readers.reads, "jumps": clock.jumps - before}
    report("publishing while the clock of postgres jumps", seed, counts)


def open_request(store: Engine) -> int:
    with store.begin() as connection:
        made = request_retraining(connection, "person", "a storm")
    assert made is not None
    return made.request_id


def work(store: Engine, request_id: int, seconds: float) -> str | None:
    """Claim a request, work on it and close it; return the outcome, or None if another process works on it."""
    held: Claim | None = claim(store, request_id, None, LEASE)
    if held is None:
        return None
    with renew_lease(held):
        time.sleep(seconds)
    return "closed" if finish(held, "done", "kept") else "superseded"


def test_a_request_is_closed_once_whoever_the_clock_of_postgres_makes_silent(
    make_site: Callable[[str, Path], Site], clock: Clock, seed: int, tmp_path: Path
) -> None:
    site = make_site("leases", tmp_path / "leases")
    store, done = engine(site.server.url(site.name)), Counter[str]()
    for _ in range(LEASES):
        request_id = open_request(store)
        held = claim(store, request_id, None, LEASE)
        assert held is not None
        with renew_lease(held):
            jump = clock.jump()
            other = work(store, request_id, 0.05)
            assert other == ("closed" if jump > LEASE else None), jump
            first = finish(held, "done", "kept")
            clock.set(0)
        assert [other == "closed", first].count(True) == 1, (other, first)
        if not first:
            with pytest.raises(SupersededError):
                held.ensure_held()
        with store.connect() as connection:
            assert get_request(connection, request_id).status == "done"
        done["closed by the first" if first else "closed by the other"] += 1
    store.dispose()
    report("leases while the clock of postgres jumps", seed, done)
