"""Disks fill up at any moment: PostgreSQL's, the lake's and `var`. Freed, the same commands come to the same end."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from infra.services import ports
from infra.services.embedded_postgres import EmbeddedPostgres
from tests.faults.storm.conftest import Storm, prepare, report
from tests.faults.storm.disks import Disk, SmallPostgres, disk
from tests.faults.storm.publishing import Publisher

if TYPE_CHECKING:
    from conftest import Run, Site

pytestmark = pytest.mark.faults

ROUNDS, PUBLISHING = 4, 10
POSTGRES_MB, SITE_MB = 420, 64
FULL = re.compile(r"(A disk is full|The disk of PostgreSQL is full|The database went away|PostgreSQL in )")
COMMAND = """\
    from tests.faults.storm.disks import command
    command(*{arguments!r})"""
CROWN = """\
    from infra.installation import current
    from tasks.datasets.load_dataset import stored_manifest
    from tests.tasks.stages import Stage
    here = current()
    Stage(here, None, stored_manifest(here)).promote()"""
SHOWN = """
    SELECT count(*) AS rows, count(DISTINCT shown.batch_id) AS batches, min(made.recommendations) AS whole
    FROM current_recommendations AS shown JOIN recommendation_batches AS made USING (batch_id)
    WHERE shown.placement = 'home'
