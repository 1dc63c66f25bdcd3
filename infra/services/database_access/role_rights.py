"""Creates databases and their roles, and grants the roles the rights in `grants`. Repeating it changes nothing."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import psycopg2
from psycopg2 import errors, sql
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT, connection, cursor, encrypt_password
from psycopg2.extensions import cursor as Cursor  # noqa: N812 -- a class with a lower-case name
from sqlalchemy import URL

from infra.configuration.settings import Settings
from infra.services.database_access import grants, logins
from infra.services.database_access.grants import OPERATOR, Role
from infra.services.state_file import Reporter
from models.errors import TailorbirdError

_LOCK: Final = 0x7A12
_ATTEMPTS: Final = 2
_PUBLIC: Final = "PUBLIC"
# By default every role may fill the disk with large objects.
_LARGE_OBJECTS: Final = ("lo_creat(integer)", "lo_create(oid)", "lo_from_bytea(oid,bytea)")

_PLAIN: Final = sql.SQL("LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS")
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


class Right(NamedTuple):
    """One privilege on one object for one role, as in PostgreSQL's catalogs."""

    kind: str
    object_name: str
    column: str
    role: str
    privilege: str


def ensure(settings: Settings, admin: URL, own: URL, report: Reporter) -> bool:
    """Create the roles, grant and revoke rights, and store which roles can log in; return whether anything changed.

    `admin` is the superuser of the own server, else the given role. If that role lacks a right, the SQL for an
    administrator is printed, and everything continues with the given role.
    """
    ours = settings.database_url is None
    with session(admin.set(database=own.database)) as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_LOCK])  # ends with the session
        work = _Work(settings, cursor, own, ours)
        made = work.make_roles()
        given = work.give_rights(work.let_in() if not ours else grants.ROLES)
        changed, usable = made or given, work.let_in()
        if changed:
            report("Giving the database's roles their rights")
        if work.refused:
            _print(report, own, work.refused)
    if usable != logins.usable(settings):
        logins.note_usable(settings, usable)
    return changed


def _print(report: Reporter, own: URL, statements: Sequence[str]) -> None:
    report(
        f"The role {own.username} may not do all that separate database roles need, so everything goes on with its own "
        "login. Have an administrator run this in the database (it holds no password, only SCRAM verifiers), then "
        "run `tailorbird up` again:"
    )
    for statement in statements:
        report(f"    {statement};")


