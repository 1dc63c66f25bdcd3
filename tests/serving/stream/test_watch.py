"""What a watch does when its consumer ends."""

import asyncio
from contextlib import suppress

from serving.stream.consumer import Watch
from tests.serving.events.inbox_database import InboxDatabase
from tests.serving.stream.clicks import settlement_of


def test_a_watch_ends_even_if_the_client_of_the_broker_loses_a_cancellation(inbox: InboxDatabase) -> None:
    ended, asked = asyncio.Event(), asyncio.Event()

    async def lag() -> int:
        asked.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.1)
        return 3

    async def work() -> None:
        async with settlement_of(inbox) as settlement:
            watching = asyncio.create_task(Watch(settlement, "q", lag).run(ended))
            await asked.wait()
            ended.set()
            watching.cancel()
            await asyncio.wait_for(watching, 10)

    asyncio.run(work())
    assert inbox.rows("SELECT queue, source, lag FROM streams") == [("q", "bus", 3)]
