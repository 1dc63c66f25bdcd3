"""Opens a pool of connections for transactions of a few statements."""

from typing import Final

import asyncpg

from serving.stores.database.connection_options import connection_options

_CONNECTIONS: Final = 4


async def pool_of(address: str, *, durable: bool = True) -> asyncpg.Pool:
    """Return a pool. Without `durable`, a crash of PostgreSQL may undo the commits of the last second, in their order.

    Its statements leave nothing behind in a connection. So none is reset after use, which would take a round trip.
    """
    given = {} if durable else {"synchronous_commit": "off"}
    options = connection_options(address)
    return await asyncpg.create_pool(
        **options, min_size=0, max_size=_CONNECTIONS, reset=_leave_it, server_settings=given
    )


async def _leave_it(connection: asyncpg.Connection) -> None:
    """Reset nothing."""
