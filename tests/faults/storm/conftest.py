"""Installations on a PostgreSQL of their own, which may be killed, and processes that work in them."""

import json
import multiprocessing
import os
import runpy
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import Engine, create_engine, text

from infra.database.engine import engine, migrate
from infra.database.schema.schema import LEDGER
from infra.lake.delta_lake import Lake
from infra.services import ports
from infra.services.embedded_postgres import EmbeddedPostgres
from models.primitives.arrow_sql import query, texts
from tests.memory import folder_of_postgres

MODULES = {
    "ingest_items": "tasks.ingest.reference.ingest_reference",
    "ingest_users": "tasks.ingest.reference.ingest_reference",
    "ingest_events": "tasks.ingest.events.ingest_events",
    "ingest_segment": "tasks.ingest.events.ingest_events",
    "ingest_event_files": "tasks.ingest.events.ingest_event_files",
    "replay_quarantine": "tasks.ingest.quarantine.replay_rows",
    "compact_lake": "tasks.lake.compact_lake",
}
PRELOADED = [
    *MODULES.values(),
    *("infra.outages", "tests.faults.storm.publishing"),
    *("great_expectations", "great_expectations.data_context.types.base"),
    *("great_expectations.render.renderer.page_renderer", "great_expectations.render.view"),
]
"""Modules of jobs and what they import when they validate. Without it each process would import it for seconds."""
CHUNK_ROWS, CHUNK_BYTES = 500, 64_000
PROGRAM = """
import json, os
from pathlib import Path
for stream in (1, 2):
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
from tasks.sources import line_reader, table_files
os.environ.update({environment!r})
table_files.CHUNK_ROWS, line_reader.CHUNK_BYTES = {rows}, {bytes}
from infra.outages import explain
from models.errors import TailorbirdError
try:
{body}
except BaseException as error:
    kinds = [kind.__name__ for kind in type(error).__mro__]
    message = str(error) if isinstance(error, TailorbirdError) else explain(error)
    result = {{"kinds": kinds, "message": message, "error": repr(error)[:600]}}
    if message is None:
        import traceback
        result["error"] = traceback.format_exc()
else:
    result = {{"kinds": []}}
Path(outcome).write_text(json.dumps(result))
"""
INGEST = "    from {module} import {task}\n    {task}.fn({mapping!r}, {file!r})"
GROUP = """\
    from pathlib import Path
    from tasks.ingest.events.ingest_event_files import ingest_event_files
    from infra.locks import LockHeldError
    done = ingest_event_files.fn({mapping!r}, sorted(map(str, Path({file!r}).iterdir())))
    if done["refused"]:
        raise LockHeldError(str(done["refused"]))"""
REPLAY = """\
    from sqlalchemy import text
    from infra.installation import current
    from tasks.ingest.quarantine.replay_rows import replay_quarantine
    done = text("SELECT batch_id FROM ingest_batches WHERE dataset = 'events' AND status = 'committed'")
    with current().engine.connect() as connection:
        batches = connection.execute(done).scalars().all()
    for batch in batches:
        replay_quarantine.fn(batch)"""
COMPACT = "    from tasks.lake.compact_lake import compact_lake\n    compact_lake.fn(keep_days=0)"
TABLES = {
    "items": "SELECT item_id, title, category, brand, price, currency, attributes, available FROM items ORDER BY 1",
    "users": "SELECT user_key, attributes, consent FROM users ORDER BY 1",
    "identities": "SELECT * FROM identity.users ORDER BY 1",
    "aliases": "SELECT anonymous_key, user_key, occurred_at FROM aliases ORDER BY 1, 2",
    # Of equal bad rows in two files the one that comes in first waits.
    "waiting": """SELECT rule_ids, payload - ARRAY['file', 'line', 'row', 'offset'] AS payload FROM quarantine
        WHERE replayed_at IS NULL ORDER BY rule_ids, payload - ARRAY['file', 'line', 'row', 'offset']""",
    "ledger": "SELECT batch_id, status, read, suppressed, routed FROM ingest_batches ORDER BY 1",
    "pending": "SELECT * FROM ingest_updates",
}
"""What has to be the same in the end, whatever happened and in whatever order."""


class Run:
    """A process that does one job, and its result."""

    def __init__(self, context: Any, job: str, program: str, outcome: Path) -> None:
        self.job, self._outcome, self.since = job, outcome, time.monotonic()
        self._process = context.Process(target=runpy.run_path, args=(program, {"outcome": str(outcome)}))
        self._process.start()

    def alive(self) -> bool:
        return bool(self._process.is_alive())

    def stopped(self) -> bool:
        """Whether it has come to where it was to stop."""
        return self._outcome.with_suffix(".stopped").exists()

    def go_on(self) -> None:
        self._outcome.with_suffix(".go").touch()

    def kill(self) -> bool:
        """Whether the process was still at it."""
        self._process.kill()
        return self.ended() == -signal.SIGKILL

    def ended(self) -> int:
        self._process.join(120)
        assert self._process.exitcode is not None, f"{self.job} hangs"
        return int(self._process.exitcode)

    def outcome(self) -> dict[str, Any]:
        self.ended()
        outcome: dict[str, Any] = json.loads(self._outcome.read_text()) if self._outcome.exists() else {"killed": True}
        return outcome


