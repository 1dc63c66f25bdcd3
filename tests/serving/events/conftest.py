"""A database with an inbox, which a test can take away."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.services.embedded_postgres import EmbeddedPostgres
from tests.serving.events.inbox_database import InboxDatabase


@pytest.fixture
def inbox(database: str, postgres: EmbeddedPostgres, tmp_path: Path) -> Iterator[InboxDatabase]:
    made = InboxDatabase(database, postgres, tmp_path / "spool")
    yield made
    made.come_back()