class _Work:
    """One session that compares existing roles and rights with the required ones."""

    def __init__(self, settings: Settings, cursor: Cursor, own: URL, ours: bool) -> None:
        self._settings, self._cursor, self._own, self._ours = settings, cursor, own, ours
        self._names = {role: logins.name_of(role, own.database or "") for role in grants.ROLES}
        self._made: set[Role] = set()
        self._let_in: list[Role] | None = None
        self.refused: list[str] = []

    def make_roles(self) -> bool:
        """Create missing roles. On the own server a role that cannot log in gets its password again."""
        self._cursor.execute("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", [list(self._names.values())])
        known = {name for (name,) in self._cursor.fetchall()}
        for role, name in self._names.items():
            if name not in known:
                self._make(self._with_password("CREATE", role), role)
            elif role not in self.let_in():
                alter = self._with_password("ALTER", role)
                if self._ours:
                    self._make(alter, role)
                else:  # it may belong to somebody else
                    self.refused.append(alter.as_string(self._cursor))
        return bool(self._made)

    def let_in(self) -> list[Role]:
        """Return the roles that can log in to the database with the known passwords."""
        if self._let_in is None:
            self._let_in = [r for r in grants.ROLES if lets_in(logins.login(self._settings, r, self._own))]
        return self._let_in

    def give_rights(self, ready: Sequence[Role]) -> bool:
        """Grant missing rights and revoke excess ones, for these roles and for PUBLIC."""
        before = remaining = self._differences(ready)
        for _attempt in range(_ATTEMPTS if before else 0):
            for statement in remaining:
                # InternalError: a run that publishes lists changes the same table now.
                with contextlib.suppress(errors.InsufficientPrivilege, errors.InternalError_):
                    self._cursor.execute(statement)
            self._let_in = None
            remaining = self._differences(ready)
            if not remaining:
                break
        self.refused += [statement.as_string(self._cursor) for statement in remaining]
        return len(remaining) < len(before)

    def _differences(self, ready: Sequence[Role]) -> list[sql.Composed]:
        """Return the remaining statements."""
        required, taken = set(self._required(ready)), self._taken_from_public()
        actual = set(self._actual([self._names[role] for role in ready]))
        public = {right for right in actual if right.role == _PUBLIC}
        excess = (actual - public - required) | (public & taken)
        # A right of PUBLIC needs no grant for a role.
        missing = {right for right in required - actual if right._replace(role=_PUBLIC) not in public - taken}
        statements = [_statement("REVOKE", right) for right in sorted(excess)]
        statements += [_statement("GRANT", right) for right in sorted(missing)]
        if self._ours:
            statements += _reduced_to_login(self._cursor, list(self._names.values()))
        return statements + ([self._read_studies()] if OPERATOR in ready and not self._studies_are_read() else [])

    def _make(self, statement: sql.Composed, role: Role) -> None:
        """Create or alter a role; a refused statement is left to an administrator."""
        self._let_in = None
        try:
            self._cursor.execute(statement)
            self._made.add(role)
        except errors.DuplicateObject:  # another `up` created it first
            return
        except errors.InsufficientPrivilege:
            self.refused.append(statement.as_string(self._cursor))

    def _with_password(self, verb: str, role: Role) -> sql.Composed:
        name = self._names[role]
        password = logins.password_of(self._settings, role)
        verifier = encrypt_password(password, name, self._cursor.connection, "scram-sha-256")
        kind = _PLAIN if self._ours else sql.SQL("LOGIN")
        beginning = sql.SQL(f"{verb} ROLE {{}} ").format(sql.Identifier(name)) + kind
        return beginning + sql.SQL(" PASSWORD {}").format(sql.Literal(verifier))

    def _objects(self) -> set[str]:
        """Return the existing tables and views; the first search creates those of Optuna."""
        self._cursor.execute(
            "SELECT n.nspname || '.' || c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace "
            "WHERE n.nspname = ANY(%s) AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition",
            [list(grants.SCHEMAS)],
        )
        return {name for (name,) in self._cursor.fetchall()}

    def _required(self, ready: Sequence[Role]) -> Iterator[Right]:
        for object_name, rights in _rights_by_object(self._objects()).items():
            for role in ready:
                for privilege, column in map(_parsed, rights.get(role, "").split()):
                    yield Right("TABLE", object_name, column, self._names[role], privilege)
        others = [("SCHEMA", name, "USAGE", able) for name, able in grants.SCHEMAS.items()]
        others += [("FUNCTION", name, "EXECUTE", able) for name, able in grants.FUNCTIONS.items()]
        database = self._own.database or ""
        others += [("DATABASE", database, privilege, able) for privilege, able in grants.DATABASE.items()]
        for kind, object_name, privilege, able in others:
            yield from (Right(kind, object_name, "", self._names[role], privilege) for role in ready if role in able)

    def _taken_from_public(self) -> set[Right]:
        """Return the rights that PUBLIC must not have. An external database may have other users than Tailorbird."""
        taken = {Right("SCHEMA", "public", "", _PUBLIC, "CREATE")}
        taken |= {Right("SCHEMA", name, "", _PUBLIC, p) for name in ("identity", "optuna") for p in ("USAGE", "CREATE")}
        taken |= {Right("FUNCTION", name, "", _PUBLIC, "EXECUTE") for name in grants.FUNCTIONS}
        taken |= {
            Right("TABLE", object_name, "", _PUBLIC, privilege)
            for object_name in (*grants.TABLES, *grants.VIEWS)
            for privilege in grants.WRITE.split()
        }
        if self._ours:
            taken.add(Right("SCHEMA", "public", "", _PUBLIC, "USAGE"))
            databases = (self._own.database or "", "postgres", "template1")
            taken |= {Right("DATABASE", name, "", _PUBLIC, p) for name in databases for p in ("CONNECT", "TEMPORARY")}
            taken |= {Right("FUNCTION", f"pg_catalog.{name}", "", _PUBLIC, "EXECUTE") for name in _LARGE_OBJECTS}
        return taken

    def _actual(self, names: list[str]) -> Iterator[Right]:
        functions = [*grants.FUNCTIONS, *(f"pg_catalog.{name}" for name in _LARGE_OBJECTS)]
        databases = [self._own.database, "postgres", "template1"]
        self._cursor.execute(
            _ACTUAL, {"schemas": list(grants.SCHEMAS), "names": names, "functions": functions, "databases": databases}
        )
        yield from (Right(*row) for row in self._cursor.fetchall())

    def _studies_are_read(self) -> bool:
        self._cursor.execute(
            "SELECT FROM pg_default_acl AS d JOIN pg_namespace AS n ON n.oid = d.defaclnamespace "
            "CROSS JOIN LATERAL aclexplode(d.defaclacl) AS a JOIN pg_roles AS r ON r.oid = a.grantee "
            "WHERE n.nspname = %s AND r.rolname = %s",
            [grants.STUDIES, self._names[OPERATOR]],
        )
        return self._cursor.fetchone() is not None

    def _read_studies(self) -> sql.Composed:
        statement = "ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA {} GRANT SELECT ON TABLES TO {}"
        names = (self._own.username or "", grants.STUDIES, self._names[OPERATOR])
        return sql.SQL(statement).format(*map(sql.Identifier, names))


