"""Old events leave the lake, with every file that held them, also after stops."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from infra.configuration.retention import Retention
from infra.configuration.settings import annotations
from infra.configuration.settings_file import values
from infra.installation import Installation
from tasks.ingest.events.ingest_events import ingest_events
from tasks.privacy import retention
from tasks.privacy.retention import old_events, old_runs, remove_old_events
from tasks.promotion.recorded_bundles import TrainedBundle, record
from tests.tasks.privacy.conftest import CHOSEN, Store
from tests.tasks.privacy.stores import missing_events
from tests.tasks.stopped_steps import KilledError, ends_at

STEPS = tuple((retention, name) for name in ("purge", "update_manifests"))


def events(here: Installation) -> pa.Table:
    table = here.lake.events()
    assert table is not None
    return pa.table(table.to_pyarrow_table()).sort_by("event_id")


def files(here: Installation) -> set[str]:
    return {name for name, _ in here.lake.all_files() if name.startswith("events/month=")}


def keep(here: Installation, **chosen: Any) -> None:
    object.__setattr__(here.settings, "retention", Retention(**chosen))


def days_since(month: str) -> str:
    """Return the period that begins in the middle of a month."""
    return f"{(datetime.now(UTC) - datetime.fromisoformat(f'{month}-15T00:00:00+00:00')).days} days"


@pytest.mark.parametrize("moment", range(5))
def test_events_before_the_limit_leave_every_file_and_younger_ones_stay_after_a_stop_too(
    small: Installation, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    before = events(small)
    months = sorted(pc.unique(before["month"]).to_pylist())
    keep(small, events=days_since(months[1]))
    planned, stored = old_events(small), files(small)
    assert [one.store for one in planned] == [f"events of {months[0]}"]
    assert events(small).equals(before)
    assert files(small) == stored
    with monkeypatch.context() as patch:
        ends_at(patch, moment, STEPS)
        try:
            assert remove_old_events(small) == planned
        except KilledError:
            assert moment < 4
    remove_old_events(small)
    assert events(small).equals(before.filter(pc.greater_equal(before["month"], months[1])))
    assert missing_events(small) == 0
    assert not any(months[0] in name for name in files(small))
    stored = files(small)
    rows = [pq.read_metadata(path).num_rows for name, path in small.lake.all_files() if name in stored]
    assert sum(rows) == len(events(small))
    version = small.lake.events().version()  # type: ignore[union-attr]
    assert (remove_old_events(small), small.lake.events().version()) == ([], version)  # type: ignore[union-attr]


@pytest.mark.parametrize(("chosen", "all_go"), [("2 years", True), ("", False)])
def test_a_source_follows_its_own_period_alone(small: Installation, chosen: str, all_go: bool) -> None:
    before = events(small)
    (source,) = pc.unique(before["source"]).to_pylist()
    keep(small, events="" if all_go else "90 days", sources={source: chosen, "it's": "1 day"})
    assert sum(month.rows for month in old_events(small)) == (len(before) if all_go else 0)
    remove_old_events(small)
    assert len(events(small)) == (0 if all_go else len(before))
    assert missing_events(small) == 0


def test_impressions_may_end_before_other_events_of_every_source(small: Installation, tmp_path: Path) -> None:
    before = events(small)
    shown = [f"u1,i{n},impression,{1_600_000_000 + n},shown" for n in range(3)]
    (tmp_path / "shown.csv").write_text("\n".join(["USER_ID,ITEM_ID,EVENT_TYPE,TIMESTAMP,RECOMMENDATION_ID", *shown]))
    ingest_events.fn("personalize", str(tmp_path / "shown.csv"), CHOSEN)
    assert len(events(small)) == len(before) + 3
    keep(small, impressions="2 years", sources={"personalize": ""})
    assert [(one.store, one.rows) for one in remove_old_events(small)] == [("events of 2020-09", 3)]
    assert events(small).select(before.column_names).equals(before)
    assert missing_events(small) == 0


def test_runs_that_no_version_and_no_review_needs_leave_mlflow_when_their_period_has_ended(
    published: Any, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, file = published.here, tmp_path / "report.html"
    file.write_text("a report")
    runs = {name: store.start_run(name, name, {}, {}) for name in ("loose", "registered", "compared", "open")}
    for name, run_id in runs.items():
        store.log_file(run_id, file, "review")
        if name != "open":
            store.finish_run(run_id)
    store.register(runs["registered"], {})
    bundle = TrainedBundle(runs["compared"], "compared", "als", published.manifest["version"], "digest", "digest")
    record(here.engine, bundle)
    below = {name: store.record_child_run(name, run_id, {}, {}, [{}], 0.0) for name, run_id in runs.items()}
    assert old_runs(here, store) == []
    keep(here, mlflow_runs="1 day")
    assert old_runs(here, store) == []
    monkeypatch.setattr(retention, "database_now", lambda _connection: datetime.now(UTC) + timedelta(days=2))
    assert set(old_runs(here, store)) == {runs["loose"], below["loose"], below["open"]}
    store.delete_runs(old_runs(here, store))
    assert old_runs(here, store) == []
    assert {name: list(store.files(run_id, "review")) for name, run_id in runs.items()} == {
        name: [] if name == "loose" else ["report.html"] for name in runs
    }


@pytest.mark.parametrize("chosen", [{"events": "2 weeks"}, {"sources": {"shop": "soon"}}])
def test_a_wrong_period_is_refused(chosen: Any) -> None:
    with pytest.raises(ValueError, match="is a period such as `90 days`"):
        Retention(**chosen)


def test_the_settings_file_holds_periods_of_sources(tmp_path: Path) -> None:
    file = tmp_path / "tailorbird.toml"
    file.write_text('[retention]\nevents = "2 years"\nsources = { clicks = "90 days" }\n')
    assert values(file, annotations())["retention"] == {"events": "2 years", "sources": {"clicks": "90 days"}}
