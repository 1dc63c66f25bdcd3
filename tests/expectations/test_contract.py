import pytest

from expectations.contract import ContractViolationError, Kind, check

REQUIRED: dict[str, Kind] = {"when": "time", "amount": "number", "who": "any"}


def test_a_source_with_the_promised_columns_and_others_passes() -> None:
    check("file", {"when": "time", "amount": "number", "who": "number", "more": "any"}, 3, REQUIRED)


def test_all_faults_are_reported_together_with_the_expected_and_actual_kinds() -> None:
    with pytest.raises(ContractViolationError) as refused:
        check("sales.csv", {"when": "any", "amout": "number", "who": "any"}, 0, REQUIRED)
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
        check("sales.csv", {"ann@mail.example": "untyped", "2024-06-01": "untyped"}, 3, REQUIRED)
    message = str(refused.value)
    assert "It has 2 columns; none of them is in the mapping. Does its first line name the columns? Fix" in message
    assert "ann" not in message


def test_columns_of_text_are_read_value_by_value() -> None:
    result: dict[str, Kind] = {"when": "untyped", "amount": "untyped", "who": "untyped"}
    check("sales.csv", result, 3, REQUIRED)
    check("sales.parquet", result | {"when": "text", "amount": "text"}, 3, REQUIRED)
    with pytest.raises(ContractViolationError, match="'amount' must hold a number, found time"):
        check("sales.parquet", result | {"amount": "time"}, 3, REQUIRED)


def test_an_optional_column_may_be_missing_but_must_not_hold_something_else() -> None:
    check("file", {"when": "time", "who": "any"}, 3, REQUIRED, ["amount"])
    with pytest.raises(ContractViolationError, match="'who' must hold single values, found lists or structures"):
        check("file", {"when": "time", "who": "nested"}, 3, REQUIRED, ["amount", "who"])
