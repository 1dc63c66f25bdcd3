"""The live scorer with the stores of an installation, and who clicked lately, by the database."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text

from infra.database.engine import engine
from infra.database.schema.schema import items
from models.lists.rules.placement_config import Placement
from serving.answers.protocol import ListRequest, Visitor
from serving.live.live_scorer import live_scorer
from serving.live.visitor_facts import SessionClicks
from serving.model.holder import ModelHolder
from serving.model.sources import ChampionCopy, NewestPromotion
from serving.stores.changes import Changes
from serving.stores.lists import NOBODY
from serving.stores.postgres import Postgres
from serving.stores.stores import Stores
from tests.serving.bundle_folders import promote, write_bundle

pytestmark = pytest.mark.anyio

SHELVES = {
    "home": Placement(k=5),
    "fruit": Placement.model_validate({"k": 5, "rules": {"include": {"items": ["i03"]}}}),
}
SOLD = [f"i{number:02}" for number in range(0, 45, 2)]

CLICKED = text(
    "INSERT INTO session_profiles (subject, items, expires_at) "
    "VALUES (:subject, :items, now() + :seconds * interval '1 second')"
)


async def test_promotions_and_the_catalogue_are_followed_while_lists_are_asked_for(
    database: str, tmp_path: Path, own_var: Path
) -> None:
    rows: list[dict[str, Any]] = [
        {"item_id": name, "title": name, "attributes": {}, "available": True, "batch_id": "b"} for name in SOLD
    ]
    with engine(database).begin() as connection:
        connection.execute(insert(items), rows)
    first_folder, second_folder = tmp_path / "first", tmp_path / "second"
    promote(engine(database), first_folder, write_bundle(first_folder), 1)
    digest = write_bundle(second_folder, seed=2)
    holder = ModelHolder(NewestPromotion(engine(database)), ChampionCopy(own_var / "serving"), poll_seconds=60)
    holder.open()
    stores, home = Stores(database), ListRequest("home", Visitor("u000"), 5)
    async with live_scorer(holder, SHELVES, stores) as live, stores.running(), asyncio.timeout(30):
        first = await live.recommend(home, NOBODY)
        assert first is not None
        assert first.model_version == 1
        assert {entry.item_id for entry in first.entries} <= {*SOLD}
        none = await live.recommend(ListRequest("fruit", Visitor(), 5), NOBODY)
        assert none is not None
        assert none.entries == ()
        await asyncio.to_thread(promote, engine(database), second_folder, digest, 2, 1)
        while (listing := await live.recommend(home, NOBODY)) is None or listing.model_version != 2:
            assert listing is not None
            assert len(listing.entries) == 5
            await asyncio.sleep(0.02)
    engine(database).dispose()


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
