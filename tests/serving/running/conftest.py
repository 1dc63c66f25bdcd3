"""A running shop for the tests of each file: what people did in one changes their lists in the next."""

import os
from collections.abc import Iterator
from contextlib import closing

import pytest

from infra.services.embedded_postgres import EmbeddedPostgres
from tests.conftest import fresh_database
from tests.installations import chosen
from tests.serving.conftest import FaultyPostgres, RedisServer
from tests.serving.running.shop import RunningShop, running


@pytest.fixture(scope="module")
def shop(
    postgres: EmbeddedPostgres, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningShop]:
    """Start the server for a file, with the settings of an installation of its own."""
    folder, faulty = tmp_path_factory.mktemp("running"), FaultyPostgres(postgres)
    redis_server.ask("FLUSHALL")
    redis_server.ask("CONFIG SET maxmemory 0")
    databases = fresh_database(postgres, "migrated")
    with closing(databases), pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("TAILORBIRD_") and "SETTINGS" not in name]:
            patch.delenv(name)
        url = next(databases)
        with chosen(url, folder / "var"), running(url, folder, redis_server, faulty) as shop:
            yield shop
        next(databases, None)
