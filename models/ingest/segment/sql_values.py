"""SQL for single values of a line, whatever the line holds there: each becomes what we want or null."""

from collections.abc import Sequence
from typing import Final

from models.primitives.arrow_sql import texts

SPACE: Final = "' ' || chr(9) || chr(10) || chr(13)"
"""SQL for the characters that JSON takes for space."""
_LATEST: Final = "9999-12-31 23:59:59.999999"


def word(value: str) -> str:
    """SQL for an id or a name: null when it is blank, a list or an object. PostgreSQL takes no NUL, so it goes."""
    # Comparisons first, because they are many times faster than functions on every value of every line.
    container = f"({value} >= '[' AND {value} < '\\') OR ({value} >= '{{' AND {value} < '|')"
    blank = f"({value} < '!' AND trim({value}, {SPACE}) = '')"
    return f"""CASE WHEN (({container}) AND json_valid({value})) OR {blank} THEN NULL
        WHEN contains({value}, chr(0)) THEN replace({value}, chr(0), '\N{REPLACEMENT CHARACTER}')
        ELSE {value} END"""


def pointers(names: Sequence[str]) -> str:
    """JSON pointers to members of an object, whatever their names hold."""
    return texts("/" + name.replace("~", "~0").replace("/", "~1") for name in names)


def instant(value: str) -> str:
    """SQL for a time in UTC; null when it is none, or in no year that a date can be written with."""
    time = f"try_cast({value} AS TIMESTAMPTZ)"
    return f"CASE WHEN {time} BETWEEN '0001-01-01'::TIMESTAMPTZ AND '{_LATEST}'::TIMESTAMPTZ THEN {time} END"


def consent(answers: str, categories: Sequence[str]) -> str:
    """SQL: false when one of the categories was refused, true when none was, null when none was asked for."""
    asked = [f"{answers}[{place}]" for place in range(1, len(categories) + 1)]
    if not asked:
        return "NULL::BOOLEAN"
    agreed = " AND ".join(f"coalesce({answer} = 'true', true)" for answer in asked)
    return f"CASE WHEN coalesce({', '.join(asked)}) IS NOT NULL THEN {agreed} END"


def finite(number: str) -> str:
    """SQL for a number that sums can be made with."""
    return f"CASE WHEN isfinite({number}) THEN {number} END"
