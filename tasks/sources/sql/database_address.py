"""Reads the address of a database, and keeps its login out of messages."""

import os
import re
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from models.errors import TailorbirdError

VARIABLE: Final = "env:"
"""Stands before the name of the environment variable that holds an address."""
_FORM: Final = "Write it as postgresql://user:password@host/database, or env:NAME for a variable that holds it."
_FILES: Final = ("sqlite", "duckdb")
"""Databases whose address is the path of a file."""
_HIDDEN: Final = "***"
_quote_all = partial(quote, safe="")


class DatabaseAddressError(TailorbirdError):
    """The address of a database cannot be used."""


class SecretInAddressError(DatabaseAddressError):
    """An address that would be stored may hold a secret."""


def read_address(stated: str) -> URL:
    """Return the address that is stated, or held by the variable of `env:NAME`. Raises DatabaseAddressError."""
    text = stated
    if stated.startswith(VARIABLE):
        name = stated.removeprefix(VARIABLE)
        text = os.environ.get(name, "").strip()
        if not text:
            raise DatabaseAddressError(
                f"The variable {name} with the address of the database is not set. Set it in this shell; for the "
                "worker, name it TAILORBIRD_SECRET_… and call `tailorbird down`, then `tailorbird up`."
            )
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise DatabaseAddressError(f"The address of the database cannot be read. {_FORM}") from None
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg2")  # the driver that Tailorbird brings along
    if url.get_backend_name() in _FILES and url.database and url.database != ":memory:":
        url = url.set(database=str(Path(url.database).expanduser().absolute()))
    return url


def storable(stated: str) -> str:
    """Return an address that Prefect may store: one without secrets, or `env:NAME`. Raises SecretInAddressError."""
    url = read_address(stated)
    if stated.startswith(VARIABLE):
        return stated
    if url.password is not None or url.query:  # options may be secrets, too
        raise SecretInAddressError(
            "The address of the database may hold a secret, and Prefect would store it. Put it into an environment "
            f"variable named TAILORBIRD_SECRET_…, and give {VARIABLE}TAILORBIRD_SECRET_… instead."
        )
    return url.render_as_string()  # with the whole path of a file


def shown(url: URL) -> str:
    """Return an address without its driver, login and options, for messages and for the ledger."""
    place = url.host or ""
    if ":" in place:
        place = f"[{place}]"
    if url.port:
        place += f":{url.port}"
    return f"{url.get_backend_name()}://{place}/{url.database or ''}".rstrip("/")


def without_secrets(text: str, url: URL) -> str:
    """Return a text without the password and the options of an address, however they are encoded."""
    values = [value for stated in url.query.values() for value in ([stated] if isinstance(stated, str) else stated)]
    secrets = {str(url.password), *values} if url.password is not None else set(values)
    forms = {form(secret) for secret in secrets if secret for form in (str, quote, _quote_all, quote_plus, repr)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, _HIDDEN)
    return re.sub(r"://[^/@\s]*@", f"://{_HIDDEN}@", text)
