"""Builds the names, passwords and addresses of the database roles."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Literal

from sqlalchemy import URL, make_url

from infra.configuration.settings import Settings
from infra.keys.credentials import secret
from infra.private_files.folders import replace_file
from infra.services.database_access import grants
from infra.services.database_access.grants import Role
from infra.services.endpoints import Endpoints, database_url

_LONGEST_NAME = 63
"""Bytes of a name that PostgreSQL keeps."""
_NOT_OURS = "    It is not ours; use your own login."
_FILE = "database_roles.json"
OPERATOR_PAGE = "operator-page"
"""The name of the password of the page for operators."""
OPERATOR_COOKIES = "operator-cookies"
"""The name of the secret that signs what browsers keep of that page."""


def name_of(role: Role, database: str) -> str:
    """Return the role's name, which includes the database because roles belong to a whole server."""
    name = f"{database}_{role}"
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(database.encode()).hexdigest()[:12]
    return f"{database.encode()[:30].decode(errors='ignore')}_{digest}_{role}"


def password_of(settings: Settings, role: Role) -> str:
    """Return the role's password, which the first use creates."""
    return secret(settings, f"database-{role}")


def login(settings: Settings, role: Role, own: URL) -> URL:
    """Return the address of a database for a role; `own` is the address for its owner."""
    return own.set(username=name_of(role, own.database or ""), password=password_of(settings, role))


def usable(settings: Settings) -> list[str]:
    """Return the roles that the last `up` could log in as, in the present database."""
    try:
        record = json.loads((settings.var / _FILE).read_text())
        return list(record["roles"]) if record["database"] == _place(settings) else []
    except (OSError, ValueError, KeyError, TypeError):
        return []


def note_usable(settings: Settings, roles: Sequence[str]) -> None:
    """Store the usable roles, in one step."""
    content = json.dumps({"database": _place(settings), "roles": [*roles]})
    replace_file(settings.var / _FILE, f"{content}\n".encode())


def address(settings: Settings, role: Role | Literal["owner"]) -> str:
    """Return the address of Tailorbird's database for a role, or for the owner if the role does not exist.

    Raises ServicesDownError.
    """
    own = database_url(settings)
    if role == "owner" or role not in usable(settings):
        return own
    return login(settings, role, make_url(own)).render_as_string(hide_password=False)


def of_pages(endpoints: Endpoints) -> Iterator[str]:
    """Yield lines with the address and the login of each page. For a terminal, not a log."""
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


def of_operators(settings: Settings, endpoints: Endpoints) -> Iterator[str]:
    """Yield lines with the login of the page for operators. For a terminal, not a log."""
    yield f"Operators   {endpoints.api_page or 'http://127.0.0.1 and the port of the API'}/operator"
    yield "    The page asks for your own name and the password."
    yield f"    Password: {secret(settings, OPERATOR_PAGE)}"


def _typed(user: str, password: str) -> Iterator[str]:
    yield "    The browser asks for both."
    yield f"    Username: {user}"
    yield f"    Password: {password}"


def shown(settings: Settings, *, every: bool = False) -> Iterator[str]:
    """Yield lines with the login and address of the reader role, or of `every` role. For a terminal, not a log."""
    own = make_url(database_url(settings))
    known = usable(settings)
    for role in grants.ROLES if every else (grants.READER,):
        if role not in known:
            yield f"Database, {role}: there is no such role yet; `tailorbird up` creates it, or prints the SQL for that"
            continue
        url = login(settings, role, own).set(drivername="postgresql")
        yield f"Database, {role}: {url.username}:{url.password}"
        yield f"    {url.render_as_string(hide_password=False)}"


def _place(settings: Settings) -> str:
    """Return an identifier of the present database; empty for the own server, which has only one."""
    if settings.database_url is None:
        return ""
    given = make_url(database_url(settings))
    return f"{given.host}:{given.port or 5432}/{given.database}"
