"""Real processes take several batches into one installation while they, and PostgreSQL, are killed at any moment."""

import json
import multiprocessing
import os
import runpy
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, create_engine, text

from infra.database import migrate
from infra.embedded import EmbeddedPostgres
from infra.lake import Lake
from infra.schema import LEDGER

CHUNK_ROWS, CHUNK_BYTES = 500, 64_000
KILLS_IN_SHORT, KILLS_A_ROUND = 6, 8
PROGRAM = """
import json, os
from pathlib import Path
from tasks.sources import files, lines
os.environ.update({environment!r})
files.chunks.__defaults__ = ({rows}, *files.chunks.__defaults__[1:])
lines.chunks.__defaults__ = ({bytes},)
from infra.outages import explain
from models.errors import TailorbirdError
try:
{body}
except BaseException as error:
    kinds = [kind.__name__ for kind in type(error).__mro__]
    told = str(error) if isinstance(error, TailorbirdError) else explain(error)
    said = {{"kinds": kinds, "told": told, "error": repr(error)[:600]}}
    if told is None:
        import traceback
        said["error"] = traceback.format_exc()
else:
    said = {{"kinds": []}}
Path(outcome).write_text(json.dumps(said))
"""
INGEST = "    from tasks.{task} import {task}\n    {task}.fn({mapping!r}, {file!r})"
REPLAY = """\
    from sqlalchemy import text
    from infra.installation import current
    from tasks.replay_quarantine import replay_quarantine
    done = text("SELECT batch_id FROM ingest_batches WHERE dataset = 'events' AND status = 'committed'")
    with current().engine.connect() as connection:
        batches = connection.execute(done).scalars().all()
    for batch in batches:
        replay_quarantine.fn(batch)"""
COMPACT = "    from tasks.compact_lake import compact_lake\n    compact_lake.fn(keep_days=0)"
TABLES = {
    "items": "SELECT item_id, title, category, brand, price, currency, attributes, available FROM items ORDER BY 1",
    "users": "SELECT user_key, attributes, consent FROM users ORDER BY 1",
    "identities": "SELECT * FROM identity.users ORDER BY 1",
    "aliases": "SELECT anonymous_key, user_key, occurred_at FROM aliases ORDER BY 1",
    "waiting": """SELECT batch_id, row_number, rule_ids, payload FROM quarantine WHERE replayed_at IS NULL
        ORDER BY 1, 2""",
    "ledger": "SELECT batch_id, status, read, suppressed, routed, quarantined FROM ingest_batches ORDER BY 1",
    "pending": "SELECT * FROM ingest_updates",
}
"""What has to be the same in the end, whatever happened and in whatever order."""


class Run:
    """A process that does one job, and what it said in the end."""

    def __init__(self, context: Any, job: str, program: str, outcome: Path) -> None:
        self.job, self._outcome, self.since = job, outcome, time.monotonic()
        self._process = context.Process(target=runpy.run_path, args=(program, {"outcome": str(outcome)}))
        self._process.start()

    def alive(self) -> bool:
        return bool(self._process.is_alive())

    def kill(self) -> bool:
        """Whether the process was still at it."""
        self._process.kill()
        return self.ended() == -signal.SIGKILL

    def ended(self) -> int:
        self._process.join(120)
        assert self._process.exitcode is not None, f"{self.job} hangs"
        return int(self._process.exitcode)

    def said(self) -> dict[str, Any]:
        self.ended()
        said: dict[str, Any] = json.loads(self._outcome.read_text()) if self._outcome.exists() else {"killed": True}
        return said


