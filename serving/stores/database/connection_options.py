"""Translates the address of a database for asyncpg."""

from typing import Any, Final

from infra.configuration import addresses

_PASSED_ON: Final = ("sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "options", "application_name")
"""Options of an address that asyncpg knows too; the others are libpq's own, such as its timeouts."""


def connection_options(address: str) -> dict[str, Any]:
    """Return asyncpg's arguments for an address in any form of `postgresql://`. Raises AddressRefusedError."""
    url = addresses.database(address)
    query = {name: str(value) for name, value in url.query.items() if name in _PASSED_ON}
    host = url.query.get("host")
    target = url.set(drivername="postgresql", query=query)
    if host is not None and not url.host:  # a socket's folder
        target = target.update_query_dict({"host": str(host)})
    return {"dsn": target.render_as_string(hide_password=False)}
