"""Batches from before statements were stored cannot be undone, and their values survive the undo of a later one."""

from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import text

from infra.installation import Installation
from models.errors import TailorbirdError
from tests.infra.database.test_lists_before_codes import to
from tests.tasks.ingest.events.test_segment_updates import call, ingest, viewed
from tests.tasks.ingest.undo.test_undo_batches import everything, identified, undo


def upgrade_again(installation: Installation) -> None:
    """Leave the tables as an upgrade from the version before statements does."""
    with installation.engine.begin() as connection:
        to(connection, "0014", command.downgrade)
        to(connection, "head")


def test_an_undo_gives_back_the_values_from_before_the_upgrade(installation: Installation, tmp_path: Path) -> None:
    ingest(
        tmp_path,
        viewed(1, price=5.0, brand="Clay"),
        viewed(2, True, "bob", product_id="pan", name="Pan"),
        identified(2, "ann", plan="gold"),
        identified(2, "cleo", plan="none"),
        call(3, "page", False, "cleo"),
        number=1,
    )
    upgrade_again(installation)
    before = everything(installation)
    later = ingest(
        tmp_path,
        viewed(4, price=9.0, brand="Iron"),
        viewed(4, True, "dan", product_id="jug"),
        identified(5, "ann", plan="silver", town="Ulm"),
        number=2,
    )
    assert everything(installation) != before
    undo(later["batch_id"])
    assert everything(installation) == before


def test_a_batch_from_before_the_upgrade_is_refused_with_a_reason(installation: Installation, tmp_path: Path) -> None:
    first = ingest(tmp_path, viewed(1), number=1)
    upgrade_again(installation)
    before = everything(installation)
    with pytest.raises(TailorbirdError, match=first["batch_id"]):
        undo(first["batch_id"])
    assert everything(installation) == before
    with installation.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM audit_log")).scalar_one() == 0
