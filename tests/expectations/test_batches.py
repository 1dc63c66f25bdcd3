from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from expectations.batches import (
    EVENT_RULES,
    ITEM_RULES,
    USER_RULES,
    USUAL_BOUNDS,
    ContractViolationError,
    bounds,
    check_contract,
    event_rules,
    limited,
)
from expectations.rules import RowRule, flags
from models import columns
from models.ingest import placeholder_ids
from models.ingest.batch_limits import Bounds, Limits
from models.ingest.source_config import MappingError
from models.ingest.tabular.unreadable_cells import KEYS, Kind
from tasks.quality.findings import Finding
from tasks.quality.suites import BatchExpectations, Candidate, judge_batches, refusal

ROWS = 400
_VALUES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "event_id": (pa.string(), ["e1", "e2", "é" * 256, "é" * 257, None]),
    "user_key": (pa.string(), ["u1", "k-of-null", None]),
    "item_id": (pa.string(), ["i1", "*", "0", "null", "UNDEFINED", "i" * 257, None]),
    "session_id": (pa.string(), ["s1", "s" * 257, None]),
    "currency": (pa.string(), ["EUR", "USD", "eur", "EURO", None]),
    "rating": (pa.float64(), [-1000.5, -1.0, 5.0, float("inf"), None]),
    "position": (pa.int32(), [-1, 0, 7, None]),
    "robot": (pa.bool_(), [True, False]),
    "internal": (pa.bool_(), [True, False]),
    "user_id_too_long": (pa.bool_(), [True, False]),
    "event_type": (pa.string(), ["purchase", "view", "applause", "", None]),
    "occurred_at": (pa.timestamp("us", tz="UTC"), [0, 1_500_000_000_000_000, None]),
    "quantity": (pa.float64(), [-1.0, 0.0, 1.0, 1000.0, 1000.5, float("inf"), None]),
    "value": (pa.float64(), [-0.01, 0.0, 0.01, 1e9, 1.1e9, float("inf"), None]),
    "occurred_s": (pa.float64(), [-1.0, 631_151_999.5, 631_152_000.0, 1.7e9, None]),
    "ahead_s": (pa.float64(), [-5.0, 86_400.0, 86_400.5, None]),
    "in_catalogue": (pa.bool_(), [True, False]),
    "title": (pa.string(), ["Ice", None]),
    "category": (pa.string(), ["GROCERY|ICE", None]),
    "price": (pa.float64(), [-1.0, 0.0, 2.5, None]),
    "unreadable_keys": (
        pa.string(),
        [
            *("|occurred_at|received_at|quantity|", "|value|rating|position|", "|price|updated_at|", "|available|"),
            *("|available_from|available_until|", "|url|image|", "|consent_at|", None, None, None),
        ],
    ),
}
SUITES = {
    "events": event_rules(["k-of-null"], placeholder_ids.ITEMS),
    "items": ITEM_RULES,
    "users": USER_RULES,
}
EVERY_RULE = [pytest.param(name, rule, id=f"{name}-{rule.id}") for name, rules in SUITES.items() for rule in rules]


def test_a_side_that_is_left_open_stays_as_it_is_usual() -> None:
    values = Limits(events={"rows": ["", 500], "late_share": 0.1, "hours_old": ["", 48], "days": [1, ""]})
    assert bounds("events", values) == {
        "rows": (1.0, 500.0),
        "quarantined_share": (None, 0.2),
        "late_share": (None, 0.1),
        "hours_old": (None, 48.0),
        "days": (1.0, None),
    }
    assert bounds("items", values) == USUAL_BOUNDS


def test_a_limit_of_a_rule_holds_for_the_sample_and_for_the_batch() -> None:
    values = Limits(events={"item_not_in_catalogue": 0.5})
    rules = [rule for rule in limited("events", EVENT_RULES, values) if rule.id == "item_not_in_catalogue"]
    assert [rule.mostly for rule in rules] == [0.5]
    sample = pa.table({"in_catalogue": [True, True, False, False]})
    figures = {"rows": 4, "quarantined_share": 0.1, "item_not_in_catalogue": 0.6}
    expected = BatchExpectations(tuple(rules), bounds("events", values))
    ((of_sample, *of_batch),), _ = judge_batches("events", expected, [Candidate("b", sample, figures)])
    assert of_sample["passed"]
    assert {finding["rule_id"] for finding in of_batch if not finding["passed"]} == {"item_not_in_catalogue"}


