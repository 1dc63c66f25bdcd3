"""Readers of published lists beside a storm, and the batch that they must see."""

import time
from threading import Event, Thread
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from tests.faults.storm.publish_steps import K, whole

SHOWN = text("SELECT user_key, rank, item_id, score, batch_id FROM current_recommendations WHERE placement = 'home'")
STAY_SECONDS = (0.0, 0.04)
"""Seconds for which each of the readers keeps a transaction open."""
PAUSE_SECONDS = 0.05
"""Seconds between two reads of a reader. Without a pause the readers take a whole core from the storm."""


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
