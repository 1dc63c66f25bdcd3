"""Batches from before statements were stored cannot be undone, and their values survive the undo of a later one."""

from pathlib import Path

import pytest
from sqlalchemy import text

from infra.installation import Installation
from models.errors import TailorbirdError
from tests.tasks.ingest.events.test_segment_updates import call, ingest, viewed
from tests.tasks.ingest.undo.test_undo_batches import everything, identified, undo

_CHANGES = "jsonb_build_object('changes', jsonb_agg(jsonb_build_object('name', name, 'since', since, 'value', value)))"
UPGRADE = (
    "DELETE FROM audit_log",
    "DELETE FROM ingest_repeats",
    "DELETE FROM ingest_statements",
    "DELETE FROM ingest_applications",
    """
    INSERT INTO ingest_applications (batch_id, repeats)
    SELECT batch_id, 0 FROM ingest_batches WHERE status = 'committed' ORDER BY finished_at LIMIT 1""",
    f"""
    INSERT INTO ingest_statements (application_id, chunk, kind, key, payload, field_timestamps, observed_at)
    SELECT application_id, 0, kind, key, payload, coalesce(times, '{{}}'), moment FROM ingest_applications CROSS JOIN (
        SELECT 'item_table' AS kind, item_id AS key, field_timestamps AS times, NULL::timestamptz AS moment,
            to_jsonb(items) - ARRAY['item_id', 'batch_id', 'field_timestamps'] AS payload FROM items
        UNION ALL
        SELECT 'user_table', user_key, field_timestamps, NULL,
            to_jsonb(users) - ARRAY['user_key', 'batch_id', 'field_timestamps'] FROM users
        UNION ALL SELECT 'person', user_key, NULL, NULL, '{{}}' FROM identity.users
        UNION ALL SELECT 'item_history', item_id, NULL, NULL, {_CHANGES} FROM item_history GROUP BY item_id
        UNION ALL SELECT 'user_history', user_key, NULL, NULL, {_CHANGES} FROM user_history GROUP BY user_key
        UNION ALL
        SELECT 'device', anonymous_key, NULL, occurred_at, jsonb_build_object('user_key', user_key) FROM aliases
    ) AS known""",
)
"""What the migration to statements did: values of then stand for what all earlier batches stated."""


def upgrade_again(installation: Installation) -> None:
    """Leave the tables as an upgrade from the version before statements did."""
    with installation.engine.begin() as connection:
        for statement in UPGRADE:
            connection.execute(text(statement))


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
