import logging
import math
import re
from typing import Any

import pyarrow as pa
import pytest

from expectations.rules import missing, not_in_set, outside
from infra.installation import Installation
from infra.services.data_docs import PAGE, folder_name, list_pages, page_address, pages_folder
from models.columns import ROW
from models.ingest.check.advice import advice
from models.ingest.tabular.unreadable_cells import UnreadableCells
from tasks.quality import data_docs
from tasks.quality.suites import BatchExpectations, refusal, validate_batch

pytestmark = pytest.mark.usefixtures("pages")

PROMISES = BatchExpectations(
    (missing("item_id", "no item"), outside("quantity_not_positive", "none", "quantity", 0.0, None, strict_low=True)),
    {"rows": (1, None), "quarantined_share": (None, 0.2), "null_item_id": (None, 0.5)},
)
SAMPLE = pa.table({"item_id": ["a", None, *"bcdefghijk"], "quantity": [1.0] * 12})
PAGE_PROMISES = BatchExpectations(
    (missing("item_id", "no item"), not_in_set("event_type_unknown", "unknown", "event_type", ["view"])),
    {"rows": (1, None), "quarantined_share": (None, 0.2)},
)
HOSTILE = "<script>alert(1)</script>" + "x" * 10_000


def broken(findings: list[dict[str, Any]]) -> set[str]:
    return {finding["rule_id"] for finding in findings if not finding["passed"]}


def test_rows_and_figures_are_judged_together(installation: Installation) -> None:
    findings = validate_batch("b1", "events", PROMISES, SAMPLE, {"rows": 12, "quarantined_share": 0.25})
    assert [(f["suite"], f["rule_id"], f["broken"], f["of"]) for f in findings] == [
        ("events rows", "item_id_missing", 1, 12),
        ("events rows", "quantity_not_positive", 0, 12),
        ("events batch", "rows", 0, 1),
        ("events batch", "quarantined_share", 1, 1),
        ("events batch", "null_item_id", 0, 1),
    ]
    assert refusal(findings) == (
        "Its data break what the suite expects: quarantined_share (it is 0.25, at most 0.2 is allowed). "
        "To allow it, set `limits.events.quarantined_share` in the mapping."
    )
    assert page_address(installation.settings.var, installation.endpoints, "b1") is not None


@pytest.mark.usefixtures("installation")
@pytest.mark.parametrize("nothing", [None, math.nan])
def test_a_figure_without_a_value_breaks_no_expectation(nothing: float | None) -> None:
    figures = {"rows": 3, "quarantined_share": nothing, "days": nothing}
    assert refusal(validate_batch("b1", "events", PROMISES, SAMPLE, figures)) is None
    assert refusal(validate_batch("b1", "events", PROMISES, SAMPLE, {})) is None


@pytest.mark.usefixtures("installation")
def test_a_sample_without_rows_breaks_nothing_and_one_of_nulls_or_without_a_column_what_it_should() -> None:
    figures = {"rows": 3}
    assert broken(validate_batch("b1", "events", PROMISES, SAMPLE.slice(0, 0), figures)) == set()
    nulls = pa.table({"item_id": pa.nulls(3, pa.string()), "quantity": pa.nulls(3, pa.float64())})
    findings = validate_batch("b1", "events", PROMISES, nulls, figures)
    assert broken(findings) == {"item_id_missing"}
    assert refusal(findings) == (
        "Its data break what the suite expects: item_id_missing (3 of 3, at most 10% is allowed). "
        "To allow it, set `limits.events.item_id_missing` in the mapping."
    )

    findings = validate_batch("b1", "events", PROMISES, SAMPLE.drop_columns(["quantity"]), {"rows": 3})
    assert refusal(findings) == (
        "Its data break what the suite expects: quantity_not_positive (it could not be evaluated)."
    )


def test_broken_rows_are_named_by_their_numbers_and_no_value_is_kept(installation: Installation) -> None:
    kinds = [*(["view"] * 5), *(["ann@mail.example"] * 5)]
    rows = pa.table({"event_type": kinds, ROW: range(100, 110)})
    promises = BatchExpectations((not_in_set("event_type_unknown", "unknown", "event_type", ["view"]),), {})
    findings = validate_batch("b1", "events", promises, rows, {})
    assert findings[0]["rows"] == [106, 107, 108]
    assert refusal(findings) == (
        "Its data break what the suite expects: event_type_unknown (5 of 10, at most 10% is allowed; "
        "rows 106, 107, 108). To allow it, set `limits.events.event_type_unknown` in the mapping."
    )
    page = (pages_folder(installation.settings.var) / "b1" / PAGE).read_text()
    assert "106, 107, 108" in page
    assert "ann" not in str(findings) + page
    rows = pa.table({"quantity": ["ann@mail.example", "7"]})
    promises = BatchExpectations((outside("quantity_not_positive", "none", "quantity", 0.0, None),), {})
    findings = validate_batch("b2", "events", promises, rows, {})  # it cannot be evaluated
    page = (pages_folder(installation.settings.var) / "b2" / PAGE).read_text()
    assert "ann" not in str(findings) + page


