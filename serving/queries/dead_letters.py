"""Reads and deletes messages of brokers that could not be stored."""

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine, text

from models.errors import TailorbirdError
from models.primitives.json_types import JsonObject
from serving.collector.bodies import UnusableBodyError, unpacked

_CHOSEN: Final = """
    FROM identity.dead_letters
    WHERE (:replayed OR replayed_at IS NULL) AND (CAST(:source AS text) IS NULL OR source = :source)
        AND (CAST(:reason AS text) IS NULL OR reason = :reason)
        AND (CAST(:ids AS bigint[]) IS NULL OR letter_id = ANY(:ids)) ORDER BY letter_id"""
_ROWS: Final = f"SELECT letter_id, source, reason, detail, times, first_at, last_at, replayed_at {_CHOSEN}"
_LETTERS: Final = f"SELECT letter_id, source, reason, message_id, encoding, body, first_at {_CHOSEN}"
_DELETE: Final = "DELETE FROM identity.dead_letters WHERE letter_id = ANY(:ids) RETURNING letter_id"
_BODIES: Final = "SELECT letter_id, encoding, body FROM identity.dead_letters ORDER BY letter_id"
_PART: Final = 100
"""Letters in memory at once."""
_ONE: Final = "SELECT * FROM identity.dead_letters WHERE letter_id = :letter_id"


@dataclass(frozen=True)
class Selection:
    """Which letters are wanted."""

    source: str | None = None
    reason: str | None = None
    ids: tuple[int, ...] = ()
    replayed: bool = False
    """Whether letters count, too, that were stored after all."""


def letter_rows(engine: Engine, selection: Selection) -> list[JsonObject]:
    """Return the chosen letters without what they hold, the oldest first."""
    with engine.connect() as connection:
        rows = connection.execute(text(_ROWS), _values(selection)).mappings()
        return [dict(row) for row in rows]


def letters_to_replay(engine: Engine, selection: Selection) -> list[JsonObject]:
    """Return the chosen letters with their bodies, the oldest first. Raises TailorbirdError."""
    with engine.connect() as connection:
        rows = connection.execute(text(_LETTERS), _values(selection)).mappings()
        found = [{**row, "body": bytes(row["body"])} for row in rows]
    missing = set(selection.ids) - {one["letter_id"] for one in found}
    if missing:
        raise TailorbirdError(f"No dead letter waits with the number {min(missing)}. `dead-letters list` shows all.")
    return found


def whole_letter(engine: Engine, letter_id: int) -> JsonObject:
    """Return a letter with what its sender wrote as text. Raises TailorbirdError."""
    with engine.connect() as connection:
        row = connection.execute(text(_ONE), {"letter_id": letter_id}).mappings().first()
    if row is None:
        raise TailorbirdError(f"There is no dead letter {letter_id}. `dead-letters list` shows all.")
    shown = {name: value for name, value in row.items() if name != "digest"}
    return {**shown, "body": bytes(row["body"]).decode(errors="replace")}


def dismiss(engine: Engine, ids: Sequence[int]) -> list[int]:
    """Delete letters; returns their numbers. Raises TailorbirdError, and then deletes none."""
    with engine.begin() as connection:
        gone = set(connection.execute(text(_DELETE), {"ids": list(ids)}).scalars())
        if missing := set(ids) - gone:
            raise TailorbirdError(f"There is no dead letter {min(missing)}. `dead-letters list` shows all.")
    return sorted(gone)


def letters_naming(engine: Engine, user_id: str) -> list[int]:
    """Return the numbers of all letters that hold a raw id of a user as a word, also of replayed ones."""
    written = "|".join(re.escape(one) for one in sorted({user_id, json.dumps(user_id)[1:-1]}))
    word = re.compile(rf"(?<!\w)(?:{written})(?!\w)")
    with engine.connect() as connection:
        rows = connection.execution_options(yield_per=_PART).execute(text(_BODIES))
        return [row.letter_id for row in rows if word.search(_readable(bytes(row.body), row.encoding))]


def _readable(body: bytes, encoding: str) -> str:
    with suppress(UnusableBodyError):  # it may be a letter because of that
        body = unpacked(body, encoding.lower().encode())
    return body.decode(errors="replace")


def _values(selection: Selection) -> dict[str, object]:
    return {**vars(selection), "ids": list(selection.ids) or None}
