"""Suggestions state which settings of a mapping read how many cells, and quote no cell."""

import pyarrow as pa
import pytest

from models.ingest.tabular import column_reader
from models.ingest.tabular.column_reader import best, numbers, times
from models.ingest.tabular.numbers import NumberForm, parsed, unreadable


@pytest.mark.parametrize(
    ("cells", "time_format"),
    [
        (["24.12.2024 10:20", "31.12.2024 09:00"], "%d.%m.%Y %H:%M"),
        (["12/24/2024 7:05 PM", "1/2/2025 11:59 AM"], "%m/%d/%Y %I:%M %p"),
        (["24.12.24"], "%d.%m.%y"),
        (["1709632800", "1709632801"], "epoch_s"),
        (["881250949", "956703932"], "epoch_s"),
        (["1709632800123"], "epoch_ms"),
        (["2024-12-24", "2024-12-24T10:00:00Z"], "timestamp"),
        (["Dec 24, 2024"], "%b %d, %Y"),
        (["24-Dec-2024 10:20:30"], "%d-%b-%Y %H:%M:%S"),
    ],
)
def test_the_format_that_reads_all_times_is_suggested_alone(cells: list[str], time_format: str) -> None:
    result = best(times([*cells, None, ""]))

    assert [one.settings for one in result] == [(("time_format", time_format),)]
    assert (result[0].reads, result[0].of) == (len(cells), len(cells))


def test_times_that_fit_two_formats_yield_both() -> None:
    result = best(times(["05/03/2024", "06/04/2024"]))

    assert {one.settings[0][1] for one in result} == {"%d/%m/%Y", "%m/%d/%Y"}


def test_ids_and_words_suggest_no_time_format() -> None:
    assert times(["4711", "4712"]) == times(["yes", "no"]) == times([]) == []


@pytest.mark.parametrize(
    ("cells", "settings"),
    [
        (["1.5", "2"], {}),
        (["1,50", "2,00", "17"], {"decimal": ","}),
        (["1.234,50", "2,00"], {"decimal": ",", "thousands": "."}),
        (["1\u00a0234,50"], {"decimal": ",", "thousands": " "}),
        (["12,50 €", "€ 3,20", "7"], {"decimal": ",", "currency_signs": ["€"]}),
        (["-$1,234.50", "$3"], {"thousands": ",", "currency_signs": ["$"]}),
        (["EUR 12.50"], {"currency_signs": ["EUR"]}),
    ],
)
def test_the_form_of_numbers_with_the_fewest_settings_is_suggested(
    cells: list[str], settings: dict[str, object]
) -> None:
    result = best(numbers(cells))

    assert [dict(one.settings) for one in result] == [settings]
    assert result[0].reads == len(cells)


def test_a_comma_before_three_digits_may_mean_both() -> None:
    assert [dict(one.settings) for one in best(numbers(["1,234", "2,345"]))] == [{"thousands": ","}, {"decimal": ","}]


def test_no_setting_reads_words_as_numbers() -> None:
    assert numbers(["a@b.example", "twelve"]) == []


def test_cells_that_a_suggestion_reads_are_counted_in_full_not_in_a_sample() -> None:
    times_ = ["24.12.2024"] * 20_000 + ["2024-12-24", ""]
    prices = ["1,50"] * 20_000 + ["x", ""]

    assert column_reader.reads(pa.array(times_), best(times(times_))[0]) == 20_000
    assert column_reader.reads(pa.array(prices), best(numbers(prices))[0]) == 20_000


def test_a_number_is_read_by_its_form_or_not_at_all() -> None:
    german = NumberForm(",", ".", ("€",))

    assert parsed(pa.array(["1.234,5", "1,5", "12.34", "1.5", "5 €", "x", "NA", "", None]), german).to_pylist() == [
        *(1234.5, 1.5, None, None, 5.0, None, None, None, None)
    ]
    assert parsed(pa.array(["1.5", "1,5", "1_0", "+2", "inf"])).to_pylist() == [1.5, None, None, 2.0, float("inf")]


def test_a_bad_number_changes_nothing_in_how_its_neighbours_are_read() -> None:
    fine = ["1", "1.", ".5", "-.5", "1e3", "1.e5", "INF", "-Infinity", "nan", " 7 ", "+5", "1E+5"]

    expected = parsed(pa.array(fine)).to_pylist()

    assert parsed(pa.array([*fine, "bad"])).to_pylist()[:-1] == pytest.approx(expected, nan_ok=True)


def test_only_what_holds_something_is_unreadable() -> None:
    cells = pa.array(["x", "1", "", " ", "n/a", None, "1,5"])

    assert unreadable(cells, parsed(cells)).to_pylist() == [True, False, False, False, False, False, True]
