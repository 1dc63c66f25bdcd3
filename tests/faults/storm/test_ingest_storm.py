"""Real processes take several batches into one installation while they, and PostgreSQL, are killed at any moment."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.storm.conftest import Storm, report

if TYPE_CHECKING:
    from conftest import Run, Site

KILLS_IN_SHORT, KILLS_A_ROUND, TURNS_A_ROUND = 6, 8, 10
"""After these, most files are ingested and few processes are left to kill: the next installation begins."""
LONG = ("table", "overlap", "folder", "dirty", "calls", "more")
JOBS = ("people", *LONG, "late")


class IngestStorm(Storm):
    """Kills of ingests and of PostgreSQL."""

    def __init__(self, site: Site, spans: dict[str, float], seed: int) -> None:
        super().__init__(seed)
        self.site, self.spans = site, spans

    def wait_for(self, job: str) -> None:
        self.wait(self.spans[job])

    def kill(self, *runs: Run) -> None:
        for run in runs:
            if run.kill():
                self.done["kills"] += 1
                self.log.append(f"killed {run.job} after {time.monotonic() - run.since:.2f} s")
            else:
                self.accept(run, outage=False)

    def accept(self, run: Run, *, outage: bool) -> None:
        """Assert that a run did its work, found it locked by another run, or lost the database."""
        outcome = run.outcome()
        known = outcome["kinds"][:1] in ([], ["LockHeldError"], ["BatchRefusedError"])
        assert known or (outage and outcome["message"] and "Nothing is lost" in outcome["message"]), (
            f"{run.job}: {outcome}\n{self.log}"
        )
        self.done["finished" if not outcome["kinds"] else outcome["kinds"][0]] += 1

    def job(self) -> str:
        return str(self.random.choice([*LONG, *LONG, "late", "people"]))

    def one(self) -> None:
        run = self.site.start(self.job())
        self.wait_for(run.job)
        self.kill(run)

    def same_twice(self) -> None:
        job = self.job()
        runs = [self.site.start(job), self.site.start(job)]
        self.wait_for(job)
        self.kill(*runs)

    def two_batches(self) -> None:
        for run in [self.site.start(self.job()), self.site.start(self.job())]:
            self.wait_for(run.job)
            self.kill(run)

    def beside_an_ingest(self) -> None:
        runs = [self.site.start(self.job()), self.site.start(str(self.random.choice(["replay", "compact"])))]
        self.wait_for(runs[0].job)
        self.kill(*(runs if self.random.random() < 0.5 else runs[::-1]))

    def without_postgres(self) -> None:
        """Kill and restart PostgreSQL; runs from before must not disturb later ones."""
        jobs = self.random.choice(LONG, int(self.random.integers(1, 3)), replace=False)
        runs = [self.site.start(str(job)) for job in jobs]
        self.wait_for(runs[0].job)
        running = self.site.server.running()
        assert running is not None
        how = signal.SIGKILL if self.random.random() < 0.5 else signal.SIGQUIT
        os.kill(running.pid, how)
        self.log.append(f"PostgreSQL got {how.name} while {[run.job for run in runs if run.alive()]} were at it")
        time.sleep(self.random.choice([0.0, 0.3]))
        while self.site.server.running() is not None:
            time.sleep(0.01)
        self.site.server.start()
        self.done["restarts of PostgreSQL"] += 1
        later = self.site.start(runs[0].job if self.random.random() < 0.5 else self.job())
        for run in runs:
            self.accept(run, outage=True)
        self.wait_for(later.job)
        self.kill(later)

    def rage(self, kills: int) -> None:
        actions: list[Callable[[], None]] = [
            self.one,
            self.same_twice,
            self.two_batches,
            self.beside_an_ingest,
            self.without_postgres,
        ]
        for turn in range(TURNS_A_ROUND):
            # Each of them comes, and in no order.
            if turn % len(actions) == 0:
                self.random.shuffle(actions)  # type: ignore[arg-type]
            actions[turn % len(actions)]()
            if self.done["kills"] >= kills:
                break


@pytest.fixture(scope="module")
def calm(
    make_site: Callable[[str, Path], Site], tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], dict[str, float]]:
    """Return the state after jobs that were not killed, and the duration of each job."""
    site = make_site("calm", tmp_path_factory.mktemp("calm"))
    spans = {}
    for job in ["catalogue", *JOBS, "replay"]:
        began = time.monotonic()
        site.finish(job)
        spans[job] = time.monotonic() - began
    site.check_ledger()
    return site.state(), spans


def test_whatever_is_killed_in_the_end_everything_is_there_once(
    make_site: Callable[[str, Path], Site], calm: Any, kills: Callable[[int], int], seed: int, tmp_path: Path
) -> None:
    expected, spans = calm
    wanted_kills, total = kills(KILLS_IN_SHORT), Counter[str]()
    for number in count(seed):
        folder = tmp_path / f"round-{number}"
        site = make_site(f"storm_{number}", folder)
        site.finish("catalogue")
        storm = IngestStorm(site, spans, number)
        with storm.round(number):
            storm.rage(min(KILLS_A_ROUND, wanted_kills - total["kills"]))
            site.settle(storm.random.permutation(JOBS).tolist())
            site.check_ledger()
            state = site.state()
            for name, rows in expected.items():
                assert state[name] == rows, name
        total += storm.done
        print(f"seed {number}: {dict(storm.done)}", flush=True)
        shutil.rmtree(folder)
        if total["kills"] >= wanted_kills:
            break
    report("ingests", seed, total)
