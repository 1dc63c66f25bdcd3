"""SQL for per-key last-write-wins merges, independent of the order of files.

The time of each key is stored beside the values, as a text that sorts by time. A value without a time is older than one
with a time. Of two values with the same time the greater one wins.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

WITHIN: Final = "attributes."
"""The prefix of the keys of an item's attributes, which are stored beside those of its columns."""
_BYTES: Final = 'COLLATE "C"'
# The order of the bytes, as in Python and DuckDB.


def written(moment: datetime, now: datetime) -> str:
    """Return the text of a time beside a key. A time after `now` counts as `now`: it must not win forever."""
    known = min(moment, now).astimezone(UTC)
    return f"{known.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def moments(times: Mapping[str, datetime | None], now: datetime) -> dict[str, str]:
    """Return the times of keys as they are stored, none of them after `now`; a key without a time is left out."""
    texts = {moment: written(moment, now) for moment in set(times.values()) if moment is not None}
    return {key: texts[moment] for key, moment in times.items() if moment is not None}


def at(times: str, key: str) -> str:
    """Return SQL for the time of a key, which is SQL itself."""
    return f"coalesce({times} ->> ({key}), '') {_BYTES}"


def text_column(table: str, name: str) -> str:
    """Return SQL for the value of a text column in an upsert."""
    return _column(table, name, f"'' {_BYTES}")


def number_column(table: str, name: str) -> str:
    """Return SQL for the value of a number column in an upsert."""
    return _column(table, name, "'-Infinity'")


def flag_column(table: str, name: str) -> str:
    """Return SQL for the value of a boolean column in an upsert; rows that do not state it leave it unchanged."""
    new, old = (f"({at(f'{row}.field_timestamps', repr(name))}, {row}.{name})" for row in ("excluded", table))
    return (
        f"CASE WHEN excluded.field_timestamps ? '{name}' AND {new} > {old} THEN excluded.{name} ELSE {table}.{name} END"
    )


def moment_column(table: str, name: str) -> str:
    """Return SQL for the value of a time column in an upsert."""
    return _column(table, name, "'-infinity'::timestamptz")


def _column(table: str, name: str, least: str) -> str:
    new, old = (
        f"({at(f'{row}.field_timestamps', repr(name))}, coalesce({row}.{name}, {least}))" for row in ("excluded", table)
    )
    return f"CASE WHEN {new} > {old} THEN excluded.{name} ELSE {table}.{name} END"


def values(old: str, old_times: str, new: str, new_times: str, within: str = "", only: str = "true") -> str:
    """Return SQL for the merge of two documents; `only` is SQL for which keys may count, by their time `at`."""
    key = f"'{within}' || key"
    return f"""{old} || coalesce((
        SELECT jsonb_object_agg(key, value) FROM (SELECT *, {at(new_times, key)} AS at FROM jsonb_each({new})) AS dated
        WHERE (at, coalesce(value #>> '{{}}', '') {_BYTES})
            > ({at(old_times, key)}, coalesce({old} ->> key, '') {_BYTES}) AND {only}), '{{}}')"""


def times(old: str, new: str, only: str = "true") -> str:
    """Return SQL for the merge of the times of keys."""
    return f"""{old} || coalesce((
        SELECT jsonb_object_agg(key, at) FROM (SELECT key, value {_BYTES} AS at FROM jsonb_each_text({new})) AS dated
        WHERE at > {at(old, "key")} AND {only}), '{{}}')"""
