"""Schedules in the real Prefect: they survive a deploy, keep their parameters, and do not pile up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from infra.configuration.settings import load
from infra.prefect_api import schedules
from infra.prefect_api.deployments import NAME
from infra.prefect_api.schedules import ScheduleRefusedError, ScheduleRow
from infra.supervisor.running_commands import next_run
from tests.waiting import until

if TYPE_CHECKING:
    from conftest import Shop

MONTHLY, WEEKLY, DAILY, RETRAIN = "audit-monthly", "compact-weekly", "monitor-daily", "retrain-weekly"
READOUT = "experiments-daily"
NIGHTLY = "score-nightly"
PRIVACY, RETENTION = "privacy-daily", "retention-weekly"
OURS = [MONTHLY, WEEKLY, READOUT, DAILY, PRIVACY, RETENTION, RETRAIN, NIGHTLY]
GIVEN = {"mapping": "segment"}


@pytest.fixture
def ours(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    """Make the running installation this process's own; remove the schedules that the test makes."""
    for name in ("DATABASE_URL", "HOME", "LAKE", "BUNDLES", "EXPORTED_BY"):
        monkeypatch.delenv(f"TAILORBIRD_{name}", raising=False)
    for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TAILORBIRD_VAR", str(shop.var))
    yield shop
    for row in schedules.list_schedules():
        if row.slug not in OURS:
            schedules.remove(row.slug)


def of(slug: str) -> ScheduleRow:
    return next(row for row in schedules.list_schedules() if row.slug == slug)


def test_prefects_pages_filter_deployments_by_the_tags_of_the_file(shop: Shop) -> None:
    written = yaml.safe_load((shop.settings.home / NAME).read_text())["deployments"]
    registered = shop.prefect("POST", "/deployments/filter", {})
    assert {entry["name"]: entry["tags"] for entry in registered} == {entry["name"]: entry["tags"] for entry in written}
    privacy = {"deployments": {"tags": {"all_": ["privacy"]}}}
    assert {entry["name"] for entry in shop.prefect("POST", "/deployments/filter", privacy)} == {"privacy", "retention"}


@pytest.mark.usefixtures("ours")
def test_the_planned_retrain_is_known_until_its_schedule_is_paused() -> None:
    planned = next_run("retrain", load())
    assert (planned.startswith("Sunday 20"), planned.endswith(" 05:30 UTC")) == (True, True)
    schedules.pause(RETRAIN)
    try:
        assert next_run("retrain", load()) == ""
    finally:
        schedules.resume(RETRAIN)


@pytest.mark.usefixtures("ours")
def test_a_schedule_states_its_next_run_and_the_same_name_again_replaces_it() -> None:
    schedules.set_schedule("ingest", "nightly", "0 3 * * *", "Europe/Berlin", GIVEN)
    row = of("nightly")
    assert row.parameters == GIVEN
    assert datetime.fromisoformat(str(row.next_run)).hour in {1, 2}
    schedules.set_schedule("ingest", "nightly", "0 4 * * *")
    again = of("nightly")
    assert (again.cron, again.zone, again.parameters) == ("0 4 * * *", "UTC", {})
    assert datetime.fromisoformat(str(again.next_run)).hour == 4


def test_the_commands_list_pause_resume_and_remove_and_parameters_stay(ours: Shop) -> None:
    schedules.set_schedule("ingest", "nightly", "0 3 * * *", "UTC", GIVEN)
    for command, active in (("pause", False), ("resume", True)):
        rows = {row["slug"]: row for row in ours.json("schedules", command, "nightly")}
        assert (rows["nightly"]["active"], rows["nightly"]["parameters"]) == (active, GIVEN)
        assert (rows["nightly"]["next_run"] is not None) == active
    assert "nightly" in ours.run("schedules", "list")
    schedules.remove("nightly")
    assert [row.slug for row in schedules.list_schedules()] == OURS
    assert ours.prefect("GET", "/deployments/name/ingest/ingest")["schedules"] == []
    with pytest.raises(ScheduleRefusedError, match=f"no schedule 'nightly'. There are: {MONTHLY}"):
        schedules.pause("nightly")


@pytest.mark.usefixtures("ours")
def test_removing_one_schedule_leaves_the_plan_of_the_others_of_its_deployment() -> None:
    schedules.set_schedule("compact", "noon", "0 12 * * *")
    planned = of(WEEKLY).next_run
    schedules.remove("noon")
    assert of(WEEKLY).next_run == planned is not None


def test_a_deploy_leaves_schedules_made_by_hand_alone_and_a_paused_one_paused(ours: Shop) -> None:
    schedules.set_schedule("ingest", "nightly", "0 3 * * *", "Europe/Berlin", GIVEN)
    schedules.set_schedule("compact", "noon", "0 12 * * *", "UTC", {"keep_days": 3})
    schedules.pause(WEEKLY)
    before = schedules.list_schedules()
    ours.prefect("PATCH", "/variables/name/tailorbird_deployed", {"value": "another state of the flows"})
    with ours.begin("up") as command:
        assert "Registering the flows" in command.ended()[2]
    assert [replace(row, next_run=None) for row in schedules.list_schedules()] == [
        replace(row, next_run=None) for row in before
    ]
    schedules.resume(WEEKLY)


@pytest.mark.usefixtures("ours")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ingest", "nightly", "0 3 * *"), "no cron line that Prefect reads. It has minute, hour, day"),
        (("ingest", "nightly", "0 0 31 2 *"), "matches no day"),
        (("ingest", "x", "0 3 * * *", "Europe/Berlyn"), "no time zone 'Europe/Berlyn'; write one as"),
        (("ingestion", "x", "0 3 * * *"), "no deployment 'ingestion'"),
        (("ingest", "x y", "0 3 * * *"), "small letters, digits and hyphens"),
        (("ingest", "x", "0 3 * * *", "UTC", {"mappping": "segment"}), "takes no mappping; it takes .*mapping"),
        (("ingest", WEEKLY, "0 3 * * *"), "is a schedule of compact"),
    ],
)
def test_an_impossible_schedule_is_refused_and_what_was_there_stays(arguments: tuple[Any, ...], message: str) -> None:
    schedules.set_schedule("ingest", "nightly", "0 3 * * *", "UTC", GIVEN)
    before = of("nightly")
    with pytest.raises(ScheduleRefusedError, match=message):
        schedules.set_schedule(*arguments)
    assert [row.slug for row in schedules.list_schedules() if row.slug != "nightly"] == OURS
    assert of("nightly") == before


def test_of_the_slots_that_nobody_worked_on_one_is_run(ours: Shop) -> None:
    compact = ours.prefect("GET", "/deployments/name/compact/compact")["id"]
    schedules.set_schedule("compact", "every-minute", "* * * * *", "UTC", {"keep_days": 3})
    now = datetime.now(UTC)
    back = {"start_time": (now - timedelta(minutes=6)).isoformat(), "end_time": now.isoformat(), "min_runs": 6}
    ours.prefect("POST", f"/deployments/{compact}/schedule", back)
    schedules.pause("every-minute")
    due = {"expected_start_time": {"before_": now.isoformat()}}
    runs = {"deployments": {"id": {"any_": [compact]}}, "flow_runs": due}

    def seen() -> Counter[str]:
        return Counter(run["state"]["name"] for run in ours.prefect("POST", "/flow_runs/filter", runs))

    until(lambda: seen() == {"Completed": 1, "Missed": 5}, 60, "other runs are started or missed")
