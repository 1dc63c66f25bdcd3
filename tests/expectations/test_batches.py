import pyarrow as pa
import pytest

from expectations.batches import (
    EVENT_RULES,
    USUAL_BOUNDS,
    ContractViolationError,
    bounds,
    check_contract,
    figures,
    limited,
)
from models.ingest.batch_limits import Limits
from models.ingest.source_config import MappingError
from models.ingest.tabular.unreadable_cells import Kind
from tasks.quality.suites import BatchExpectations, Candidate, judge_batches


def test_without_limits_the_usual_ones_hold() -> None:
    assert bounds("events", Limits()) == USUAL_BOUNDS
    assert limited("events", EVENT_RULES, Limits()) == EVENT_RULES


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


def test_every_rule_and_every_column_has_a_figure() -> None:
    for name in ("robot", "id_conflict", "unreadable", "null_value", "time_in_future", "days"):
        assert name in figures("events")
    assert {"null_category", "price_negative"} <= set(figures("items"))
    assert "null_consent" in figures("users")


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