def _rights_by_object(existing: set[str]) -> dict[str, dict[str, str]]:
    """Return the rights of all roles on existing objects."""
    rights_of = {object_name: {OPERATOR: grants.WRITE, **rights} for object_name, rights in grants.TABLES.items()}
    rights_of |= {object_name: {OPERATOR: grants.READ, **rights} for object_name, rights in grants.VIEWS.items()}
    for object_name in grants.WRITTEN_BY_OWNER:
        rights_of[object_name][OPERATOR] = grants.READ
    rights_of |= {
        object_name: {OPERATOR: grants.READ} for object_name in existing if object_name.startswith(f"{grants.STUDIES}.")
    }
    return {object_name: rights for object_name, rights in rights_of.items() if object_name in existing}


def _parsed(right: str) -> tuple[str, str]:
    """Split `SELECT` or `SELECT(column)` into privilege and column."""
    privilege, _, column = right.removesuffix(")").partition("(")
    return privilege, column


def _statement(verb: str, right: Right) -> sql.Composed:
    schema, dot, name = right.object_name.partition(".")
    if right.kind == "FUNCTION":
        object_name: sql.Composable = sql.SQL(right.object_name)  # a constant, with the types of its arguments
    else:
        object_name = (
            sql.Identifier(schema, name) if dot and right.kind == "TABLE" else sql.Identifier(right.object_name)
        )
    privilege = sql.SQL(right.privilege)
    if right.column:
        privilege = sql.SQL("{} ({})").format(privilege, sql.Identifier(right.column))
    role = sql.SQL(_PUBLIC) if right.role == _PUBLIC else sql.Identifier(right.role)
    direction = sql.SQL("TO" if verb == "GRANT" else "FROM")
    parts = (sql.SQL(verb), privilege, sql.SQL("ON"), sql.SQL(right.kind), object_name, direction, role)
    return sql.SQL(" ").join(parts)


def _reduced_to_login(cursor: Cursor, names: Sequence[str]) -> list[sql.Composed]:
    """Return the statements that reduce these roles to a login."""

    def fetch(query: str) -> list[tuple[str | None, ...]]:
        cursor.execute(query, [list(names)])
        return sorted(cursor.fetchall(), key=str)

    plain = [sql.SQL("ALTER ROLE {} ").format(_identifier(name)) + _PLAIN for (name,) in fetch(_ATTRIBUTES)]
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


