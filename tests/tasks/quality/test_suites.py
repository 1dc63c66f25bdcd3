import math
from typing import Any

import pyarrow as pa
import pytest

from expectations.rules import missing, not_in_set, outside
from infra.installation import Installation
from infra.services.data_docs import PAGE, page_address, pages_folder
from models.columns import ROW
from models.ingest.check.advice import advice
from models.ingest.tabular.unreadable_cells import UnreadableCells
from tasks.quality.suites import BatchExpectations, refusal, validate_batch

pytestmark = pytest.mark.usefixtures("pages")

PROMISES = BatchExpectations(
    (missing("item_id", "no item"), outside("quantity_not_positive", "none", "quantity", 0.0, None, strict_low=True)),
    {"rows": (1, None), "quarantined_share": (None, 0.2), "null_item_id": (None, 0.5)},
)
SAMPLE = pa.table({"item_id": ["a", None, *"bcdefghijk"], "quantity": [1.0] * 12})


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
def test_a_sample_without_rows_breaks_nothing_and_one_of_nulls_what_it_should() -> None:
    figures = {"rows": 3}
    assert broken(validate_batch("b1", "events", PROMISES, SAMPLE.slice(0, 0), figures)) == set()
    nulls = pa.table({"item_id": pa.nulls(3, pa.string()), "quantity": pa.nulls(3, pa.float64())})
    findings = validate_batch("b1", "events", PROMISES, nulls, figures)
    assert broken(findings) == {"item_id_missing"}
    assert refusal(findings) == (
        "Its data break what the suite expects: item_id_missing (3 of 3, at most 10% is allowed). "
        "To allow it, set `limits.events.item_id_missing` in the mapping."
    )


@pytest.mark.usefixtures("installation")
def test_a_column_that_is_not_there_refuses_the_batch_and_states_it() -> None:
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


def test_a_rule_that_cannot_be_evaluated_shows_no_value(installation: Installation) -> None:
    rows = pa.table({"quantity": ["ann@mail.example", "7"]})
    promises = BatchExpectations((outside("quantity_not_positive", "none", "quantity", 0.0, None),), {})
    findings = validate_batch("b1", "events", promises, rows, {})
    page = (pages_folder(installation.settings.var) / "b1" / PAGE).read_text()
    assert "ann" not in str(findings) + page


def test_a_refusal_names_the_rules_that_most_rows_of_the_batch_broke(installation: Installation) -> None:  # noqa: ARG001
    findings = validate_batch("b1", "events", PROMISES, SAMPLE, {"rows": 12, "quarantined_share": 0.5})
    reason = refusal(findings, {"rating": 1, "id_conflict": 2000, "unreadable": 5, "robot": 3, "user_id_too_long": 1})
    assert reason is not None
    rules = "id_conflict (2,000), unreadable (5), robot (3), rating (1), user_id_too_long (1)"
    assert f"Rows broke {rules}. {advice('id_conflict')}" in reason
    assert "tailorbird ledger undo" in reason


def test_a_refusal_for_rows_in_quarantine_names_their_cause_first_and_the_key_of_the_limit_last(
    installation: Installation,  # noqa: ARG001
) -> None:
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
