"""Records requests of people with a function of the database, for commands and for the API."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sqlalchemy import Connection

MOST_USERS: Final = 5_000
"""Users that one request may name."""
COPY_DAYS: Final = 7
"""The days that a stored copy of data is kept."""
_RECORD: Final = """
    SELECT identity.record_request(:kind, CAST(:keys AS text[]), CAST(:names AS text[]), :waits, :actor, :reason, :days,
        :suppress, :purpose)"""


@dataclass(frozen=True)
class Asked:
    """A request as somebody makes it."""

    kind: str
    users: Mapping[str, str | None]
    """Raw ids by key; None for devices."""
    actor: str
    reason: str
    suppress: bool = False
    purpose: str | None = None


def record_request(connection: "Connection", asked: Asked, due_days: int, *, waits: bool) -> int | None:
    """Record a request, and apply what counts at once; returns its number.

    It is None while an erasure of users to lift waits.
    """
    from sqlalchemy import text  # servers without a database have no SQLAlchemy

    values = {"keys": list(asked.users), "names": list(asked.users.values()), "waits": waits, "days": due_days}
    number: int | None = connection.execute(text(_RECORD), {**vars(asked), **values}).scalar()
    return number
