"""Counts the users who may have lists, and those without one."""

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, text

_USERS: Final = text("""
    SELECT count(*) FROM users WHERE consent
    AND NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = users.user_key)
""")


def users_with_consent(connection: Connection) -> int:
    """Return the number of users who may have lists."""
    return int(connection.execute(_USERS).scalar_one())


def lacking_words(row: Mapping[str, Any]) -> str:
    """Return how many users have no list; empty for lists about items, and if every user has one.

    It is a minimum: lists of users who withdrew their consent later still count.
    """
    users, lists = row.get("users") or 0, row.get("lists") or 0
    return f"at least {users - lists:,} of {users:,} users have none" if users > lists else ""
