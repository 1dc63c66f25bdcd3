"""The live scorer with the stores of an installation."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from infra.database.engine import engine
from infra.database.schema.schema import items
from models.lists.rules.placement_config import Placement
from serving.answers.request import ListRequest, Visitor
from serving.live.live_scorer import live_scorer
from serving.model.holder import ModelHolder
from serving.model.sources import ChampionCopy, NewestPromotion
from serving.stores.lists import NOBODY
from serving.stores.stores import Stores
from tests.serving.bundle_folders import promote, write_bundle

pytestmark = pytest.mark.anyio

SHELVES = {
    "home": Placement(k=5),
    "fruit": Placement.model_validate({"k": 5, "rules": {"include": {"items": ["i03"]}}}),
}
SOLD = [f"i{number:02}" for number in range(0, 45, 2)]


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
