"""Ten thousand events of the official library reach the lake once, whatever restarts and is killed."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from infra.database.engine import engine, migrate
from infra.installation import current
from infra.services.embedded_postgres import EmbeddedPostgres
from models.columns import LEDGER
from tests.memory import folder_of_postgres
from tests.tasks.ingest.inbox.collecting import collecting

EVENTS = 10_000


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with folder_of_postgres(tmp_path_factory.mktemp("restarted")) as folder:
        made = EmbeddedPostgres(folder)
        made.start(preferred_port=18433 + os.getpid() % 1000)
        yield EmbeddedPostgres(folder, int(made.url().rpartition(":")[2].partition("/")[0]))
        made.destroy()


@pytest.mark.faults
def test_ten_thousand_events_with_duplicates_arrive_once(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = create_engine(server.url(), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE shop"))
    admin.dispose()
    url = server.url("shop")
    migrate(url)
    monkeypatch.setenv("TAILORBIRD_DATABASE_URL", url)
    monkeypatch.setenv("TAILORBIRD_VAR", str(tmp_path / "var"))
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    current.cache_clear()

    @contextmanager
    def restarted() -> Iterator[None]:
        server.stop()
        yield
        time.sleep(3)
        server.start()

    with collecting(current(), tmp_path) as collector:
        collector.storm("storm", EVENTS, restarted())
        engine(url).dispose()
        assert collector.accepted() == sorted(f"storm-{number}" for number in range(EVENTS))
        counts = collector.api.ledger()
    assert counts["accepted"] == EVENTS
    assert counts["read"] == sum(counts[name] for name in LEDGER if name != "read")
    current.cache_clear()
