"""Read times of PostgreSQL beyond Python's years as the last or the first moment, which rules for rows refuse."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, Final

from sqlalchemy import Engine, event

_OF_TYPE: Final[dict[str, tuple[int, date, date]]] = {
    "PYDATE": (1082, date.min, date.max),
    "PYDATETIME": (1114, datetime.min, datetime.max),
    "PYDATETIMETZ": (1184, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
}
"""PostgreSQL's number of a type, and the moments in place of earlier and later ones, by psycopg2's reader."""


def accept_far_times(engine: Engine) -> None:
    """Let one row with such a time, such as 12026-03-01, not cost all others. Other drivers than psycopg2 stay."""
    if engine.dialect.driver != "psycopg2":
        return
    from psycopg2 import Error, extensions

    def bounded(read: Callable[[str | None, Any], Any], first: date, last: date) -> Callable[[str | None, Any], Any]:
        def value_of(text: str | None, cursor: Any) -> Any:
            if text is None:
                return None
            if text.lstrip("-") == "infinity":
                return first if text.startswith("-") else last
            try:
                return read(text, cursor)
            except (ValueError, OverflowError, Error):
                return first if text.endswith("BC") else last

        return value_of

    types = [
        extensions.new_type((number,), f"bounded {name}", bounded(getattr(extensions, name), first, last))
        for name, (number, first, last) in _OF_TYPE.items()
    ]

    def register(connection: Any, _record: Any) -> None:
        for one in types:
            extensions.register_type(one, connection)

    event.listen(engine, "connect", register)
