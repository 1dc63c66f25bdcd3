"""The database roles' names and logins: which role a process connects as, and by which address."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from typing import Literal

from sqlalchemy import URL, make_url

from infra.configuration.settings import Settings
from infra.keys.credentials import secret
from infra.services.database_access import grants
from infra.services.database_access.grants import Role
from infra.services.endpoints import Endpoints, database_url

_LONGEST_NAME = 63
"""Bytes of a name that PostgreSQL keeps."""
_NOT_OURS = "    It is not ours; use your own login."
_FILE = "database_roles.json"


def name_of(role: Role, database: str) -> str:
    """Return the role's name on its server: roles belong to a whole server, so the database's name is part of it."""
    name = f"{database}_{role}"
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(database.encode()).hexdigest()[:12]
    return f"{database.encode()[:30].decode(errors='ignore')}_{digest}_{role}"


def password_of(settings: Settings, role: Role) -> str:
    """Return the role's password, which is made on first use."""
    return secret(settings, f"database-{role}")


def login(settings: Settings, role: Role, own: URL) -> URL:
    """Return the address of a database for a role; `own` is the same for its owner."""
    return own.set(username=name_of(role, own.database or ""), password=password_of(settings, role))


def usable(settings: Settings) -> list[str]:
    """Return the roles that the last `up` could log in as, in the database that the settings name now."""
    try:
        noted = json.loads((settings.var / _FILE).read_text())
        return list(noted["roles"]) if noted["database"] == _place(settings) else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def note_usable(settings: Settings, roles: Sequence[str]) -> None:
    """Remember which roles can be used; whole or not at all."""
    path = settings.var / _FILE
    draft = path.with_name(f".{_FILE}.{os.getpid()}")
    draft.write_text(json.dumps({"database": _place(settings), "roles": [*roles]}) + "\n")
    draft.chmod(0o600)
    draft.replace(path)


def address(settings: Settings, role: Role | Literal["owner"]) -> str:
    """Return the address of Tailorbird's database for a role, or the owner's while there is no such role.

    Raises ServicesDownError.
    """
    own = database_url(settings)
    if role == "owner" or role not in usable(settings):
        return own
    return login(settings, role, make_url(own)).render_as_string(hide_password=False)


def of_pages(endpoints: Endpoints) -> Iterator[str]:
    """Yield lines with the address of each page and what to type there. For a terminal, not a log."""
    mlflow, docs = endpoints.mlflow_login, endpoints.docs_login
    yield f"Prefect     {endpoints.prefect_page}"
    if endpoints.prefect_login is None:
        yield _NOT_OURS
    else:
        yield "    It asks for one password. Type all of this, with the name and the colon:"
        yield f"    {endpoints.prefect_login}"
    yield f"MLflow      {endpoints.mlflow_page}"
    yield from (_NOT_OURS,) if mlflow is None else _typed(*mlflow)
    if endpoints.docs_page:
        yield f"Data Docs   {endpoints.docs_page}/"
        yield from (_NOT_OURS,) if docs is None else _typed(*docs.split(":", 1))


def _typed(user: str, password: str) -> Iterator[str]:
    yield "    The browser asks for both."
    yield f"    Username: {user}"
    yield f"    Password: {password}"


def shown(settings: Settings, *, every: bool = False) -> Iterator[str]:
    """Yield lines with user, password and address of the reader role, or of `every` role. For a terminal, not a log."""
    own = make_url(database_url(settings))
    there = usable(settings)
    for role in grants.ROLES if every else (grants.READER,):
        if role not in there:
            yield f"Database, {role}: there is no such role yet; `tailorbird up` makes it, or prints the SQL for that"
            continue
        found = login(settings, role, own).set(drivername="postgresql")
        yield f"Database, {role}: {found.username}:{found.password}"
        yield f"    {found.render_as_string(hide_password=False)}"


def _place(settings: Settings) -> str:
    """Return what tells this database from another one; our own server has one."""
    if settings.database_url is None:
        return ""
    given = make_url(database_url(settings))
    return f"{given.host}:{given.port or 5432}/{given.database}"
