"""Repeats exclusions that were stored under a pseudonym from before a rotation, so that they hide items again."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, text

from tasks.ingest.inbox.rows import InboxRow

_GIVEN: Final = (
    "unnest(CAST(:earlier AS text[]), CAST(:present AS text[]), CAST(:kinds AS text[]), CAST(:values AS text[])) "
    "AS given (earlier, present, kind, value)"
)
_DELETE: Final = f"""
    DELETE FROM exclusions USING {_GIVEN}
    WHERE exclusions.user_key = given.earlier AND exclusions.kind = given.kind AND exclusions.value = given.value"""
_INSERT: Final = f"""
    INSERT INTO exclusions (user_key, kind, value) SELECT present, kind, value FROM {_GIVEN}
    WHERE NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = given.present)
    ON CONFLICT DO NOTHING"""


def repeat_late_exclusions(connection: Connection, rows: Sequence[InboxRow]) -> None:
    """Move the exclusions of messages that came with an earlier pseudonym to the present one.

    A process that runs since before the rotation sends them, and so does a spool on disk.
    """
    given = [
        (row.earlier_subject, row.subject, entry["kind"], entry["value"])
        for row in rows
        if row.earlier_subject and row.subject and row.consent is not False
        for entry in row.payload.get("exclusions", ())
    ]
    if given:
        columns = dict(zip(("earlier", "present", "kinds", "values"), map(list, zip(*given, strict=True)), strict=True))
        for statement in (_DELETE, _INSERT):
            connection.execute(text(statement), columns)