"""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallPostgres]:
    """A server on a small file system."""
    made = EmbeddedPostgres(tmp_path_factory.mktemp("small"), ports.free(18433 + os.getpid() % 1000))
    made.start()
    try:
        prepare(made)
        made.stop()
        with disk((made.folder / "postgres").resolve() / "data", POSTGRES_MB) as there:
            made.start()
            yield SmallPostgres(made, there)
            running = made.running()
            if running is not None:
                os.kill(running.pid, signal.SIGQUIT)
                made.stop()
    finally:
        made.destroy()


@pytest.fixture(scope="module")
def server(small: SmallPostgres) -> EmbeddedPostgres:
    """Replace the server of the other storms."""
    return small.server


@pytest.fixture(scope="module")
def commands(
    tmp_path_factory: pytest.TempPathFactory, shop_tables: dict[str, Any], export: Any
) -> dict[str, tuple[str, ...]]:
    """Return the commands of each round in their order; none of them promotes a model."""
    folder = tmp_path_factory.mktemp("shop")
    for name, rows in shop_tables.items():
        pq.write_table(rows, folder / f"{name}.parquet")
    calls, more = (export.jobs[name][2] for name in ("calls", "more"))
    return {
        "shop": ("ingest", "complete_journey", str(folder)),
        "calls": ("ingest", "segment", calls),
        "more": ("ingest", "segment", more),
        "features": ("features", "--validation-days", "30", "--test-days", "31"),
        "score": ("score", "home"),
        "compact": ("lake", "compact", "--keep-days", "1"),
    }


class Fullness(Storm):
    """An installation whose disks fill up, one at a time."""

    def __init__(self, site: Site, disks: dict[str, Disk], small: SmallPostgres, seed: int) -> None:
        super().__init__(seed)
        self.site, self.disks, self.small = site, disks, small

    def disturb(self, job: str, span: float) -> None:
        """Run a job, fill a disk meanwhile, let the same job fail or not once more, and free the disk."""
        run = self.site.start(job)
        time.sleep(self.random.uniform(0.1 * span, span))
        name = str(self.random.choice([*self.disks, "PostgreSQL", "log of PostgreSQL"]))
        self.log.append(f"{name} was full {time.monotonic() - run.since:.2f} s after the start of {job}")
        self._fill(name)
        self._accept(run)
        if self.chance(0.5):
            self._accept(self.site.start(job))
        if name in self.disks:
            self.disks[name].free()
        elif self.small.free():
            self.done["stops of PostgreSQL"] += 1

    def _fill(self, name: str) -> None:
        self.done[f"full: {name}"] += 1
        if name in self.disks:
            self.disks[name].fill()
        else:
            self.small.fill(log_too=name != "PostgreSQL")

    def _accept(self, run: Run) -> None:
        outcome = run.outcome()
        self.log.append(f"{run.job}: {outcome}")
        failed = outcome["kinds"][:1] == ["CommandFailedError"]
        assert failed or outcome["kinds"] == [], outcome
        assert not failed or FULL.match(outcome["message"]), outcome
        self.done["ended with a sentence" if failed else "ended well"] += 1
        if failed:
            self.done[f"sentence: {outcome['message'].partition(' (')[0][:40]}"] += 1


def check_lists(site: Site) -> None:
    """Readers see nothing or one whole batch."""
    [shown] = site.sql(SHOWN)
    assert shown["batches"] <= 1
    assert shown["rows"] == (shown["whole"] or 0), shown


def make(
    small: SmallPostgres, make_site: Callable[[str, Path], Site], name: str, folder: Path, commands: dict[str, Any]
) -> Site:
    site = make_site(name, folder)
    for job, arguments in commands.items():
        site.add(job, COMMAND.format(arguments=arguments))
    site.add("crown", CROWN)
    small.execute("CHECKPOINT")
    return site


def test_whichever_disk_is_full_commands_end_with_a_sentence_and_go_on_when_there_is_room(
    small: SmallPostgres,
    make_site: Callable[[str, Path], Site],
    commands: dict[str, tuple[str, ...]],
    seed: int,
    tmp_path: Path,
) -> None:
    total, spans = Counter[str](), dict[str, float]()
    calm = make(small, make_site, "calm", tmp_path / "calm", commands)
    for job in commands:
        if job == "score":
            calm.finish("crown")
        began = time.monotonic()
        calm.finish(job)
        spans[job] = time.monotonic() - began
    expected, lists = calm.state(), calm.sql(SHOWN)
    for number in range(seed, seed + ROUNDS):
        site = make(small, make_site, f"full_{number}", tmp_path / f"round-{number}", commands)
        with ExitStack() as mounts:
            places = {"var": site.folder / "var", "lake": site.folder / "var" / "lake"}
            disks = {name: mounts.enter_context(disk(folder, SITE_MB)) for name, folder in places.items()}
            storm = Fullness(site, disks, small, number)
            with storm.round(number):
                for job in commands:
                    if job == "score":
                        site.finish("crown")
                    storm.disturb(job, spans[job])
                    check_lists(site)
                    site.finish(job)
                site.check_ledger()
                state = site.state()
                for name, rows in expected.items():
                    assert state[name] == rows, name
                assert [row["rows"] for row in site.sql(SHOWN)] == [row["rows"] for row in lists]
        small.execute(f"DROP DATABASE full_{number} WITH (FORCE)")
        total += storm.done
    report("full disks", seed, total)


def test_readers_see_one_whole_batch_while_the_disk_of_postgres_fills_up(
    small: SmallPostgres,
    make_site: Callable[[str, Path], Site],
    seed: int,
    tmp_path: Path,
) -> None:
    done = Counter[str]()
    random, publisher = np.random.default_rng(seed), Publisher(make_site("shelves", tmp_path / "shelves"))
    publisher.outages = 1  # a table that found no room may leave an empty file, as after a crash
    began = time.monotonic()
    publisher.finish(publisher.new())
    span = time.monotonic() - began
    with publisher.readers:
        for _ in range(PUBLISHING):
            number = publisher.new()
            run = publisher.start(number)
            time.sleep(random.uniform(0.02, span))
            publisher.readers.without_database()
            small.fill(log_too=bool(random.random() < 0.5))
            outcome = run.outcome()
            failed = bool(outcome["kinds"])
            assert not failed or "Nothing is lost" in (outcome["message"] or ""), outcome
            done["ended with a sentence" if failed else "ended well"] += 1
            done["stops of PostgreSQL"] += small.free()
            publisher.readers.with_database()
            publisher.settle(number)
            done["rounds that converged"] += 1
    publisher.engine.dispose()
    seen = {"reads": publisher.readers.reads, "batches seen": len(publisher.readers.runs)}
    report("publishing on a full disk", seed, {**done, **seen})
