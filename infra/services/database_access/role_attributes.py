"""Removes attributes, memberships and settings from the roles of the own server, which need only a login."""

from collections.abc import Sequence
from typing import Final

from psycopg2 import sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class with a lower-case name

PLAIN: Final = sql.SQL("LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS")
_ATTRIBUTES: Final = """
SELECT rolname FROM pg_roles
WHERE rolname = ANY (%s) AND (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls)
"""
_MEMBERSHIPS: Final = """
SELECT giver.rolname, taker.rolname
FROM pg_auth_members AS given JOIN pg_roles AS giver ON giver.oid = roleid JOIN pg_roles AS taker ON taker.oid = member
WHERE taker.rolname = ANY (%s)
"""
# PostgreSQL lets every role change its own settings: a statement_timeout of 1 ms would make this login useless.
_SETTINGS: Final = """
SELECT rolname, datname
FROM pg_db_role_setting JOIN pg_roles AS r ON r.oid = setrole LEFT JOIN pg_database AS d ON d.oid = setdatabase
WHERE rolname = ANY (%s)
"""


def corrections(cursor: Cursor, names: Sequence[str]) -> list[sql.Composed]:
    """Return the statements that reduce these roles to a login."""

    def fetch(query: str) -> list[tuple[str | None, ...]]:
        cursor.execute(query, [list(names)])
        return sorted(cursor.fetchall(), key=str)

    plain = [sql.SQL("ALTER ROLE {} ").format(_identifier(name)) + PLAIN for (name,) in fetch(_ATTRIBUTES)]
    out = [
        sql.SQL("REVOKE {} FROM {} CASCADE").format(_identifier(giver), _identifier(taker))
        for giver, taker in fetch(_MEMBERSHIPS)
    ]
    return [*plain, *out, *(_reset(name, database) for name, database in fetch(_SETTINGS))]


def _reset(name: str | None, database: str | None) -> sql.Composed:
    inside = sql.SQL(" IN DATABASE {}").format(_identifier(database)) if database else sql.Composed([])
    return sql.SQL("ALTER ROLE {}{} RESET ALL").format(_identifier(name), inside)


def _identifier(name: str | None) -> sql.Identifier:
    return sql.Identifier(str(name))
