"""Runs that publish lists one after another, each of which may stop at a step; readers must see whole batches."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import count
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from infra.database.engine import engine
from infra.installation import current
from models.lists.ranked_lists import Lists
from models.lists.rules.placement_config import Placement
from tasks.scoring import batch_state
from tasks.scoring.publish_batch import Segments, TextCodes, Work, publish_lists
from tests.published import bytes_of_lists, tables

if TYPE_CHECKING:
    from conftest import Run, Site

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
PUBLISH = "    from tests.faults.storm.publishing import publish_run\n    publish_run({number}, {step!r}, outcome)"
AGREED = f"""
    INSERT INTO users (user_key, attributes, consent, consent_source, batch_id)
    SELECT 'u' || lpad(n::text, 3, '0'), '{{}}', true, 'asked', 'b' FROM generate_series(0, {USERS - 1}) AS n
"""
FILES = """
    SELECT file, pg_filenode_relation(0, split_part(file, '.', 1)::oid) IS NULL AS orphan,
        (pg_stat_file(folder || file, true)).size
    FROM (SELECT 'base/' || oid || '/' FROM pg_database WHERE datname = current_database()) AS mine (folder),
        pg_ls_dir(folder) AS file
    WHERE file ~ '^[0-9.]+$'
"""
PAGE = 8192
"""What PostgreSQL leaves of a table whose making it did not survive; it has no way to be without."""
SHOWN = text("SELECT user_key, rank, item_id, score, batch_id FROM current_recommendations WHERE placement = 'home'")
STAY_SECONDS = (0.0, 0.04)
"""Seconds for which each of the readers keeps a transaction open."""
PAUSE_SECONDS = 0.05
"""Seconds between two reads of a reader. Without a pause the readers take a whole core from the storm."""


class Publisher:
    """An installation in which runs publish one after another."""

    def __init__(self, site: Site) -> None:
        self.site, self._numbers, self.outages = site, count(1), 0
        self.engine: Engine = engine(site.server.url(site.name))
        with self.engine.begin() as connection:
            connection.exec_driver_sql(AGREED)
        for _ in range(2 + batch_state.ROLLBACK_BATCHES):
            self.finish(self.new())
        self.readers = Readers(site.server.url(site.name))
        self.baseline = self.disk()

    def new(self) -> int:
        """Return the number of a run that has not begun."""
        return next(self._numbers)

    def start(self, number: int, step: str | None = None) -> Run:
        job = f"run {number} to {step}"
        if job not in self.site.programs:
            self.site.add(job, PUBLISH.format(number=number, step=step))
        return self.site.start(job)

    def stopped(self, number: int, step: str) -> Run:
        """Start a process, and wait until it has stopped at the step and the readers have read what is shown then."""
        run = self.start(number, step)
        while not run.stopped():
            assert run.alive(), run.outcome()
            time.sleep(0.005)
        self.readers.wait_for_reads()
        return run

    def finish(self, number: int) -> None:
        outcome = self.start(number).outcome()
        assert outcome["kinds"] == [], outcome

    def restart(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """PostgreSQL stops at once, as by `-m immediate`, and comes back."""
        running = self.site.server.running()
        assert running is not None
        self.readers.without_database()
        os.kill(running.pid, how)
        while self.site.server.running() is not None:
            time.sleep(0.005)
        self.site.server.start()
        self.readers.with_database()
        self.outages += 1

    def live(self) -> int | None:
        """The number of the run that readers see."""
        with self.engine.connect() as connection:
            live_batch = batch_state.live_batch(connection, "home")
            return None if live_batch is None else self._number(connection, live_batch)

    def rollback_batches(self) -> list[int]:
        """The numbers of the runs that could be shown, the latest made first."""
        with self.engine.connect() as connection:
            return [self._number(connection, batch) for batch in batch_state.retained(connection, "home")]

    def _number(self, connection: Connection, batch_id: int) -> int:
        return int(batch_state.batch_row(connection, batch_id)["run_key"].removeprefix("run "))

    def disk(self) -> tuple[int, int]:
        """Bytes of all lists, and the files of the database's tables and indexes; other files have nothing in them."""
        with self.engine.begin() as connection:
            connection.exec_driver_sql("CHECKPOINT")  # files of dropped tables stay, empty, until then
            files = connection.exec_driver_sql(FILES).all()
        orphans = [row.size for row in files if row.orphan]
        assert max(orphans, default=0) <= PAGE, orphans
        assert self.outages or not orphans
        return bytes_of_lists(self.engine), len(files) - len(orphans)

    def settle(self, number: int) -> None:
        """The same run again completes; then it is live, two are kept behind it, and nothing else is left."""
        self.finish(number)
        assert number == self.live()
        assert number in self.rollback_batches()
        # The run of one of them was killed while it made the batch again.
        while len(self.rollback_batches()) <= batch_state.ROLLBACK_BATCHES:
            self.finish(self.new())
        batch_state.sweep(self.engine)
        assert len(self.rollback_batches()) == 1 + batch_state.ROLLBACK_BATCHES
        with self.engine.connect() as connection:
            assert tables(self.engine) == set(batch_state.retained(connection, "home"))
        assert self.disk() == self.baseline
        self.readers.check()


