"""A shop with a champion and lists, and MLflow's own store."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.installation import Installation
from infra.registry.client import Registry
from infra.services.embedded_postgres import EmbeddedPostgres
from tasks.ingest.events.ingest_events import ingest_events
from tasks.scoring.score_placement import score_placement
from tests.conftest import fresh_database

CHOSEN = {"consent": "given", "consent_note": "a test", "unknown_items": "accept"}


class Store(Registry):
    """MLflow's own store, without its server."""

    is_available = True  # type: ignore[assignment]  # the server's page of its health is missing


@pytest.fixture
def store(
    postgres: EmbeddedPostgres, mlflow_tables: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    monkeypatch.chdir(tmp_path)  # where such a store keeps artifacts
    for address in fresh_database(postgres, mlflow_tables):
        yield Store(address)


@pytest.fixture
def published(stage: Any) -> Any:
    """Its lists are the champion's."""
    stage.promote()
    score_placement.fn(k=5)
    return stage


@pytest.fixture
def small(installation: Installation, tmp_path: Path) -> Installation:
    """Forty events of four people."""
    rows = [f"u{n % 4},i{n},View,{1_600_000_000 + n * 90_000}" for n in range(40)]
    (tmp_path / "interactions.csv").write_text("\n".join(["USER_ID,ITEM_ID,EVENT_TYPE,TIMESTAMP", *rows]))
    ingest_events.fn("personalize", str(tmp_path / "interactions.csv"), CHOSEN)
    return installation
