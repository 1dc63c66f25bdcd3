import pytest

from models.ingest.tabular.unreadable_cells import UnreadableCells, merge_unreadable, shown


@pytest.mark.parametrize(
    "cell", ["31.02.2024", "2024-13-01 10:00", "1.234,50", "12,5", "5 €", "USD 3", "-", "1 234,50"]
)
def test_numbers_dates_and_signs_are_shown_as_they_are_written(cell: str) -> None:
    assert shown(cell) == cell


@pytest.mark.parametrize(
    ("cell", "shape"),
    [
        ("ann@shop.example", "aaa@aaaa.aaaaaaa"),
        ("Ann", "Aaa"),
        ("4711000", "9999999"),
        ("+49 170 1234567", "+99 999 9999999"),
        ("123 456 789", "999 999 999"),
        ("12.345.678", "99.999.999"),
        ("123-45-6789", "999-99-9999"),
        ("192.168.100.10", "999.999.999.99"),
        ("x" * 60, "a" * 40 + "…"),
    ],
)
def test_a_value_that_may_be_a_person_is_shown_by_its_shape_only(cell: str, shape: str) -> None:
    assert shown(cell) == shape


def test_a_known_user_id_is_never_shown() -> None:
    assert shown("3.5", frozenset({"3.5"})) == "9.9"


def test_the_cells_of_several_chunks_are_counted_together() -> None:
    one = {"key": "value", "column": "Paid", "kind": "number", "count": 2, "of": 4, "ways": {"`decimal`": 4}}
    result = merge_unreadable([{"value": one | {"places": [2, 9], "numbered": "line"}}] * 2)

    assert result == [UnreadableCells("value", "Paid", "number", 4, 8, {"`decimal`": 8}, (2, 9, 2), "line")]
    assert result[0].sentence == (
        "4 of 8 values of 'Paid' (value) cannot be read as a number (lines 2, 9, 2 and more); "
        "`decimal` would read 8 of 8."
    )


def test_settings_that_read_less_in_all_chunks_together_are_not_suggested() -> None:
    one = {"key": "at", "column": "Date", "kind": "time", "count": 60, "of": 100, "ways": {"`other`": 70}}
    chunks = [{"at": one | {"places": [2]}}, {"at": one | {"count": 10, "ways": {}, "places": [3]}}]

    assert merge_unreadable(chunks)[0].suggestion is None