class Readers:
    """Each of their reads sees one whole batch; without PostgreSQL they may see an error, and nothing else."""

    def __init__(self, url: str) -> None:
        self._url, self._done = url, Event()
        self._outages: list[list[float]] = []
        self._wrong: list[str] = []
        self.reads, self.failed, self.runs = 0, 0, set[int]()
        self._threads = [Thread(target=self._read_on, args=(stay,)) for stay in STAY_SECONDS]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def wait_for_reads(self) -> None:
        """Wait until each reader has read what is shown now, or is blocked by a lock."""
        enough, until = self.reads + 2 * len(self._threads), time.monotonic() + 0.5
        while self.reads < enough and time.monotonic() < until:
            time.sleep(0.005)

    def check(self) -> None:
        """Assert that no reader has seen anything wrong so far."""
        assert not self._wrong, self._wrong
        assert all(thread.is_alive() for thread in self._threads)

    def without_database(self) -> None:
        """Allow failed reads from now on."""
        self._outages.append([time.monotonic(), float("inf")])

    def with_database(self) -> None:
        """Allow no failed reads from now on."""
        self._outages[-1][1] = time.monotonic()

    def _read_on(self, stay: float) -> None:
        engine = create_engine(self._url, poolclass=NullPool)
        began = time.monotonic()
        while not self._done.is_set() and not self._wrong:
            try:
                with engine.connect() as connection:
                    while not self._done.is_set() and not self._wrong:
                        began = time.monotonic()
                        self._read(connection)
                        time.sleep(stay)
                        connection.rollback()
                        time.sleep(PAUSE_SECONDS)
            except OperationalError as error:
                if not any(since <= time.monotonic() and began <= until for since, until in self._outages):
                    self._wrong.append(repr(error))
                self.failed += 1
                time.sleep(0.01)

    def _read(self, connection: Connection) -> None:
        rows = connection.execute(SHOWN).all()
        batches = {row.batch_id for row in rows}
        number = int((rows[0].score - 1) // K) if rows else -1
        seen = {tuple(row[:4]) for row in rows}
        if len(batches) != 1 or seen != whole(number) or len(rows) != len(seen):
            self._wrong.append(f"{len(rows)} rows of batches {sorted(batches)}; run {number} has {len(whole(number))}")
        self.reads += 1
        self.runs.add(number)


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


class Stop:
    """Where a process stops: after a statement, or before a file or a server is reached, that matches the step.

    `statements` and `events` are patterns by step. An event is an audit event of the interpreter with its arguments,
    such as `os.rename` or `http.client.send`.
    """

    def __init__(
        self, step: str | None, outcome: Path, statements: Mapping[str, str], events: Mapping[str, str] = {}
    ) -> None:
        self.step, self.there, self.go = step, outcome.with_suffix(".stopped"), outcome.with_suffix(".go")
        self._statement, self._event = statements.get(step or ""), events.get(step or "")

    def listen(self) -> None:
        """Watch this process from now on."""
        if self._statement:
            event.listen(Engine, "after_cursor_execute", self.after)
        if self._event:
            sys.addaudithook(self._audit)

    def after(self, _connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        """Stop if the statement matches the step."""
        if self._statement and re.search(self._statement, statement.strip(), re.DOTALL):
            self.at(self.step)

    def at(self, step: str | None) -> None:
        """Stop there, once."""
        if step == self.step and not self.there.exists():
            self.there.touch()
            while not self.go.exists():
                time.sleep(0.005)

    def _audit(self, name: str, arguments: tuple[Any, ...]) -> None:
        # Of all events only few are looked at closely: the hook is called for every object that is made, too.
        watched = self._event and name in ("open", "os.rename", "http.client.send")
        if watched and re.search(self._event or "", f"{name} {arguments[:2]!r}", re.DOTALL):
            self.at(self.step)
