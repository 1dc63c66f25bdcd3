"""The live scorer with the stores of an installation."""

import asyncio
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from infra.bundles.bundle import load
from infra.database.engine import engine
from infra.database.schema.schema import items, promotions
from models.lists.rules.placement_config import Placement
from serving.answers.request import ListRequest, Visitor
from serving.live.assembly import live_scorer
from serving.model.holder import ModelHolder
from serving.model.promotions import NewestPromotion
from serving.model.sources import ChampionCopy
from serving.stores.standing import NOBODY
from serving.stores.stores import Stores
from tests.serving.bundle_folders import write_bundle

SHELVES = {
    "home": Placement(k=5),
    "fruit": Placement.model_validate({"k": 5, "rules": {"include": {"items": ["i03"]}}}),
}
SOLD = [f"i{number:02}" for number in range(0, 45, 2)]


def promote(database: str, folder: Path, version: int) -> None:
    bundle = load(folder)
    row = {"model_version": version, "previous_promotion_id": version - 1, "kind": bundle.manifest.kind, "metrics": {}}
    row |= {"dataset_version": "v1", "run_id": bundle.manifest.run_id, "actor": "ann", "reason": "fine"}
    with engine(database).begin() as connection:
        connection.execute(insert(promotions).values(row | {"bundle": str(folder), "digest": bundle.digest}))


def test_promotions_and_the_catalogue_are_followed_while_lists_are_asked_for(
    database: str, tmp_path: Path, own_var: Path
) -> None:
    rows: list[dict[str, Any]] = [
        {"item_id": name, "title": name, "attributes": {}, "available": True, "batch_id": "b"} for name in SOLD
    ]
    with engine(database).begin() as connection:
        connection.execute(insert(items), rows)
    write_bundle(tmp_path / "first", "own_frequency")
    write_bundle(tmp_path / "second", "item_knn", seed=2)
    promote(database, tmp_path / "first", 1)
    holder = ModelHolder(NewestPromotion(engine(database)), ChampionCopy(own_var / "serving"), poll_seconds=60)
    holder.open()

    async def follow() -> None:
        stores, home = Stores(database), ListRequest("home", Visitor("u000"), 5)
        async with live_scorer(holder, SHELVES, stores) as live, stores.running(), asyncio.timeout(30):
            first = await live.recommend(home, NOBODY)
            assert first is not None
            assert first.model_version == 1
            assert {entry.item_id for entry in first.entries} <= {*SOLD}
            none = await live.recommend(ListRequest("fruit", Visitor(), 5), NOBODY)
            assert none is not None
            assert none.entries == ()
            await asyncio.to_thread(promote, database, tmp_path / "second", 2)
            while (listing := await live.recommend(home, NOBODY)) is None or listing.model_version != 2:
                assert listing is not None
                assert len(listing.entries) == 5
                await asyncio.sleep(0.02)

    asyncio.run(follow())
    engine(database).dispose()
