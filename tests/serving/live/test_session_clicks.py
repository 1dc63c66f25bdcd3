"""Who clicked lately, by the database."""

import asyncio

import pytest
from sqlalchemy import text

from infra.database.engine import engine
from serving.answers.request import Visitor
from serving.live.visitor_facts import SessionClicks
from serving.stores.changes import Changes
from serving.stores.postgres import Postgres

pytestmark = pytest.mark.anyio

CLICKED = text(
    "INSERT INTO session_profiles (subject, items, expires_at) "
    "VALUES (:subject, :items, now() + :seconds * interval '1 second')"
)


async def test_only_visitors_who_clicked_are_looked_up_and_new_clicks_are_noticed(database: str) -> None:
    def click(subject: str, *items: str, seconds: int = 60) -> None:
        with engine(database).begin() as connection:
            connection.execute(CLICKED, {"subject": subject, "items": list(items), "seconds": seconds})

    click("ann", "tea", "cup")
    click("old", "tea", seconds=-60)

    postgres, changes = Postgres(database, 2, 5.0), Changes(database)
    clicks, listening = SessionClicks(postgres, postgres), asyncio.create_task(changes.run())
    async with clicks.running(changes), asyncio.timeout(20):
        ann, device = Visitor("ann"), Visitor("ann", "device")
        while not (changes.connected and clicks.maybe(ann)):
            await asyncio.sleep(0.02)
        assert (await clicks.items(ann)).items == ("tea", "cup")
        assert not clicks.maybe(Visitor("old"))
        assert not clicks.maybe(Visitor())
        assert (await clicks.items(Visitor("old"))).items == ()
        await asyncio.to_thread(click, "device", "pan", "tea")
        while not clicks.maybe(Visitor(None, "device")):
            await asyncio.sleep(0.02)
        assert (await clicks.items(device)).items == ("cup", "pan", "tea")
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    await postgres.close()
    engine(database).dispose()