_ACTUAL: Final = """
WITH privileges AS (
    SELECT 'TABLE' AS kind, n.nspname || '.' || c.relname AS object_name, '' AS column_name, c.relacl AS acl
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY(%(schemas)s) AND c.relkind IN ('r', 'p', 'v')
    UNION ALL
    SELECT 'TABLE', n.nspname || '.' || c.relname, a.attname, a.attacl
    FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY(%(schemas)s) AND c.relkind IN ('r', 'p', 'v') AND a.attacl IS NOT NULL
    UNION ALL
    SELECT 'SCHEMA', nspname, '', coalesce(nspacl, acldefault('n', nspowner))
    FROM pg_namespace WHERE nspname = ANY(%(schemas)s)
    UNION ALL
    SELECT 'DATABASE', datname, '', coalesce(datacl, acldefault('d', datdba))
    FROM pg_database WHERE datname = ANY(%(databases)s)
    UNION ALL
    SELECT 'FUNCTION', f, '', coalesce(p.proacl, acldefault('f', p.proowner))
    FROM unnest(%(functions)s) AS f JOIN pg_proc AS p ON p.oid = to_regprocedure(f)
)
SELECT kind, object_name, column_name, coalesce(r.rolname, 'PUBLIC'), a.privilege_type
FROM privileges CROSS JOIN LATERAL aclexplode(acl) AS a LEFT JOIN pg_roles AS r ON r.oid = a.grantee
WHERE a.grantee = 0 OR r.rolname = ANY(%(names)s)
"""


class DatabaseRefusedError(TailorbirdError):
    """The database server refuses the login or the creation of a database."""


def give_own_database(admin: URL, name: str, password: str) -> URL:
    """Return a database of its own role, which no other role may enter; create or repair both if needed."""
    own = admin.set(username=name, password=password, database=name)
    with session(admin) as statements:
        statements.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if statements.fetchone() and lets_in(own):
            return own
        role, secret = sql.Identifier(name), encrypt_password(password, name, statements.connection, "scram-sha-256")
        with contextlib.suppress(errors.DuplicateObject):
            statements.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        statements.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD %s").format(role), [secret])
        with contextlib.suppress(errors.DuplicateDatabase):
            statements.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(role))
        statements.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(role))
    return own


def share_server(given: URL, name: str) -> URL:
    """Return another database on the given server for the same role; create it if the role may."""
    beside = given.set(database=name)
    if lets_in(beside):
        return beside
    statement = f'CREATE DATABASE "{name}" OWNER "{given.username}";'
    try:
        with session(given) as statements, contextlib.suppress(errors.DuplicateDatabase):
            statements.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except errors.InsufficientPrivilege:
        raise DatabaseRefusedError(
            f"{name.capitalize()} needs a database of its own on {given.host}, and the role {given.username} may "
            f"not create one. Have an administrator run:\n    {statement}\nor use a running {name} server instead."
        ) from None
    if not lets_in(beside):
        raise DatabaseRefusedError(f"The role {given.username} may not use the database {name} on {given.host}.")
    return beside


def lets_in(url: URL) -> bool:
    """Return whether the database accepts this user and password."""
    try:
        _connect(url).close()
    except psycopg2.OperationalError:
        return False
    return True


@contextlib.contextmanager
def session(url: URL) -> Iterator[cursor]:
    """Yield a cursor outside transactions, in which databases can be created. Raises DatabaseRefusedError."""
    try:
        opened = _connect(url)
    except psycopg2.OperationalError as error:
        # libpq's message names host, port, role and database, never the password.
        raise DatabaseRefusedError(
            f"The database does not let {url.username} in: {str(error).strip()}. Check TAILORBIRD_DATABASE_URL and its "
            "server; if the server is ours, restart it with `tailorbird down` and `tailorbird up`."
        ) from None
    try:
        opened.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
        yield opened.cursor()
    finally:
        opened.close()


def _connect(url: URL) -> connection:
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg2.connect(plain, connect_timeout=5)
