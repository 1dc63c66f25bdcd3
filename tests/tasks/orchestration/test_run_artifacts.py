import math
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect import flow
from prefect.context import FlowRunContext

from infra.installation import Installation, current
from infra.registry.client import Registry
from infra.services.data_docs import PAGE, About, replace_page
from tasks.orchestration import demo_story, run_artifacts, run_names
from tasks.orchestration import progress as progress_module
from tasks.orchestration.demo_story import Story
from tasks.orchestration.progress import progress
from tasks.orchestration.run_artifacts import (
    DATA_DOCS,
    GATE,
    GROUPS,
    PREFECT_RUN,
    flow_run_page,
    in_order,
    judged,
    of_training,
    rounded,
    windows_table,
)

DATASET = "v5-20180101-795a8fa7"
LEDGER = {"batch_id": "shop-events-1", "status": "committed", "dataset": "events", "read": 1_200, "accepted": 1_150}
LEDGER |= {"quarantined": 50, "duplicate": 0, "suppressed": 0, "routed": 0}
BUILT = {"version": "v5", "rows": {"interactions": 1_150, "users": 90, "items": 40}}
LADDER = [{"model": name, "ndcg_at_10": figure} for name, figure in (("most_popular", 0.1), ("two_stage", 0.4))]
REVIEW = {"status": "approved", "model_version": 3, "ladder": LADDER, "reviewer": "ann", "reason": "<b>fine</b>"}
REVIEW |= {"gate": [{"name": "is personal", "outcome": "passed"}, {"name": "is fair", "outcome": "warning"}]}
SUMMARY = {"coverage": 0.12345, "kept_from_before": 0, "reasons": {}, "short": {}, "notes": []}
BATCH = {"placement": "home", "batch_id": 1, "model_version": 3, "users": 90, "recommendations": 1_800}
BATCH |= {"status": "published", "summary": SUMMARY}


