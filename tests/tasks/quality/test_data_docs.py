import logging
import re

import pyarrow as pa
import pytest

from expectations.rules import missing, not_in_set
from infra.installation import Installation
from infra.services.data_docs import PAGE, folder_name, list_pages, pages_folder
from tasks.quality import data_docs
from tasks.quality.suites import BatchExpectations, validate_batch

pytestmark = pytest.mark.usefixtures("pages")

PROMISES = BatchExpectations(
    (missing("item_id", "no item"), not_in_set("event_type_unknown", "unknown", "event_type", ["view"])),
    {"rows": (1, None), "quarantined_share": (None, 0.2)},
)
HOSTILE = "<script>alert(1)</script>" + "x" * 10_000


def page(
    installation: Installation,
    batch_id: str,
    event_type: str = "view",
    quarantined: float = 0.1,
    dataset: str = "events",
) -> str:
    rows = pa.table({"item_id": ["a", "b"], "event_type": [event_type] * 2})
    validate_batch(batch_id, dataset, PROMISES, rows, {"rows": 2, "quarantined_share": quarantined, "days": None})
    return (pages_folder(installation.settings.var) / folder_name(batch_id) / PAGE).read_text()


def test_a_page_states_the_verdict_and_every_finding_and_figure(installation: Installation) -> None:
    text = page(installation, "shop-events-1", quarantined=0.3)
    assert "<h1>shop-events-1</h1>" in text
    assert "Refused: an expectation does not hold." in text
    for rule in ("item_id_missing", "event_type_unknown", "rows", "quarantined_share"):
        assert f"<code>{rule}</code>" in text
    assert "<small>no item</small>" in text
    assert "<td>0.3</td>\n  <td>at most 0.2</td>" in text
    assert "values must be greater than or equal to" in text
    assert list_pages(pages_folder(installation.settings.var))[0][1].passed is False


def test_a_batch_that_is_judged_again_has_the_new_verdict(installation: Installation) -> None:
    page(installation, "shop-events-1", quarantined=0.3)
    assert "Passed: every expectation holds." in page(installation, "shop-events-1")
    assert [about.passed for _, about in list_pages(pages_folder(installation.settings.var))] == [True]


def test_a_page_needs_no_script_and_nothing_from_elsewhere(installation: Installation) -> None:
    text = page(installation, "shop-events-1")
    assert not re.search(r"<script|<link|<img|https?:|\{%|\{\{", text)


def test_texts_of_a_file_do_not_run_and_do_not_fill_the_page(installation: Installation) -> None:
    text = page(installation, "<i>odd</i>", HOSTILE)
    assert "script" not in text
    assert "<i>odd" not in text
    assert len(text) < 60_000


def test_the_page_of_a_data_set_leads_to_the_models_and_to_the_run_that_made_it(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "1f0c")
    text = page(installation, "v7", dataset="dataset")
    here = installation.endpoints
    assert f'<a href="{here.mlflow_tracking_uri}/#/models/tailorbird">' in text
    assert f'<a href="{here.prefect_page}/v2/runs/flow-run/1f0c">' in text
    assert "models/tailorbird" not in page(installation, "shop-events-1")


def test_only_the_newest_pages_are_kept(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_docs.prune, "__defaults__", (2,))
    for number in range(3):
        page(installation, f"b{number}")
    assert [about.batch_id for _, about in list_pages(pages_folder(installation.settings.var))] == ["b2", "b1"]


def test_a_page_that_cannot_be_written_is_a_warning_and_no_more(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    installation.settings.var.mkdir(parents=True, exist_ok=True)
    pages_folder(installation.settings.var).write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        findings = validate_batch(
            "b1", "events", PROMISES, pa.table({"item_id": ["a"], "event_type": ["view"]}), {"rows": 1}
        )
    assert all(finding["passed"] for finding in findings)
    assert "No Data Docs for b1, which is ingested all the same. FileExistsError" in caplog.text


def test_a_page_states_when_counts_refer_to_a_sample(installation: Installation) -> None:
    rows = pa.table({"item_id": ["a", "b"], "event_type": ["view", "odd"]})
    validate_batch("part", "events", PROMISES, rows, {"rows": 12_345, "quarantined_share": 0.1})
    text = (pages_folder(installation.settings.var) / folder_name("part") / PAGE).read_text()
    assert "Counts of broken rows refer to a sample: 2 of the 12,345 rows that were read." in text
    assert "<td>2 (sample)</td>" in text


def test_a_page_mentions_no_sample_when_all_rows_were_counted(installation: Installation) -> None:
    text = page(installation, "whole")
    assert "sample" not in text
    assert "<td>2</td>" in text
