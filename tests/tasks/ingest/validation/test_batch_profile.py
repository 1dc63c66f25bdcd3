from datetime import UTC, datetime

import pyarrow as pa
import pytest

from tasks.ingest.validation import batch_profile, row_triage

NOW = datetime(2024, 6, 11, tzinfo=UTC)


def test_a_span_of_time_may_be_empty() -> None:
    rows = pa.table({"occurred_at": pa.array([None, 0, 1_000_000], pa.timestamp("us", tz="UTC"))})
    span = {"min": "1970-01-01T00:00:00+00:00", "max": "1970-01-01T00:00:01+00:00"}
    assert batch_profile.time_span(rows) == span
    assert batch_profile.time_span(rows.slice(0, 1)) == {"min": None, "max": None}


def test_unwanted_traffic_is_counted_by_rule_but_is_no_fault_of_the_data() -> None:
    rules = [["robot"], ["robot", "value_not_positive"], ["value_not_positive"], ["internal_traffic"]]
    result = batch_profile.of_quarantined(pa.table({row_triage.RULES: pa.array(rules)}))
    assert result == {"rules": {"robot": 2, "value_not_positive": 2, "internal_traffic": 1}, "faulty": 2}


def test_unreadable_lines_of_a_batch_are_counted_by_what_is_wrong_with_them() -> None:
    lines = pa.table({row_triage.RULES: pa.array([["unreadable"]] * 3), "reason": ["not_json", "not_utf8", "not_json"]})
    rows = pa.table({row_triage.RULES: pa.array([["robot"]])})
    profiles = [batch_profile.of_quarantined(rows, lines), batch_profile.of_quarantined(lines.slice(0, 1))]
    assert batch_profile.rows_by_rule(profiles) == {"robot": 1, "unreadable: not_json": 3, "unreadable: not_utf8": 1}


def test_figures_are_shares_of_what_they_are_about() -> None:
    first = {"read": 60, "suppressed": 10, "routed": 10, "duplicate": 6, "late": 3, "faulty": 4, "events": 50}
    first |= {"rules": {"value_not_positive": 4}, "nulls": {"value": 5}, "min": "2024-06-01T00:00:00+00:00"}
    first |= {"max": "2024-06-05T00:00:00+00:00"}
    second = {"read": 40, "events": 40, "faulty": 1, "rules": {"robot": 8}, "min": None, "max": None}
    second |= {"min": "2024-06-03T00:00:00+00:00", "max": "2024-06-10T12:00:00+00:00"}
    result = batch_profile.figures([first, second], NOW)
    expected = {
        "rows": 100,
        "quarantined_share": 0.05,
        "duplicate_share": 0.06,
        "suppressed_share": 0.1,
        "late_share": 0.03,
        "value_not_positive": 4 / 80,
        "robot": 8 / 80,
        "null_value": 5 / 90,
        "days": 9.5,
        "hours_old": 12.0,
    }
    assert result == pytest.approx(expected)


def test_a_batch_without_rows_has_no_figures() -> None:
    result = batch_profile.figures([], NOW)
    assert (result["rows"], result["quarantined_share"], result["days"], result["hours_old"]) == (0, 0.0, None, None)