class Site:
    """An installation on the storm's own server."""

    def __init__(self, server: EmbeddedPostgres, name: str, folder: Path, jobs: dict[str, Any]) -> None:
        self.server, self.name, self.folder, self._numbers = server, name, folder, count(1)
        administer(server, f"CREATE DATABASE {name} TEMPLATE migrated")
        key = folder / "var" / "secrets" / "pseudonym-key"
        key.parent.mkdir(parents=True, mode=0o700)
        key.write_text("of all installations of the storm")
        key.chmod(0o600)
        self.lake = Lake(str(folder / "var" / "lake"))
        self.programs = {
            job: self._program(
                job,
                (GROUP if Path(f).is_dir() else INGEST).format(module=MODULES[t], task=t, mapping=m, file=f),
            )
            for job, (t, m, f) in jobs.items()
        }
        self.programs |= {"replay": self._program("replay", REPLAY), "compact": self._program("compact", COMPACT)}
        self.context = multiprocessing.get_context("forkserver")

    def add(self, job: str, body: str) -> None:
        """One more job that can be started."""
        self.programs[job] = self._program(job, body)

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
            outcome = self.start(job).outcome()
            if "LockHeldError" not in outcome.get("kinds", ()):
                expected = ["BatchRefusedError"] if job == "dirty" else []
                assert outcome["kinds"][:1] == expected, f"{job}: {outcome}"
                return
            time.sleep(0.1)
        pytest.fail(f"somebody still works on {job}")

    def settle(self, jobs: Iterable[str]) -> None:
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
        columns = "event_id, payload_hash, user_key, batch_id"
        return query(f"SELECT {columns} FROM read_parquet({texts(self.lake.event_files())}) ORDER BY ALL")

    def state(self) -> dict[str, Any]:
        """What is there, without what depends on the order in which files came."""
        events = self.events()
        tables = {name: self.sql(statement) for name, statement in TABLES.items()}
        return tables | {
            "events": sorted(zip(*(events[n].to_pylist() for n in events.column_names if n != "batch_id"), strict=True))
        }

    def check_ledger(self) -> None:
        """Every batch adds up, its chunks too, and it has as many events in the lake as it states."""
        stored = Counter(self.events()["batch_id"].to_pylist())
        sums = ", ".join(
            f"coalesce((SELECT sum({n}) FROM ingest_chunks c WHERE c.batch_id = b.batch_id), 0) AS {n}_sum"
            for n in LEDGER
        )
        for entry in self.sql(f"SELECT *, {sums} FROM ingest_batches b"):
            assert entry["read"] == sum(entry[name] for name in LEDGER if name != "read"), entry
            assert {n: entry[n] for n in LEDGER} == {n: int(entry[f"{n}_sum"]) for n in LEDGER}, entry
            assert stored.get(entry["batch_id"], 0) == entry["accepted"], entry


@dataclass
class Storm:
    """Moments that a seed decides, and a record of the kills."""

    seed: int
    done: Counter[str] = field(default_factory=Counter)
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def wait(self, longest: float) -> None:
        time.sleep(self.random.uniform(0.02, longest))

    def chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def note(self, event: str, detail: str = "") -> None:
        """Count an event, and keep it for the report of a failure."""
        self.done[event] += 1
        self.log.append(f"{event} {detail}".strip())

    @contextmanager
    def round(self, number: int) -> Iterator[None]:
        """Run one round; print its seed and its kills if it fails."""
        try:
            yield
        except BaseException:
            print(f"seed {self.seed}, round {number}:", *self.log, sep="\n  ")
            raise
        self.done["rounds that converged"] += 1
        self.log.clear()

    def report(self, name: str) -> None:
        """Report the storm in one line."""
        report(name, self.seed, self.done)


def administer(server: EmbeddedPostgres, statement: str) -> None:
    engine: Engine = create_engine(server.url(), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(statement))
    finally:
        engine.dispose()


def prepare(server: EmbeddedPostgres) -> None:
    """Make the database that those of the sites are copied from."""
    administer(server, "CREATE DATABASE migrated")
    migrate(server.url("migrated"))
    engine(server.url("migrated")).dispose()


@pytest.fixture(scope="session", autouse=True)
def ready() -> None:
    """Start processes with all imports done, so that kills hit their work and not their start."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()


@contextmanager
def crashing(made: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    """Start a server; end it by a crash, because a clean shutdown would only cost time."""
    made.start()
    try:
        yield made
    finally:
        running = made.running()
        if running is not None:
            os.kill(running.pid, signal.SIGQUIT)
        made.destroy()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """Start a server of the storm's own, always on the same port. Killed, it restarts from memory as from a disk."""
    port = ports.free(17433 + os.getpid() % 1000)
    with (
        folder_of_postgres(tmp_path_factory.mktemp("storm")) as folder,
        crashing(EmbeddedPostgres(folder, port)) as made,
    ):
        prepare(made)
        yield made


@pytest.fixture(scope="module")
def make_site(server: EmbeddedPostgres, export: Any) -> Callable[[str, Path], Site]:
    """Makes an installation in which everything of the export can be taken in."""
    return lambda name, folder: Site(server, name, folder, export.jobs)


def report(storm: str, seed: int, counts: Mapping[str, int]) -> None:
    """Print what a storm did, and add it to the file that STORM_REPORT names."""
    line = f"{storm}, seed {seed}: {', '.join(f'{event}: {count}' for event, count in sorted(counts.items()))}"
    print(f"\n{line}", flush=True)
    if path := os.environ.get("STORM_REPORT"):
        with Path(path).open("a") as file:
            file.write(f"{line}\n")