def test_a_limit_may_allow_everything_or_nothing() -> None:
    for share, mostly in ((0, 1.0), (1, 0.0), (7, 0.0)):
        rules = limited("events", EVENT_RULES, Limits(events={"robot": share}))
        assert [rule.mostly for rule in rules if rule.id == "robot"] == [mostly]


@pytest.mark.parametrize(("dataset", "name"), [("events", "rowz"), ("events", "null_title"), ("users", "days")])
def test_an_unknown_figure_is_reported_with_the_known_ones(dataset: str, name: str) -> None:
    values = Limits.model_validate({dataset: {name: 1}})
    for validate_batch in (lambda: bounds(dataset, values), lambda: limited(dataset, EVENT_RULES, values)):
        with pytest.raises(MappingError, match=rf"limits.{dataset} names '{name}', .* are rows, quarantined_share"):
            validate_batch()


REQUIRED: dict[str, Kind] = {"when": "time", "amount": "number", "who": "any"}


def test_a_source_with_the_promised_columns_and_others_passes() -> None:
    check_contract("file", {"when": "time", "amount": "number", "who": "number", "more": "any"}, 3, REQUIRED)


def test_all_faults_are_reported_together_with_the_expected_and_actual_kinds() -> None:
    with pytest.raises(ContractViolationError) as refused:
        check_contract("sales.csv", {"when": "any", "amout": "number", "who": "any"}, 0, REQUIRED)
    message = str(refused.value)
    assert "sales.csv breaks its contract" in message
    assert "it has no rows" in message
    assert "column 'when' must hold a time, found any" in message
    assert "column 'amount' is missing" in message
    assert "It has 3 columns; these are in the mapping: when, who." in message
    assert "amout" not in message
    assert "nothing was stored" in message


def test_the_columns_of_a_file_without_names_are_values_and_are_not_repeated() -> None:
    with pytest.raises(ContractViolationError) as refused:
        check_contract("sales.csv", {"ann@mail.example": "untyped", "2024-06-01": "untyped"}, 3, REQUIRED)
    message = str(refused.value)
    assert "It has 2 columns; none of them is in the mapping. Does its first line name the columns? Fix" in message
    assert "ann" not in message


def test_columns_of_text_are_read_value_by_value() -> None:
    result: dict[str, Kind] = {"when": "untyped", "amount": "untyped", "who": "untyped"}
    check_contract("sales.csv", result, 3, REQUIRED)
    check_contract("sales.parquet", result | {"when": "text", "amount": "text"}, 3, REQUIRED)
    with pytest.raises(ContractViolationError, match="'amount' must hold a number, found time"):
        check_contract("sales.parquet", result | {"amount": "time"}, 3, REQUIRED)


def test_an_optional_column_may_be_missing_but_must_not_hold_something_else() -> None:
    check_contract("file", {"when": "time", "who": "any"}, 3, REQUIRED, ["amount"])
    with pytest.raises(ContractViolationError, match="'who' must hold single values, found lists or structures"):
        check_contract("file", {"when": "time", "who": "nested"}, 3, REQUIRED, ["amount", "who"])


def frame() -> pa.Table:
    """Rows in which every rule is kept, broken, and met by a null."""
    random = np.random.default_rng(3)
    picks = {name: random.integers(len(values), size=ROWS) for name, (_, values) in _VALUES.items()}
    return pa.table({n: pa.array([values[i] for i in picks[n]], kind) for n, (kind, values) in _VALUES.items()})


def judged(
    rules: Iterable[RowRule],
    rows: pa.Table,
    bounds: Mapping[str, Bounds] = MappingProxyType({}),
    figures: Mapping[str, float | None] = MappingProxyType({}),
) -> list[Finding]:
    expected = BatchExpectations(tuple(rules), bounds)
    ((findings,), _) = judge_batches("events", expected, [Candidate("b", rows, figures)])
    return findings


@pytest.fixture(scope="module")
def findings() -> dict[str, dict[str, Finding]]:
    rows = frame()
    return {name: {f["rule_id"]: f for f in judged(rules, rows)} for name, rules in SUITES.items()}


@pytest.mark.parametrize(("suite", "rule"), EVERY_RULE)
def test_the_rows_that_a_rule_flags_are_counted_and_their_share_decides(
    suite: str, rule: RowRule, findings: dict[str, dict[str, Finding]]
) -> None:
    flagged = pc.sum(flags(frame(), [rule])[rule.id]).as_py()
    assert 0 < flagged < ROWS
    finding = findings[suite][rule.id]
    assert (finding["broken"], finding["of"]) == (flagged, ROWS)
    assert finding["passed"] == (finding["share"] <= 1 - rule.mostly)