class Site:
    """An installation on the storm's own server."""

    def __init__(self, server: EmbeddedPostgres, name: str, folder: Path, jobs: dict[str, Any]) -> None:
        self.server, self.name, self.folder, self._numbers = server, name, folder, count(1)
        administer(server, f"CREATE DATABASE {name} TEMPLATE migrated")
        for secrets in (folder / "var" / "secrets",):
            secrets.mkdir(parents=True, mode=0o700)
            (secrets / "pseudonym-key").write_text("of all installations of the storm")
            (secrets / "pseudonym-key").chmod(0o600)
        self.lake = Lake(str(folder / "var" / "lake"))
        self.programs = {job: self._program(job, INGEST.format(task=t, mapping=m, file=f)) for job, (t, m, f) in jobs.items()}
        self.programs |= {"replay": self._program("replay", REPLAY), "compact": self._program("compact", COMPACT)}
        self.context = multiprocessing.get_context("forkserver")

    def _program(self, job: str, body: str) -> str:
        closed = "http://127.0.0.1:9"
        environment = {"TAILORBIRD_VAR": str(self.folder / "var"), "PREFECT_API_URL": f"{closed}/api"}
        environment |= {"TAILORBIRD_DATABASE_URL": self.server.url(self.name), "MLFLOW_TRACKING_URI": closed}
        path = self.folder / f"{job}.py"
        path.write_text(PROGRAM.format(environment=environment, body=body, rows=CHUNK_ROWS, bytes=CHUNK_BYTES))
        return str(path)

    def start(self, job: str) -> Run:
        return Run(self.context, job, self.programs[job], self.folder / f"{job}-{next(self._numbers)}.json")

    def finish(self, job: str) -> None:
        """Run a job to its end; its killed predecessor may keep its lock for a moment."""
        for _ in range(100):
            said = self.start(job).said()
            if "BatchBusyError" not in said.get("kinds", ()):
                expected = ["BatchRefusedError"] if job == "dirty" else []
                assert said["kinds"][:1] == expected, f"{job}: {said}"
                return
            time.sleep(0.1)
        pytest.fail(f"somebody still works on {job}")

    def settle(self, jobs: list[str]) -> None:
        """Run everything to its end: ingests first, since a replay is for what they left."""
        for job in [*jobs, "replay"]:
            self.finish(job)

    def sql(self, statement: str) -> list[dict[str, Any]]:
        engine = create_engine(self.server.url(self.name))
        with engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(text(statement)).mappings()]
        engine.dispose()
        return rows

    def events(self) -> pa.Table:
        names = ["event_id", "payload_hash", "batch_id", "user_key"]
        return pa.concat_tables(pq.read_table(file, columns=names, partitioning=None) for file in self.lake.event_files())

    def state(self) -> dict[str, Any]:
        """What is there, without what depends on the order in which files came."""
        events = self.events()
        found = {name: self.sql(statement) for name, statement in TABLES.items()}
        return found | {"events": sorted(zip(*(events[n].to_pylist() for n in events.column_names if n != "batch_id"), strict=True))}

    def check_ledger(self) -> None:
        """Every batch adds up, its chunks too, and it has as many events in the lake as it says."""
        stored = Counter(self.events()["batch_id"].to_pylist())
        sums = ", ".join(f"coalesce((SELECT sum({n}) FROM ingest_chunks c WHERE c.batch_id = b.batch_id), 0) AS {n}_sum" for n in LEDGER)
        for entry in self.sql(f"SELECT *, {sums} FROM ingest_batches b"):
            assert entry["read"] == sum(entry[name] for name in LEDGER if name != "read"), entry
            assert {n: entry[n] for n in LEDGER} == {n: int(entry[f"{n}_sum"]) for n in LEDGER}, entry
            assert stored.get(entry["batch_id"], 0) == entry["accepted"], entry


