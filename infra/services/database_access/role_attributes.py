"""What the roles of our own server have beyond their rights: attributes, memberships and settings, all unwanted."""

from collections.abc import Sequence
from typing import Any, Final

from psycopg2 import sql

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
# PostgreSQL lets every role change its own: with a statement_timeout of 1 ms nobody reads with this login any more.
_SETTINGS: Final = """
SELECT rolname, datname
FROM pg_db_role_setting JOIN pg_roles AS r ON r.oid = setrole LEFT JOIN pg_database AS d ON d.oid = setdatabase
WHERE rolname = ANY (%s)
"""


def corrections(cursor: Any, names: Sequence[str]) -> list[sql.Composed]:
    """Return the statements that leave these roles with nothing but a login."""

    def found(query: str) -> list[tuple[str | None, ...]]:
        cursor.execute(query, [list(names)])
        return sorted(cursor.fetchall(), key=str)

    plain = [sql.SQL("ALTER ROLE {} ").format(_named(name)) + PLAIN for (name,) in found(_ATTRIBUTES)]
    out = [
        sql.SQL("REVOKE {} FROM {} CASCADE").format(_named(giver), _named(taker))
        for giver, taker in found(_MEMBERSHIPS)
    ]
    return [*plain, *out, *(_reset(name, database) for name, database in found(_SETTINGS))]


def _reset(name: str | None, database: str | None) -> sql.Composed:
    inside = sql.SQL(" IN DATABASE {}").format(_named(database)) if database else sql.Composed([])
    return sql.SQL("ALTER ROLE {}{} RESET ALL").format(_named(name), inside)


def _named(name: str | None) -> sql.Identifier:
    return sql.Identifier(str(name))
