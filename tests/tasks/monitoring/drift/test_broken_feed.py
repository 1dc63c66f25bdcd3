"""Tests that a broken feed, which resembles drift, blocks, is named, and makes no request."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sqlalchemy import select

from expectations.batches import ContractViolationError
from infra.database.schema.monitoring_schema import retrain_requests
from infra.database.schema.schema import ingest_batches
from infra.installation import current
from infra.prefect_api import events as prefect_events
from tasks.monitoring.drift.detect_drift import detect_drift
from tests.recording_server import RecordingServer
from tests.tasks.weeks import KNOWN, Week, Weekly, end, events


def emptied(table: pa.Table, column: str) -> pa.Table:
    place = table.schema.get_field_index(column)
    return table.set_column(place, column, pa.nulls(len(table), table.schema.field(place).type))


def tenth(table: pa.Table) -> pa.Table:
    """Return one row of ten, and the last one."""
    included = np.arange(len(table)) % 10 == 0
    included[-1] = True
    return table.filter(pa.array(included))


def in_cents(table: pa.Table) -> pa.Table:
    return table.set_column(table.schema.get_field_index("paid"), "paid", pc.multiply(table["paid"], 100.0))


def without_views(table: pa.Table) -> pa.Table:
    return table.filter(pc.equal(table["what"], "purchase"))


BREAKS: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "a column has no values any more": (lambda t: emptied(t, "paid"), "nulls: value: 100.00% events without value"),
    "an optional column is gone": (lambda t: t.drop_columns(["visit"]), "nulls: session: "),
    "nine of ten events are lost": (tenth, "volume: "),
    "amounts come in another unit": (in_cents, "odd prices: "),
    "a type of event is not sent any more": (without_views, "type: view: 1 events of type view, usually "),
}


@pytest.mark.parametrize(("damaged", "reason"), BREAKS.values(), ids=BREAKS)
def test_a_break_blocks_and_is_named(weekly: Weekly, damaged: Callable[[pa.Table], pa.Table], reason: str) -> None:
    weekly.ingest(pa.concat_tables([damaged(events(Week(KNOWN))), end(KNOWN + 1)], promote_options="default"))
    [report] = detect_drift.fn()["reports"]
    assert (report["verdict"], report["decision"]) == ("invalid_feed", "blocked")
    assert report["reasons"][0] == "The feed is broken; no model is trained on it."
    assert any(why.startswith(reason) for why in report["reasons"][1:])
    assert weekly.rows(retrain_requests) == []


def test_a_file_that_lacks_a_column_it_has_to_have_blocks_until_a_sound_one_comes(weekly: Weekly) -> None:
    weekly.ingest(events(Week(KNOWN)))
    with pytest.raises(ContractViolationError, match="column 'product' is missing"):
        weekly.ingest(events(Week(KNOWN + 1)).drop_columns(["product"]))
    newest = select(ingest_batches.c.status).order_by(ingest_batches.c.started_at.desc()).limit(1)
    with weekly.here.engine.connect() as connection:
        assert connection.execute(newest).scalar() == "refused"
    [report] = detect_drift.fn()["reports"]
    assert (report["verdict"], report["decision"]) == ("invalid_feed", "blocked")
    assert "column 'product' is missing" in report["reasons"][1]
    weekly.ingest(events(Week(KNOWN + 1)))
    [report] = detect_drift.fn()["reports"]
    assert (report["verdict"], report["decision"]) == ("stable", "none")


def test_a_broken_feed_is_alerted_also_before_the_week_is_over(weekly: Weekly, monkeypatch: pytest.MonkeyPatch) -> None:
    with RecordingServer() as prefect:
        monkeypatch.setenv("PREFECT_API_URL", f"{prefect.url}/api")
        current.cache_clear()
        with pytest.raises(ContractViolationError):
            weekly.ingest(events(Week(KNOWN)).drop_columns(["product"]))
        assert detect_drift.fn()["reports"] == []
        weekly.ingest(in_cents(events(Week(KNOWN))))
        [report] = detect_drift.fn()["reports"]
    early, late = prefect.events()
    assert {early["event"], late["event"]} == {prefect_events.BROKEN_FEED}
    assert "column 'product' is missing" in early["payload"]["reason"]
    assert "odd prices" in late["payload"]["reason"]
    assert late["resource"] == {"prefect.resource.id": f"tailorbird.drift-report.{report['report_id']}"}
