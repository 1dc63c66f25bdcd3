"""An audit on the real servers: the page in MLflow, the row in SQL, the table and the event in Prefect."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from infra.installation import Installation
from infra.prefect_api.events import AUDIT
from infra.registry.client import Registry
from models.errors import TailorbirdError
from serving.terminal import screen
from tasks.monitoring.audit.audit_lists import audit_lists
from tests.flows.conftest import write
from tests.waiting import until

if TYPE_CHECKING:
    from conftest import Shop

CHRISTMAS = ("--as-of", "2018-01-01")
"""The weeks before; other tests may have taken newer events in."""
LIMITS = '{"group_users": 20}'
"""The small cut has groups of few people."""


@pytest.fixture
def shown(live: Installation) -> Iterator[Callable[[str], None]]:
    """Return the function that sets since when the demo's lists alone are shown at home.

    Half of the users are in team a. All of it is undone.
    """
    copied = ("publication_periods", "published_lists", "users")
    for name in copied:
        write(live, f"CREATE TABLE kept_{name} AS SELECT * FROM {name}")
    team = """jsonb_build_object('team', CASE WHEN md5(user_key) < '8' THEN 'a' ELSE 'b' END)"""
    write(live, f"UPDATE users SET attributes = attributes || {team}")
    first = "period_id = (SELECT min(period_id) FROM publication_periods WHERE placement = 'home')"
    since = (
        f"UPDATE publication_periods SET published_at = CASE WHEN {first} THEN '{{}}' ELSE 'infinity' END::timestamptz"
    )
    yield lambda moment: write(live, f"{since.format(moment)} WHERE placement = 'home'")
    for table, column in (("publication_periods", "published_at"), ("users", "attributes")):
        key = "period_id" if table == "publication_periods" else "user_key"
        write(
            live, f"UPDATE {table} SET {column} = was.{column} FROM kept_{table} AS was WHERE was.{key} = {table}.{key}"
        )
    same = "was.period_id = published_lists.period_id AND was.subject = published_lists.subject"
    write(live, f"UPDATE published_lists SET items = was.items FROM kept_published_lists AS was WHERE {same}")
    for name in copied:
        write(live, f"DROP TABLE kept_{name}")


def page(installation: Installation, address: str, folder: Path) -> str:
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    run_id = address.split("/runs/")[1].split("/")[0]
    assert registry.run(run_id).tags["stage"] == "audit"
    assert address == registry.artifact_page(run_id, "audit/audit.html")
    return registry.download(run_id, "audit/audit.html", folder).read_text(encoding="utf-8")


def test_lists_of_data_of_the_past_are_audited_without_outcomes(
    stocked: Shop, live: Installation, tmp_path: Path
) -> None:
    report = stocked.json("audit")
    assert (report["status"], report["placement"]) == ("not judged", "home")
    assert report["users"] == int(stocked.sql("SELECT count(*) FROM users WHERE consent")[0][0])
    all_users = report["groups"][0]
    assert (all_users["group"], all_users["bought"], all_users["NDCG@10"]) == ("everybody", 0, "-")
    assert float(all_users["popularity lift"].split()[0]) != 0
    assert "neither accuracy nor any group can be judged" in page(live, report["page"], tmp_path)
    assert "household-" not in page(live, report["page"], tmp_path)


def test_outcomes_of_shown_lists_are_in_sql_in_mlflow_in_prefect_and_in_the_terminal(
    stocked: Shop, live: Installation, shown: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown("2017-12-10")
    report = stocked.json("audit", *CHRISTMAS)
    all_users = report["groups"][0]
    assert all_users["bought"] > 50
    assert float(all_users["NDCG@10"].split()[0]) > 0.2  # the lists were made after these purchases
    (row,) = stocked.sql(
        "SELECT placement, status, model_versions, page, window_to::date FROM audit_reports "
        f"WHERE audit_id = {report['audit_id']}"
    )
    assert [row[0], row[1], row[3]] == ["home", report["status"], report["page"]]
    assert row[2] == "{1}"
    assert row[4] == "2018-01-01"
    ((ndcg, low, high),) = stocked.sql(
        "SELECT value, low, high FROM audit_groups WHERE figure = 'ndcg' AND \"group\" = 'everybody' "
        f"AND audit_id = {report['audit_id']}"
    )
    assert float(low) < float(ndcg) < float(high)
    assert f"{float(ndcg):.4f}" in page(live, report["page"], tmp_path)
    assert f"({report['page']})" in stocked.artifacts("audit-home")[0]["data"]
    screen.show("audit", report)
    assert "The whole audit" in capsys.readouterr().out


def test_a_group_that_is_served_worse_raises_the_event_and_noise_does_not(
    stocked: Shop, live: Installation, shown: Any
) -> None:
    shown("2017-12-10")
    fair = json.loads(stocked.run("audit", *CHRISTMAS, "--json", TAILORBIRD_GATE=LIMITS))
    judged = "SELECT figures -> 'beside' FROM audit_reports WHERE audit_id = "
    teams = [g for g in json.loads(stocked.sql(f"{judged}{fair['audit_id']}")[0][0]) if g["trait"] == "team"]
    assert [(group["value"], group["judged"], group["passed"]) for group in teams] == [
        ("a", True, True),
        ("b", True, True),
    ]
    in_a = "SELECT user_key FROM users WHERE attributes ->> 'team' = 'a'"
    write(live, f"UPDATE published_lists SET items = ARRAY['nothing that anybody buys'] WHERE subject IN ({in_a})")
    unfair = json.loads(stocked.run("audit", *CHRISTMAS, "--json", TAILORBIRD_GATE=LIMITS))
    assert unfair["status"] == "beyond margin"
    assert "team a" in unfair["verdict"]
    about = {"event": {"name": [AUDIT]}, "resource": {"id": [f"tailorbird.audit.{unfair['audit_id']}"]}}
    event = until(lambda: stocked.prefect("POST", "/events/filter", {"filter": about})["events"], 10)[0]
    assert event["payload"]["page"] == unfair["page"]
    (event_groups,) = [group for group in event["payload"]["groups"] if group["trait"] == "team"]
    assert (event_groups["value"], event_groups["mean"]) == ("a", 0)
    assert event_groups["difference"] < event_groups["high"] < event_groups["margin"]


@pytest.mark.usefixtures("live")
def test_an_impossible_audit_is_refused_in_words(stocked: Shop) -> None:
    with pytest.raises(TailorbirdError, match="about items"):
        audit_lists.fn("similar-items", 28)
    with pytest.raises(TailorbirdError, match="There is no placement 'attic'"):
        audit_lists.fn("attic", 28)
    for days in (0, float("nan"), 1e9):
        with pytest.raises(TailorbirdError, match="An audit covers up to 36,525 days, not"):
            audit_lists.fn("home", days)
    assert "in the 28 days before 2001-01-01" in audit_lists.fn("home", 28, date(2001, 1, 1))["verdict"]
    refusal = stocked.run("audit", "--as-of", "Christmas", code=2)
    assert "2017-12-31" in refusal
    assert "Traceback" not in refusal
