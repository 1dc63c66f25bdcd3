"""Data that grow are normal: a sample first, then the full export, then a second source."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from infra.installation import current
from models.datasets.acceptance import Acceptance
from models.errors import TailorbirdError
from tasks.datasets.build_dataset import build_dataset, split_by
from tasks.datasets.load_dataset import newest_version, stored_manifest
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.reference.ingest_items import ingest_items
from tasks.quality.suites import BatchRefusedError

SHARES = split_by()


def lose_events(stage: Any) -> None:
    """Let the ledger count four times the events that the lake holds."""
    with stage.here.engine.begin() as connection:
        connection.execute(text("UPDATE ingest_batches SET read = 4 * read, accepted = 4 * accepted"))


@pytest.mark.usefixtures("installation")
def test_the_full_export_after_a_sample_makes_a_data_set_that_warns_of_its_growth(shop: Any) -> None:
    ingest_items.fn("complete_journey", shop.items_file)
    everything = shop.transactions
    shop.write(transactions=everything.slice(0, len(everything) // 6))
    ingest_events.fn("complete_journey", shop.events_file)
    first = build_dataset.fn(SHARES)
    shop.write(transactions=everything)
    ingest_events.fn("complete_journey", shop.events_file)
    full = build_dataset.fn(SHARES)
    rows, before = full["rows"]["interactions"], first["rows"]["interactions"]
    assert rows > 4 * before
    (growth,) = [warning for warning in full["warnings"] if warning.startswith("ratio_rows_interactions")]
    assert f"{rows:,} after {before:,} in the last data set; the lake gained +{rows - before:,} purchases" in growth
    assert full["figures"]["accounted_rows_interactions"] == 1
    assert full["lake"]["ledger"] == full["lake"]["events"] == rows
    assert newest_version() == full["version"]


def test_a_lake_that_lost_events_refuses_the_data_set_with_the_check_its_limit_and_the_way_out(stage: Any) -> None:
    lose_events(stage)
    with pytest.raises(BatchRefusedError) as refusal:
        build_dataset.fn(SHARES)
    message = str(refusal.value)
    assert "lake_rows is 0.25; 0.5 to 2 is allowed." in message
    assert 'the same command with --accept lake_rows --reason "…"' in message
    assert newest_version() == stage.manifest["version"]


def test_an_accepted_check_is_recorded_with_its_value_the_reason_and_the_person(stage: Any) -> None:
    lose_events(stage)
    accepted = Acceptance.of(["lake_rows"], "the ledger was restored from a backup", "ann")
    manifest = build_dataset.fn(SHARES, None, accepted)
    (record,) = manifest["accepted"]
    assert (record["check"], record["value"], record["accepted_by"]) == ("lake_rows", 0.25, "ann")
    assert record["reason"] == "the ledger was restored from a backup"
    stored = stored_manifest(stage.here)
    assert stored is not None
    assert stored["accepted"] == manifest["accepted"]
    with stage.here.engine.connect() as connection:
        entry = connection.execute(text("SELECT subject, actor, reason FROM audit_log")).one()
    assert tuple(entry) == (manifest["version"], "ann", "the ledger was restored from a backup")


def test_the_limits_are_settings(stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lose_events(stage)
    monkeypatch.setenv("TAILORBIRD_DATASET", '{"smallest_ratio": 0.2}')
    current.cache_clear()
    assert build_dataset.fn(SHARES)["accepted"] == []


@pytest.mark.usefixtures("installation")
@pytest.mark.parametrize(
    ("check", "reason"), [("no_such_check", "No check is called no_such_check"), ("users", "users cannot be accepted")]
)
def test_a_check_that_cannot_be_accepted_is_named_before_anything_is_built(check: str, reason: str) -> None:
    with pytest.raises(TailorbirdError, match=reason):
        build_dataset.fn(SHARES, None, Acceptance.of([check], "why not", "ann"))


def test_a_second_source_without_prices_does_not_block_the_first(stage: Any, tmp_path: Path) -> None:
    before = stage.manifest["null_shares"]["complete_journey"]
    orders = ["order,user,item,time"]
    orders += [
        f"{n},visitor {n % 90},extra {n % 70},2017-{1 + n % 12:02}-{1 + n % 28:02}T10:00:00Z" for n in range(3000)
    ]
    (tmp_path / "orders.csv").write_text("\n".join(orders))
    (tmp_path / "second.toml").write_text(
        'consent = "opt-out"\nconsent_note = "terms"\n[events]\nfile = "orders.csv"\nuser_id = "user"\n'
        'item_id = "item"\noccurred_at = "time"\nsession_id = "order"\nconstants = { event_type = "purchase" }\n'
    )
    ingest_events.fn(str(tmp_path / "second.toml"), str(tmp_path / "orders.csv"))
    manifest = build_dataset.fn(SHARES)
    assert not [warning for warning in manifest["warnings"] if warning.startswith("null_rise_item_features_price")]
    shares = manifest["null_shares"]
    assert set(shares) == {"complete_journey", "second"}
    assert shares["second"]["item_features_price_rank"] == 1
    assert shares["complete_journey"]["item_features_price_rank"] == pytest.approx(
        before["item_features_price_rank"], abs=0.1
    )
