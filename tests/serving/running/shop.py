"""A running shop: a server with two workers, Redis, lists and a champion. No MLflow, Prefect or lake exists."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
from sqlalchemy import Engine, text

from infra.database.engine import engine as engine_of
from infra.installation import Installation, current
from infra.keys.credentials import Pseudonyms
from infra.keys.identity import pseudonym
from infra.keys.recorded_api_keys import NewKey, create_key
from tests.published import published, shelf
from tests.serving.api.server_process import ServerProcess, installation_api
from tests.serving.bundle_folders import offer, promote, write_bundle
from tests.serving.conftest import FaultyPostgres, RedisServer

USERS: Final = [f"user-{number}" for number in range(102)]
WORKERS: Final = 2
PATIENCE: Final = 30.0
_COUNTED: Final = """
    CREATE UNLOGGED TABLE test_reads (subject text);
    CREATE TABLE test_delay AS SELECT 0::float8 AS seconds;
    ALTER FUNCTION served_lists(text[], text[]) RENAME TO served_lists_as_migrated;
    CREATE FUNCTION served_lists(wanted_placements text[], wanted_subjects text[])
    RETURNS TABLE (
        nth bigint, consent boolean, suppressed boolean, excluded text[], batch_id bigint, model_version integer,
        items integer[], scores real[], reasons integer[], read_at double precision,
        live_items text[], live_scores real[], live_reasons text[], live_model_version integer
    ) LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        INSERT INTO test_reads SELECT unnest(wanted_subjects);
        SELECT pg_sleep(seconds) FROM test_delay;
        SELECT * FROM served_lists_as_migrated(wanted_placements, wanted_subjects)
    $$"""
"""Counts the subjects of each read, and lets it take a while."""

_AGREED: Final = (
    "INSERT INTO users (user_key, attributes, consent, consent_source, batch_id) VALUES (:key, '{}', true, 'test', 'b')"
)


@dataclass
class Champions:
    """Bundles that a test promotes: sound ones, and ones that a server must refuse."""

    engine: Engine
    folder: Path
    digests: dict[str, str] = field(default_factory=dict)
    version: int = 0

    def write(self) -> None:
        """Write `first` and `second`, and signed ones that learned nothing."""
        self.digests["first"] = write_bundle(self.folder / "first")
        self.digests["second"] = write_bundle(self.folder / "second", seed=2)
        self._write("nan", lambda model: replace(model, item_factors=model.item_factors * np.nan))
        self._write("same", lambda model: replace(model, user_factors=np.ones_like(model.user_factors)))
        self.digests["corrupted"] = write_bundle(self.folder / "corrupted", seed=3)
        content = bytearray((self.folder / "corrupted" / "arrays.npz").read_bytes())
        content[len(content) // 2] ^= 1
        (self.folder / "corrupted" / "arrays.npz").write_bytes(bytes(content))
        self.digests["unsigned"] = write_bundle(self.folder / "unsigned", seed=4)
        (self.folder / "unsigned" / "manifest.sig").unlink()

    def _write(self, name: str, change: Callable[[Any], Any]) -> None:
        self.digests[name] = write_bundle(self.folder / name, change=change)

    def promote(self, name: str) -> int:
        """Promote a bundle; return its version."""
        promote(self.engine, self.folder / name, self.digests[name], self.version + 1, self.version)
        self.version += 1
        return self.version


@dataclass
class RunningShop:
    """The server, and what it depends on."""

    server: ServerProcess
    engine: Engine
    redis: RedisServer
    postgres: FaultyPostgres
    champions: Champions
    key: str
    items: list[str]
    installation: Installation

    def user_key(self, user: str) -> str:
        return Pseudonyms(self.installation.key.decode()).of(user)

    @cached_property
    def workers(self) -> list[psutil.Process]:
        """Return the processes that answer."""
        return psutil.Process(self.server.process.pid).children()

    def execute(self, statement: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(statement), values)

    def rows(self, statement: str, **values: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(statement), values))


@contextmanager
def running(url: str, folder: Path, redis: RedisServer, postgres: FaultyPostgres) -> Iterator[RunningShop]:
    """Stock a database and start the server of the installation that the environment names."""
    installation = current()
    engine = engine_of(url)
    made = create_key(engine, NewKey("shop", ["read", "write"], 100_000), "ann")
    champions = Champions(engine, folder / "bundles")
    champions.write()
    names = offer(engine, champions.folder / "first", champions.digests["first"])
    champions.promote("first")
    keys = [pseudonym(user, installation.key) for user in USERS]
    with engine.begin() as connection:
        connection.exec_driver_sql(_COUNTED)
        connection.execute(text(_AGREED), [{"key": key} for key in keys])
    lists = {key: [(name, 1 - 0.01 * at, "Bought often") for at, name in enumerate(names[:15])] for key in keys}
    published(engine, lists, shelf(k=15))
    published(engine, {names[0]: lists[keys[0]][1:9]}, shelf("similar", "similar-items", k=8, about="item"))
    variables = {"TAILORBIRD_REDIS_URL": redis.url, "TAILORBIRD_API_CONCURRENCY": "32"}
    variables |= {"TAILORBIRD_API_WORKERS": str(WORKERS), "TAILORBIRD_API_REQUESTS_PER_SECOND": "100000"}
    with installation_api(WORKERS, variables, folder / "log", "tests.serving.running.patient_api") as server:
        shop = RunningShop(server, engine, redis, postgres, champions, str(made["key"]), names, installation)
        assert len(shop.workers) == WORKERS
        yield shop
    engine.dispose()