@pytest.mark.usefixtures("installation")
def test_a_refusal_names_the_rules_that_most_rows_of_the_batch_broke() -> None:
    findings = validate_batch("b1", "events", PROMISES, SAMPLE, {"rows": 12, "quarantined_share": 0.5})
    reason = refusal(findings, {"rating": 1, "id_conflict": 2000, "unreadable": 5, "robot": 3, "user_id_too_long": 1})
    assert reason is not None
    rules = "id_conflict (2,000), unreadable (5), robot (3), rating (1), user_id_too_long (1)"
    assert f"Rows broke {rules}. {advice('id_conflict')}" in reason
    assert "tailorbird ledger undo" in reason


@pytest.mark.usefixtures("installation")
def test_a_refusal_for_rows_in_quarantine_names_their_cause_first_and_the_key_of_the_limit_last() -> None:
    findings = validate_batch("b1", "events", PROMISES, SAMPLE, {"rows": 12, "quarantined_share": 0.25})
    dates = UnreadableCells("occurred_at", "day", "time", 9, 36, {'`time_format = "%Y-%m-%d"`': 36})
    assert refusal(findings, {"id_conflict": 2, "occurred_at_unreadable": 9}, [dates]) == (
        "Rows broke occurred_at_unreadable (9), id_conflict (2). 9 of 36 values of 'day' (occurred_at) cannot be read "
        'as a time; `time_format = "%Y-%m-%d"` would read 36 of 36. Its data break what the suite expects: '
        "quarantined_share (it is 0.25, at most 0.2 is allowed). "
        "To allow it, set `limits.events.quarantined_share` in the mapping."
    )
    few = refusal(validate_batch("b1", "events", PROMISES, SAMPLE, {"rows": 0}), {"id_conflict": 1})
    assert few is not None
    assert few.startswith("Its data break what the suite expects: rows (it is 0")


def page(
    installation: Installation,
    batch_id: str,
    event_type: str = "view",
    quarantined: float = 0.1,
    dataset: str = "events",
) -> str:
    rows = pa.table({"item_id": ["a", "b"], "event_type": [event_type] * 2})
    validate_batch(batch_id, dataset, PAGE_PROMISES, rows, {"rows": 2, "quarantined_share": quarantined, "days": None})
    return (pages_folder(installation.settings.var) / folder_name(batch_id) / PAGE).read_text()


def test_a_page_states_the_newest_verdict_and_every_finding_and_figure(installation: Installation) -> None:
    text = page(installation, "shop-events-1", quarantined=0.3)
    assert "<h1>shop-events-1</h1>" in text
    assert "Refused: an expectation does not hold." in text
    for rule in ("item_id_missing", "event_type_unknown", "rows", "quarantined_share"):
        assert f"<code>{rule}</code>" in text
    assert "<small>no item</small>" in text
    assert "<td>0.3</td>\n  <td>at most 0.2</td>" in text
    assert "values must be greater than or equal to" in text
    assert not re.search(r"<script|<link|<img|https?:|\{%|\{\{", text), "it needs nothing from elsewhere"
    assert list_pages(pages_folder(installation.settings.var))[0][1].passed is False
    assert "Passed: every expectation holds." in page(installation, "shop-events-1")
    assert [about.passed for _, about in list_pages(pages_folder(installation.settings.var))] == [True]


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
            "b1", "events", PAGE_PROMISES, pa.table({"item_id": ["a"], "event_type": ["view"]}), {"rows": 1}
        )
    assert all(finding["passed"] for finding in findings)
    assert "No Data Docs for b1, which is ingested all the same. FileExistsError" in caplog.text


def test_a_page_states_when_counts_refer_to_a_sample(installation: Installation) -> None:
    rows = pa.table({"item_id": ["a", "b"], "event_type": ["view", "odd"]})
    validate_batch("part", "events", PAGE_PROMISES, rows, {"rows": 12_345, "quarantined_share": 0.1})
    text = (pages_folder(installation.settings.var) / folder_name("part") / PAGE).read_text()
    assert "Counts of broken rows refer to a sample: 2 of the 12,345 rows that were read." in text
    assert "<td>2 (sample)</td>" in text
    text = page(installation, "whole")
    assert "sample" not in text
    assert "<td>2</td>" in text
