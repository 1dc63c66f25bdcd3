from datetime import UTC, datetime
from typing import Any

import pytest

from infra.installation import Installation, current
from infra.registry.client import Registry
from infra.services.data_docs import PAGE, About, replace_page
from tasks.orchestration.run_artifacts import DATA_DOCS, PREFECT_RUN, SEARCH, flow_run_page, markdown, of_training

DATASET = "v5-20180101-795a8fa7"


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


@pytest.mark.usefixtures("documented")
def test_docs_that_nobody_serves_are_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TAILORBIRD_DOCS_URL")
    current.cache_clear()
    assert of_training(current(), Registry("http://127.0.0.1:9"), DATASET, "") == {}


def test_links_are_listed_in_one_line_in_an_order_of_their_own() -> None:
    text = markdown({SEARCH: "http://m/s", PREFECT_RUN: "http://p/r"})
    assert text == "See [the Prefect run](http://p/r), [the search of its settings](http://m/s)."
    assert markdown({}) == ""


def test_a_version_has_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Registry("http://mlflow:5000/").version_page(3) == "http://mlflow:5000/#/models/tailorbird/versions/3"
    assert Registry("http://ann:hunter2@mlflow:5000").version_page(3).startswith("http://mlflow:5000/#/")
    monkeypatch.setenv("TAILORBIRD_MLFLOW_PAGE", "https://mlflow.shop.example/")
    assert (
        Registry("http://mlflow:5000/").version_page(3) == "https://mlflow.shop.example/#/models/tailorbird/versions/3"
    )


@pytest.mark.usefixtures("installation")
def test_links_lead_where_people_open_the_pages_which_may_not_be_where_programs_reach_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TAILORBIRD_PREFECT_PAGE", "https://prefect.shop.example/")
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "0b6e")
    current.cache_clear()
    assert flow_run_page(current()) == "https://prefect.shop.example/v2/runs/flow-run/0b6e"
    assert current().endpoints.prefect_api_url == "http://127.0.0.1:9/api"