@pytest.fixture
def shown(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:  # noqa: ARG001
    """Collect the artifacts that a flow would hand to Prefect."""
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(FlowRunContext, "get", lambda: object())
    monkeypatch.setattr(run_artifacts, "create_table_artifact", lambda **artifact: made.append(artifact))
    monkeypatch.setattr(
        run_artifacts, "create_markdown_artifact", lambda text, **artifact: made.append({"markdown": text, **artifact})
    )
    return made


def test_texts_of_a_table_are_text_and_numbers_stay_numbers(shown: list[dict[str, Any]]) -> None:
    row = {"title": "![](http://evil.example/x)", "n": 7, "share": 0.5, "none": None, "rules": {"a_b|c": ["<b>"]}}
    run_artifacts.show("key", "Warnings", [])
    assert shown == []
    run_artifacts.show("key", "Batch *b*", [row])
    assert shown[0]["description"] == r"Batch \*b\*"
    assert shown[0]["table"] == [
        {"title": r"!\[\](http\://evil.example/x)", "n": 7, "share": 0.5, "none": None}
        | {"rules": r"a_b\|c: &lt;b&gt;"}
    ]


def test_only_links_to_pages_of_this_installation_stay_links(
    installation: Installation, shown: list[dict[str, Any]]
) -> None:
    page = installation.endpoints.mlflow_page
    link = f"[MLflow]({page}/#/runs/1)"
    unchanged = [f"{page}/#/runs/1", link, page, f"{link}, [report]({page}/#/runs/2)"]
    refused = [
        f"{page}.evil.example/x",
        f"{page}@evil.example/x",
        f"{page}/) ![](http://evil.example/x",
        f"[x]({page}/)[y](http://evil.example)",
        "[x](javascript:alert(1))",
        "http://evil.example/",
        f"{link}, [x](http://evil.example)",
    ]
    run_artifacts.show("key", "Runs", [{"page": address} for address in [*unchanged, *refused]])
    cells = [line.removeprefix("| ").removesuffix(" |") for line in shown[0]["markdown"].splitlines()[4:]]
    assert cells[: len(unchanged)] == [
        f"[open]({address})" if address.startswith("http") else address for address in unchanged
    ]
    assert all("\\" in cell for cell in cells[len(unchanged) :])


def test_a_table_with_links_is_markdown_whose_links_can_be_followed(
    installation: Installation, shown: list[dict[str, Any]]
) -> None:
    page = installation.endpoints.mlflow_page
    run_artifacts.show("key", "Runs", [{"model": "a|b", "run": f"{page}/#/runs/1", "none": None}])
    assert shown[0]["markdown"].splitlines()[2:] == [
        "| model | run | none |",
        "| --- | --- | --- |",
        rf"| a\|b | [open]({page}/#/runs/1) |  |",
    ]


@pytest.fixture
def documented(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An installation whose data set has Data Docs, which somebody serves."""
    about = About(DATASET, "dataset", True, datetime.now(UTC).isoformat())
    with replace_page(installation.settings.var, about) as folder:
        (folder / PAGE).write_text("all is well")
    monkeypatch.setenv("TAILORBIRD_DOCS_URL", "https://docs.shop.example/")
    current.cache_clear()
    return current()


def test_a_training_leads_to_its_prefect_run_and_to_the_data_sets_docs(
    documented: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry("http://127.0.0.1:9")
    docs = f"https://docs.shop.example/{DATASET}/"
    assert of_training(documented, registry, DATASET, "") == {DATA_DOCS: docs}
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "0b6e")
    page = f"{documented.endpoints.prefect_page}/v2/runs/flow-run/0b6e"
    assert flow_run_page(documented) == page
    assert of_training(documented, registry, DATASET, "") == {PREFECT_RUN: page, DATA_DOCS: docs}
    monkeypatch.delenv("PREFECT__FLOW_RUN_ID")
    monkeypatch.delenv("TAILORBIRD_DOCS_URL")
    current.cache_clear()
    assert of_training(current(), registry, DATASET, "") == {}, "nobody serves the docs"


@pytest.mark.usefixtures("installation")
def test_links_lead_where_people_open_the_pages_which_may_not_be_where_programs_reach_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = "http://ann:hunter2@mlflow:5000/"
    assert Registry(address).version_page(3) == "http://mlflow:5000/#/models/tailorbird/versions/3"
    monkeypatch.setenv("TAILORBIRD_MLFLOW_PAGE", "https://mlflow.shop.example/")
    assert Registry(address).version_page(3) == "https://mlflow.shop.example/#/models/tailorbird/versions/3"
    monkeypatch.setenv("TAILORBIRD_PREFECT_PAGE", "https://prefect.shop.example/")
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "0b6e")
    current.cache_clear()
    assert flow_run_page(current()) == "https://prefect.shop.example/v2/runs/flow-run/0b6e"
    assert current().endpoints.prefect_api_url == "http://127.0.0.1:9/api"


def test_columns_come_in_reading_order_whatever_order_a_row_has() -> None:
    stored = {"low": None, "name": "is personal", "limit": 1.0, "value": 7.0, "detail": "7 lists.", "outcome": "passed"}
    [row] = in_order([stored], GATE)
    assert list(row) == ["outcome", "check", "detail", "value", "limit", "low"]


def test_groups_that_are_too_small_are_not_shown_as_passed() -> None:
    groups = [{"trait": "age", "judged": False, "passed": True}, {"trait": "age", "judged": True, "passed": False}]
    assert [row["outcome"] for row in in_order(judged(groups), GROUPS)] == ["too few people to judge", "worse"]


def test_figures_are_rounded() -> None:
    values = (0.24974002065834705, 2037.0, 7, 1430.499328, 0.00001234, math.nan)
    assert [rounded(value) for value in values] == [0.2497, 2037, 7, 1430.5, 1.2e-05, ""]


def test_the_latest_window_comes_first_and_without_one_the_reason() -> None:
    _, [row] = windows_table({"reports": [], "note": "Nobody was promoted yet."}, "")
    assert row == {"verdict": "nothing to judge", "reasons": "Nobody was promoted yet."}
    days = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 8, 15)]
    reports = [
        {"window_from": days[at], "window_to": days[at + 1], "reasons": ["x"], "drivers": [], "verdict": "stable"}
        for at in (0, 1)
    ]
    _, rows = windows_table({"reports": reports, "note": ""}, "")
    assert [row["window"] for row in rows] == ["2026-01-08 to 2026-01-15", "2026-01-01 to 2026-01-08"]


def test_the_page_of_the_demo_has_the_verdict_first_then_every_step_that_happened_with_its_links(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "_experiment", "1")
    page = demo_story.markdown(installation, Story([LEDGER], BUILT, [], REVIEW, [BATCH]))
    first, *_ = page.splitlines()
    assert first == "**Version 3: approved. two_stage is best by NDCG. Lists are live: home.**"
    for text in ("| committed | events | 1,200 | 1,150 | 50 |", "1,150 interactions", "| two_stage | 0.4000 |"):
        assert text in page
    assert "Checks of the gate: 1 passed, 1 warning. ann: &lt;b&gt;fine&lt;/b&gt;" in page
    assert "| published | home | 90 | 1800 | 0.1235 |" in page
    assert "searched" not in page
    pages = installation.endpoints.mlflow_page
    assert f"({pages}/#/models/tailorbird/versions/3)" in page
    assert f"({pages}/#/experiments/1/runs?" in page


def test_runs_are_named_in_one_short_line_after_what_they_work_on() -> None:
    paths = ["/data/orders.csv", "s3://bucket/more/"]
    assert run_names.ingest({"mapping": "/shop/my_shop.toml", "paths": paths}) == "ingest my_shop orders.csv more"
    many = [f"{number}.csv" for number in range(9)]
    assert run_names.ingest({"mapping": "segment", "source": "web", "paths": many}).endswith("2.csv and 6 more")
    scoring = flow(flow_run_name=run_names.flow_run_name(run_names.score))(lambda: None)
    assert scoring.flow_run_name() == "score all placements"
    assert run_names.short("a\nb\x1b[2J") == "a b\\x1b[2J"
    assert len(run_names.short("x" * 999)) == 100
    assert run_names.of_file("ingest items")(parameters={"file": "/data/items{0}.csv"}) == "ingest items items{0}.csv"


@pytest.mark.parametrize("steps", [0, 3])
def test_without_a_terminal_work_is_announced_in_a_line(steps: int, capsys: pytest.CaptureFixture[str]) -> None:
    with progress("count sheep", steps) as advance:
        advance(steps, note="idle")
    assert capsys.readouterr().err == "  count sheep …\n"


def test_no_work_ends_because_prefect_cannot_be_shown_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_args: object, **_kwargs: object) -> None:
        raise httpx.ConnectError("nobody listens")

    monkeypatch.setattr(progress_module, "update_progress_artifact", away)
    monkeypatch.setattr(progress_module, "_artifact", lambda _title: uuid4())
    monkeypatch.setattr(progress_module, "_SECONDS_BETWEEN", 0.0)
    with progress("count sheep", 2) as advance:
        advance(note="one")
        advance()
