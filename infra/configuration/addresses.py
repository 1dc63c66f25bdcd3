"""Parses addresses that may contain a password, and shows them without it. No error repeats a part of an address."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from models.errors import TailorbirdError

if TYPE_CHECKING:
    from sqlalchemy import URL

_ADDRESS: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)
_PORT: Final = r"(?:6553[0-5]|655[0-2]\d|65[0-4]\d\d|6[0-4]\d{3}|[0-5]?\d{1,4})"
_PLACE: Final = re.compile(rf"(?:[\w.~,-]*|\[[0-9A-Fa-f:.%]+\])(?::{_PORT})?")
"""Host and port."""
_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f\\\[\]]|%(?![0-9A-Fa-f]{2})")
_LOGIN: Final = re.compile(r"//[^\s/@:]*:[^\s\"'<>]*@")
_ENCODE: Final = (
    "In its user and password, write @ as %40, / as %2F, # as %23, ? as %3F, % as %25, : as %3A and a space as %20 "
    "(python3 -c 'import getpass, urllib.parse as u; print(u.quote(getpass.getpass(), safe=\"\"))' encodes a password "
    "that you type)."
)
_DATABASE_FORM: Final = "Write it as postgresql://user:password@host:5432/database."
_REDIS_FORM: Final = "Write it as redis://:password@host:6379/0, or rediss:// for TLS."
KAFKA: Final = ("kafka", "kafkas")
_BROKER_FORM: Final = (
    "Write it as amqp://user:password@host:5672/ or kafka://host:9092/topic; amqps:// and kafkas:// use TLS."
)
_TOPIC: Final = re.compile(r"/?|/[\w.-]{1,249}", re.ASCII)
_NUMBER: Final = re.compile(r"/?\d{0,5}")
"""The path of a Redis address: the number of a database."""
_WEB_FORM: Final = "Write it as http://host:port/path or https://user:password@host/path."


class AddressRefusedError(TailorbirdError, ValueError):
    """An address cannot be used. The message names its variable and repeats nothing of the value."""


@dataclass(frozen=True)
class WebAddress:
    """An http(s) address without its login. `login` is user:password, decoded, or empty."""

    address: str
    login: str = field(repr=False)


def database(value: str, variable: str = "TAILORBIRD_DATABASE_URL") -> "URL":
    """Return the URL of a PostgreSQL database in psycopg2 form. Raises AddressRefusedError."""
    from psycopg2 import ProgrammingError
    from psycopg2.extensions import parse_dsn
    from sqlalchemy import make_url  # 0.2 s, which servers of pages need not spend
    from sqlalchemy.exc import ArgumentError

    scheme, _, place, path = _parts(value, variable, _DATABASE_FORM)
    if scheme.split("+")[0] not in {"postgres", "postgresql"} or "#" in path or not _PLACE.fullmatch(place):
        raise AddressRefusedError(f"{variable} cannot be read. {_DATABASE_FORM} {_ENCODE}")
    try:
        url = make_url(f"postgresql+psycopg2://{value.partition('://')[2]}")
        parse_dsn(f"postgresql://{value.partition('://')[2]}")
    except (ArgumentError, ValueError):
        raise AddressRefusedError(f"{variable} cannot be read. {_DATABASE_FORM} {_ENCODE}") from None
    except ProgrammingError:
        raise AddressRefusedError(f"{variable} has an option that PostgreSQL does not know. {_DATABASE_FORM}") from None
    # libpq also reads both from the query, where readers expect no password.
    moved = {name: str(url.query[name]) for name in ("user", "password") if name in url.query}
    url = url.difference_update_query(moved)
    return url.set(username=moved.get("user", url.username), password=moved.get("password", url.password))


def web(value: str, variable: str) -> WebAddress:
    """Split an http(s) address from its login. Raises AddressRefusedError."""
    scheme, login, place, path = _parts(value, variable, _WEB_FORM)
    if scheme.lower() not in {"http", "https"} or not place or not _PLACE.fullmatch(place):
        raise AddressRefusedError(f"{variable} cannot be read. {_WEB_FORM} {_ENCODE}")
    return WebAddress(f"{scheme}://{place}{path}", unquote(login))


def store(value: str, variable: str, form: str = "Write it as s3://bucket/folder.") -> str:
    """Check the address of an object store or of a folder in it: no password. Raises AddressRefusedError."""
    _, login, _, _ = _parts(value, variable, form)
    if ":" in login:
        raise AddressRefusedError(
            f"{variable} holds a user and a password, which an object store does not read there. Remove them, and set "
            "the variables of the store instead, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    return value


def redis(value: str, variable: str = "TAILORBIRD_REDIS_URL") -> str:
    """Check the address of a Redis database. Raises AddressRefusedError."""
    scheme, _, place, path = _parts(value, variable, _REDIS_FORM)
    if scheme not in {"redis", "rediss"} or not place or not _PLACE.fullmatch(place) or not _NUMBER.fullmatch(path):
        raise AddressRefusedError(f"{variable} cannot be read. {_REDIS_FORM} {_ENCODE}")
    return value


def broker(value: str, variable: str = "TAILORBIRD_STREAM_URL") -> str:
    """Check the address of a message broker. Raises AddressRefusedError."""
    scheme, _, place, path = _parts(value, variable, _BROKER_FORM)
    if scheme in KAFKA:
        places, usable = place.split(","), bool(_TOPIC.fullmatch(path))
    else:
        places, usable = [place], scheme in {"amqp", "amqps"}
    if not usable or not all(one and _PLACE.fullmatch(one) for one in places):
        raise AddressRefusedError(f"{variable} cannot be read. {_BROKER_FORM} {_ENCODE}")
    return value


READERS: Final[Mapping[str, Callable[[str, str], object]]] = {
    "database_url": database,
    "redis_url": redis,
    "stream_url": broker,
    **dict.fromkeys(("prefect_api_url", "mlflow_tracking_uri", "prefect_page", "mlflow_page"), web),
    **dict.fromkeys(("docs_url", "metrics_url"), web),
    **dict.fromkeys(("lake", "bundles"), store),
}
"""The parser of each setting that holds an address, or several separated by commas."""


def check(setting: str, value: str | None) -> None:
    """Parse the addresses of a setting. Raises AddressRefusedError without the name of the variable."""
    several = (value or "").split(",") if setting == "metrics_url" else [value or ""]
    for address in filter(None, map(str.strip, several)):
        if READERS[setting] is not store or "://" in address:
            READERS[setting](address, "it")


def shown(address: str) -> str:
    """Return an address for messages and links: scheme, host, port and path, without login, query and fragment."""
    parts = _ADDRESS.fullmatch(address)
    if parts is None:
        return "(an address that cannot be read)"
    scheme, authority, path = parts.groups()
    if "@" in path:  # a password with a slash continues in the path
        authority, path = "", ""
    return f"{scheme}://{authority.rpartition('@')[2]}{re.split('[?#]', path)[0]}"


def redact(text: str) -> str:
    """Replace every user:password in the addresses of a text by `***`."""
    return _LOGIN.sub("//***@", text)


def _parts(value: str, variable: str, form: str) -> tuple[str, str, str, str]:
    """Return scheme, encoded login, host with port, and path with query of an unambiguous address."""
    parts = _ADDRESS.fullmatch(value)
    if parts is None:
        raise AddressRefusedError(f"{variable} cannot be read. {form}")
    scheme, authority, path = parts.groups()
    login, _, place = authority.rpartition("@")
    if "@" in login or "@" in path or _FORBIDDEN.search(login):
        raise AddressRefusedError(f"{variable} cannot be read: a character in it has to be percent-encoded. {_ENCODE}")
    return scheme, login, place, path
