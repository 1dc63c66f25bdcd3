"""What a server builds once for all of its workers."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from models.lists.rules.placement_config import Placement
from serving.answers.best_sellers import BestSellers
from serving.answers.service import Prebuilt
from serving.answers.upkeep import Upkeep
from serving.stores.catalogue import Catalogue
from serving.stores.rules import LayeredPlacements
from tests.serving.made_up_shop import PLACEMENTS, Holder, champion

pytestmark = pytest.mark.anyio
MODEL = champion()
CATALOGUE = Catalogue.of_model(MODEL.bundle.model.items, MODEL.bundle.available)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class ReadCatalogue:
    """The catalogue of a worker's stores."""

    current: Catalogue = CATALOGUE
    read: bool = True


@dataclass
class ReadStores:
    """The part of the stores that best sellers need."""

    catalogue: ReadCatalogue = field(default_factory=ReadCatalogue)


def upkeep(known: Prebuilt, holder: Holder, placements: dict[str, Placement], **catalogue: Any) -> Upkeep:
    stores: Any = ReadStores(ReadCatalogue(**catalogue))
    return Upkeep(holder, LayeredPlacements(placements), stores, known.best)


async def test_a_worker_uses_what_was_built_under_the_same_champion_catalogue_and_placements() -> None:
    known = Prebuilt(BestSellers.build(MODEL, CATALOGUE, PLACEMENTS))
    own = upkeep(known, Holder(MODEL), PLACEMENTS)
    await own.refresh()
    assert known.best is not None
    assert own.best is not None
    assert own.best.builder is known.best.builder
    assert all(own.best.lists[name] is known.best.lists[name] for name in known.best.lists)


async def test_a_worker_builds_what_changed_since() -> None:
    known = Prebuilt(BestSellers.build(MODEL, CATALOGUE, PLACEMENTS))
    assert known.best is not None
    changed = {name: one.model_copy(update={"k": one.k + 1}) for name, one in PLACEMENTS.items()}
    for own in (
        upkeep(known, Holder(champion(2, reverse=True)), PLACEMENTS),
        upkeep(known, Holder(MODEL), PLACEMENTS, current=Catalogue.of(CATALOGUE.by_id, 1.0)),
        upkeep(known, Holder(MODEL), changed),
    ):
        await own.refresh()
        assert own.best is not None
        assert not any(own.best.lists[name] is known.best.lists[name] for name in known.best.lists)


async def test_nothing_is_known_before_the_first_champion() -> None:
    own = upkeep(Prebuilt(), Holder(None), PLACEMENTS)
    await own.refresh()
    assert (own.ready, own.digest) == (False, "")
