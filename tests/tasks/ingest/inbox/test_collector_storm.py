"""Ten thousand events of the official library reach the lake once, whatever restarts and is killed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.database.engine import engine
from infra.installation import current
from infra.services.embedded_postgres import EmbeddedPostgres
from models.columns import LEDGER
from tests.tasks.ingest.inbox.collecting import collecting
from tests.tasks.ingest.inbox.restartable import installed, restartable

EVENTS = 10_000


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    with restartable(tmp_path_factory.mktemp("restarted")) as made:
        yield made


@pytest.mark.faults
def test_ten_thousand_events_with_duplicates_arrive_once(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = installed(server, tmp_path / "var", monkeypatch)

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
