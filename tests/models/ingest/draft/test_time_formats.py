"""The time formats that a first mapping states."""

import pyarrow as pa

from models.ingest.draft.parts import Part
from models.ingest.draft.roles import times_of
from models.ingest.draft.samples import Sample


def drafted(*cells: str) -> tuple[str | list[str] | None, str]:
    part = Part("events", Sample(("a.csv",), pa.table({"at": list(cells)}), ";"))
    return part.time_format("at"), "".join(line.note for line in part.lines)


def test_a_column_of_two_formats_states_both_the_usual_one_first() -> None:
    usual, other = [f"{day}.06.2025 10:07" for day in range(10, 30)], ["2025-06-13 10:07:21", "2025-06-14 11:00:00"]

    assert drafted(*usual, *other) == (["%d.%m.%Y %H:%M", "%Y-%m-%d %H:%M:%S"], "tried in order")
    assert drafted(*usual) == ("%d.%m.%Y %H:%M", "")
    assert drafted(*other) == (None, "")


def test_a_stray_word_among_times_adds_no_format() -> None:
    assert drafted(*(f"2025-06-{day}" for day in range(10, 30)), "soon") == (None, "")


def test_days_without_zeros_and_with_blanks_between_are_times() -> None:
    czech = [f"{day}. 6. 2025 07:47" for day in range(1, 28)]

    assert drafted(*czech) == ("%d. %m. %Y %H:%M", "")
    assert drafted(*(one.replace(". ", ".") for one in czech)) == ("%d.%m.%Y %H:%M", "")
    assert times_of(Sample(("a.csv",), pa.table({"kdy": [*czech, *["2025-06-13 10:07:21"] * 9]})))
