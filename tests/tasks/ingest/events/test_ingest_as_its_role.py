"""A host that only ingests needs no more than the ingest role."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from infra.database.engine import engine
from infra.installation import Installation, current
from infra.services.database_access import logins
from tasks.ingest.events.ingest_events import ingest_events, ingest_segment
from tasks.ingest.reference.ingest_items import ingest_items
from tasks.ingest.reference.ingest_users import ingest_users
from tasks.ingest.rows.settle import settle_idle
from tasks.quality.suites import BatchRefusedError
from tests.database_roles import create_roles
from tests.tasks.ingest.events.test_ingest_segment import GOLDEN, bought, call, viewed, write


@pytest.fixture
def ingesting(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """The installation as a process sees it that was given the address of the ingest role."""
    assert installation.key
    assert installation.lake
    create_roles(installation)
    address = logins.address(installation.settings, "ingest")
    monkeypatch.setenv("TAILORBIRD_DATABASE_URL", address)
    current.cache_clear()
    yield current()
    engine(address).dispose()
    current.cache_clear()


def test_events_items_and_users_are_ingested_and_payloads_are_not_read_back(
    ingesting: Installation, shop: Any, tmp_path: Path
) -> None:
    files = ((ingest_items, shop.items_file), (ingest_users, shop.users_file), (ingest_events, shop.events_file))
    for status in ("committed", "unchanged"):
        for ingest, file in files:
            assert ingest.fn("complete_journey", file)["status"] == status
    calls = [
        viewed(1),
        bought(2, "o", "cup", "tea"),
        call(3, "identify", traits={"age": 7}),
        call(4, "alias", previousId="a"),
    ]
    assert ingest_segment.fn("segment", write(tmp_path / "calls.jsonl", *calls))["status"] == "committed"
    with pytest.raises(BatchRefusedError):
        ingest_segment.fn("segment", str(GOLDEN))
    with ingesting.engine.connect() as connection:
        assert connection.execute(text("SELECT current_user")).scalar_one().endswith("_ingest")
        quarantined = connection.execute(text("SELECT count(batch_id) FROM quarantine")).scalar_one()
        assert quarantined >= shop.counts["quarantined"]
        with pytest.raises(ProgrammingError) as refusal:
            connection.execute(text("SELECT payload FROM quarantine"))
    assert isinstance(refusal.value.orig, InsufficientPrivilege)


def test_batches_that_were_cut_short_are_settled(ingesting: Installation, tmp_path: Path) -> None:
    ingest_segment.fn("segment", write(tmp_path / "calls.jsonl", viewed(1)))
    with ingesting.engine.begin() as connection:
        connection.execute(text("UPDATE ingest_batches SET status = 'pending'"))
    settle_idle()
    with ingesting.engine.connect() as connection:
        assert "nothing of it counts" in connection.execute(text("SELECT detail FROM ingest_batches")).scalar_one()