@pytest.mark.parametrize(
    ("values", "share"),
    [([-1.0] + [1.0] * 9, 0.1), ([-1.0] + [1.0] * 8 + [None] * 31, 1 / 9), ([None] * 3, None)],
)
def test_a_share_leaves_out_nulls_and_may_be_as_large_as_its_limit(
    values: list[float | None], share: float | None
) -> None:
    rows = pa.table({"quantity": pa.array(values, pa.float64())})
    (finding,) = judged([rule for rule in EVENT_RULES if rule.id == "quantity_not_positive"], rows)
    assert finding["share"] == (None if share is None else pytest.approx(share))
    assert finding["passed"] == (share in (None, 0.1))


def test_an_unreadable_cell_is_no_missing_one() -> None:
    keys = ["|occurred_at|"] * 11 + [None] * 10
    rows = pa.table({"occurred_at": pa.array([None] * 12 + [0] * 9, pa.timestamp("us", tz="UTC")), KEYS: keys})
    (finding,) = judged([rule for rule in EVENT_RULES if rule.id == "occurred_at_missing"], rows)
    assert (finding["broken"], finding["share"], finding["passed"]) == (1, pytest.approx(0.1), True)


@pytest.mark.parametrize("suite", SUITES)
def test_a_rule_has_one_id_and_states_what_it_means(suite: str) -> None:
    rules = SUITES[suite]
    assert len({rule.id for rule in rules}) == len(rules)
    assert all(rule.meaning and rule.id.isidentifier() for rule in rules)


@pytest.mark.parametrize(("number", "broken"), [(0.0, True), (1000.0, False), (1000.5, True), (None, False)])
def test_the_limit_of_a_quantity_is_exact(number: float | None, broken: bool) -> None:
    rules = [rule for rule in EVENT_RULES if rule.id.startswith("quantity")]
    result = flags(pa.table({"quantity": pa.array([number], pa.float64()), KEYS: pa.nulls(1, pa.string())}), rules)
    assert any(column[0].as_py() for column in result.columns) == broken


def test_robots_and_people_of_the_house_never_refuse_a_batch() -> None:
    rules = [rule for rule in EVENT_RULES if rule.id in {"robot", "internal_traffic"}]
    assert refusal(judged(rules, pa.table({"robot": [True] * 3, "internal": [True] * 3}))) is None


def test_a_source_without_placeholders_breaks_no_rule_about_them() -> None:
    rules = [rule for rule in event_rules() if rule.id.endswith("_placeholder")]
    rows = pa.table({"user_key": ["null", "k"], "item_id": ["null", None]})
    assert [row for row in flags(rows, rules).to_pylist() if any(row.values())] == []
    assert refusal(judged(rules, rows)) is None


@pytest.mark.parametrize(("item", "broken"), [("null", True), ("NULL", True), ("[object Object]", True), ("0", False)])
def test_an_item_may_be_called_zero_but_not_null(item: str, broken: bool) -> None:
    rules = [rule for rule in EVENT_RULES if rule.id == "item_id_placeholder"]
    assert flags(pa.table({"item_id": [item]}), rules)["item_id_placeholder"].to_pylist() == [broken]


def test_a_refund_of_a_whole_order_keeps_every_rule_about_items() -> None:
    rules = [rule for rule in EVENT_RULES if rule.id.startswith("item_id")]
    result = flags(pa.table({"item_id": [columns.WHOLE_ORDER]}), rules)
    assert not any(column[0].as_py() for column in result.columns)


def test_a_limit_of_a_mapping_holds_for_the_row_rule_and_for_its_expectation() -> None:
    limits = Limits(highest_quantity=999, highest_value=0.001)
    rows = frame()
    chosen = [rule for rule in event_rules(limits=limits) if rule.id in ("quantity_above_limit", "value_above_limit")]
    result = {finding["rule_id"]: finding["broken"] for finding in judged(chosen, rows)}
    usual = [rule for rule in EVENT_RULES if rule.id in result]
    assert result == {name: pc.sum(broken).as_py() for name, broken in zip(result, flags(rows, chosen), strict=True)}
    assert all(result[rule.id] > pc.sum(flags(rows, [rule])[rule.id]).as_py() for rule in usual)
    assert [rule.meaning for rule in chosen] == ["more than 999 pieces in one row", "a value of more than 0"]
