"""Build SQL for single values of a line: each becomes the wanted type or null."""

from collections.abc import Sequence
from typing import Final

from models.primitives.arrow_sql import texts

SPACE: Final = "' ' || chr(9) || chr(10) || chr(13)"
"""SQL for the white space of JSON."""
_LATEST: Final = "9999-12-31 23:59:59.999999"


def word(value: str) -> str:
    """Return SQL for an id or a name: null for blanks, lists and objects; NUL is replaced for PostgreSQL."""
    # Comparisons come first, because they are many times faster than functions on every value of every line.
    container = f"({value} >= '[' AND {value} < '\\') OR ({value} >= '{{' AND {value} < '|')"
    blank = f"({value} < '!' AND trim({value}, {SPACE}) = '')"
    return f"""CASE WHEN (({container}) AND json_valid({value})) OR {blank} THEN NULL
        WHEN contains({value}, chr(0)) THEN replace({value}, chr(0), '\N{REPLACEMENT CHARACTER}')
        ELSE {value} END"""


def pointers(names: Sequence[str]) -> str:
    """Return JSON pointers to members of an object, with escaped names."""
    return texts("/" + name.replace("~", "~0").replace("/", "~1") for name in names)


def instant(value: str) -> str:
    """Return SQL for a time in UTC; null for an invalid time, or a year outside 1 to 9999."""
    time = f"try_cast({value} AS TIMESTAMPTZ)"
    return f"CASE WHEN {time} BETWEEN '0001-01-01'::TIMESTAMPTZ AND '{_LATEST}'::TIMESTAMPTZ THEN {time} END"


def consent(answers: str, categories: Sequence[str]) -> str:
    """Return SQL: false if one of the categories was refused, true if none was, null without an answer."""
    given = [f"{answers}[{place}]" for place in range(1, len(categories) + 1)]
    if not given:
        return "NULL::BOOLEAN"
    agreed = " AND ".join(f"coalesce({answer} = 'true', true)" for answer in given)
    return f"CASE WHEN coalesce({', '.join(given)}) IS NOT NULL THEN {agreed} END"


def finite(number: str) -> str:
    """Return SQL for a finite number, else null."""
    return f"CASE WHEN isfinite({number}) THEN {number} END"
