"""Keys that are revoked, and consent that is withdrawn, while every process answers."""

import asyncio
import time

import pytest

from infra.keys.recorded_api_keys import NewKey, create_key, revoke_key
from tests.serving.running.open_loop import OpenLoop, Request
from tests.serving.running.shop import PATIENCE, RunningShop

pytestmark = pytest.mark.anyio
CONNECTIONS = 24
"""So many that each worker has some of them."""
POPULAR = Request("/v1/popular?k=1")


async def test_a_revoked_key_is_refused_within_a_second_in_every_process(shop: RunningShop) -> None:
    made = create_key(shop.engine, NewKey("till", ["read"]), "ann")
    clients = [OpenLoop(shop.server.address, str(made["key"])) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(_until(client, 200) for client in clients))
    await asyncio.to_thread(revoke_key, shop.engine, str(made["key_id"]), "ann")
    revoked = time.monotonic()
    last = await asyncio.gather(*(_until(client, 401) for client in clients))
    assert max(last) - revoked < 1
    for client in clients:
        assert (await client.one(POPULAR)).status == 401
        await client.close()


async def _until(client: OpenLoop, status: int) -> float:
    """Send requests on one connection until the status comes; return when the last other one left."""
    last = 0.0
    async with asyncio.timeout(PATIENCE):
        while True:
            left = time.monotonic()
            if (await client.one(POPULAR)).status == status:
                return last
            last = left
            await asyncio.sleep(0.01)
