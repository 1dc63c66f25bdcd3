"""An installation in which runs publish one after another, and what has to be true of it in the end."""

from __future__ import annotations

import os
import signal
import time
from itertools import count
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine

from infra.database.engine import engine
from tasks.scoring import batch_state
from tests.faults.storm.publish_steps import USERS
from tests.faults.storm.readers import Readers
from tests.published import bytes_of_lists, tables

if TYPE_CHECKING:
    from conftest import Run, Site

PUBLISH = "    from tests.faults.storm.publish_steps import publish_run\n    publish_run({number}, {step!r}, outcome)"
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