def administer(server: EmbeddedPostgres, statement: str) -> None:
    engine: Engine = create_engine(server.url(), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server of the storm's own, always on the same port."""
    folder, port = tmp_path_factory.mktemp("storm"), 17433 + os.getpid() % 1000
    made = EmbeddedPostgres(folder, port)
    made.start()
    try:
        administer(made, "CREATE DATABASE migrated")
        migrate(made.url("migrated"))
        from infra.database import engine

        engine(made.url("migrated")).dispose()
        yield made
    finally:
        made.destroy()


class Storm:
    """Kills at moments that a seed decides, and counts what it did."""

    def __init__(self, site: Site, spans: dict[str, float], seed: int) -> None:
        self.site, self.spans, self.random = site, spans, np.random.default_rng(seed)
        self.done: Counter[str] = Counter()
        self.log: list[str] = []

    def wait(self, job: str) -> None:
        time.sleep(self.random.uniform(0.02, self.spans[job]))

    def kill(self, *runs: Run) -> None:
        for run in runs:
            if run.kill():
                self.done["kills"] += 1
                self.log.append(f"killed {run.job} after {time.monotonic() - run.since:.2f} s")
            else:
                self.accept(run, outage=False)

    def accept(self, run: Run, *, outage: bool) -> None:
        """A run that came to its end did its work, was told that another is at it, or lost the database."""
        said = run.said()
        known = said["kinds"][:1] in ([], ["BatchBusyError"], ["BatchRefusedError"])
        assert known or (outage and said["told"] and "Nothing is lost" in said["told"]), f"{run.job}: {said}\n{self.log}"
        self.done["finished" if not said["kinds"] else said["kinds"][0]] += 1

    def job(self) -> str:
        return str(self.random.choice(["table", "overlap", "dirty", "calls", "more", "late", "people"], p=[0.2, 0.2, 0.15, 0.2, 0.15, 0.05, 0.05]))

    def one(self) -> None:
        run = self.site.start(self.job())
        self.wait(run.job)
        self.kill(run)

    def same_twice(self) -> None:
        job = self.job()
        runs = [self.site.start(job), self.site.start(job)]
        self.wait(job)
        self.kill(*runs)

    def two_batches(self) -> None:
        for run in [self.site.start(self.job()), self.site.start(self.job())]:
            self.wait(run.job)
            self.kill(run)

    def beside_an_ingest(self) -> None:
        runs = [self.site.start(self.job()), self.site.start(str(self.random.choice(["replay", "compact"])))]
        self.wait(runs[0].job)
        self.kill(*(runs if self.random.random() < 0.5 else runs[::-1]))

    def without_postgres(self) -> None:
        """PostgreSQL goes and comes back; those who were at work then do not disturb those who come after."""
        runs = [self.site.start(self.job()) for _ in range(int(self.random.integers(1, 3)))]
        self.wait(runs[0].job)
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
        self.wait(later.job)
        self.kill(later)

    def rage(self, kills: int) -> None:
        actions: list[Callable[[], None]] = [self.one, self.same_twice, self.two_batches, self.beside_an_ingest, self.without_postgres]
        until = self.done["kills"] + kills
        turn = 0
        while self.done["kills"] < until:
            # Each of them comes, and in no order.
            if turn % len(actions) == 0:
                self.random.shuffle(actions)  # type: ignore[arg-type]
            actions[turn % len(actions)]()
            turn += 1


JOBS = ["people", "table", "overlap", "dirty", "calls", "more", "late"]


@pytest.fixture(scope="module")
def calm(server: EmbeddedPostgres, export: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, float]]:
    """What is there when nothing is killed, and how long each job takes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tasks.ingest_segment", "tasks.ingest_events", "tasks.replay_quarantine"])
    site = Site(server, "calm", tmp_path_factory.mktemp("calm"), export.jobs)
    first = context.Process(target=int)
    first.start()
    first.join()
    spans = {}
    for job in ["catalogue", *JOBS, "replay"]:
        began = time.monotonic()
        site.finish(job)
        spans[job] = time.monotonic() - began
    site.check_ledger()
    return site.state(), spans


def test_whatever_is_killed_in_the_end_everything_is_there_once(
    server: EmbeddedPostgres, export: Any, calm: Any, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    expected, spans = calm
    kills, seed = request.config.getoption("--kills") or KILLS_IN_SHORT, request.config.getoption("--seed")
    total: Counter[str] = Counter()
    for number in count(seed):
        folder = tmp_path / f"round-{number}"
        site = Site(server, f"storm_{number}", folder, export.jobs)
        site.finish("catalogue")
        storm = Storm(site, spans, number)
        try:
            storm.rage(min(KILLS_A_ROUND, kills - total["kills"]))
            site.settle(storm.random.permutation(JOBS).tolist())
            site.check_ledger()
            found = site.state()
            for name, rows in expected.items():
                assert found[name] == rows, name
        except BaseException:
            print(f"seed {number}:", *storm.log, sep="\n  ")
            raise
        total += storm.done + Counter({"rounds that converged": 1})
        print(f"seed {number}: {dict(storm.done)}", flush=True)
        shutil.rmtree(folder)
        if total["kills"] >= kills:
            break
    print(", ".join(f"{what}: {many}" for what, many in sorted(total.items())))
