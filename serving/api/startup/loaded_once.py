"""Loads once what all workers of a server share: the champion, and the catalogue aligned with it."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from infra.configuration.placements import configured
from infra.configuration.settings import Settings
from infra.database.engine import engine
from infra.services.database_access.logins import address
from models.primitives.threads import limit_this_thread
from models.ranking.xgboost_library import xgboost
from serving.answers.best_sellers import BestSellers
from serving.answers.catalogue_search import TitleIndex, TitleWords
from serving.answers.upkeep import Prebuilt
from serving.live.catalogue import ModelCatalogue
from serving.model.holder import ModelHolder
from serving.model.loaded_model import LoadedModel
from serving.model.promotions import NewestPromotion
from serving.model.sources import COPY_FOLDER, ChampionCopy
from serving.stores.catalogue_reader import CatalogueReader, KnownCatalogue
from serving.stores.database.errors import PostgresDownError
from serving.stores.database.postgres import Postgres

_LOG: Final = logging.getLogger(__name__)
_SECONDS: Final = 5.0
"""The time for a statement; without the catalogue each worker reads it."""


@dataclass(frozen=True)
class Shared:
    """What a process read before it became several; None for what could not be read."""

    model: LoadedModel | None = None
    catalogue: KnownCatalogue | None = None
    aligned: ModelCatalogue | None = None
    """The catalogue in the order of the model's items."""
    prebuilt: Prebuilt = field(default_factory=Prebuilt)


def load_once(settings: Settings) -> Shared:
    """Return what the workers share, without a thread or a connection that stays open."""
    xgboost()
    limit_this_thread()  # after the import of all libraries that would start threads of their own
    place = address(settings, "serving")
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: _with_words(asyncio.run(_catalogue(place))))  # while arrays are decompressed
        database = engine(place)
        models = ModelHolder(NewestPromotion(database), ChampionCopy(settings.var / COPY_FOLDER))
        models.refresh()
        database.dispose()
        model, (catalogue, words) = models.current(), reading.result()
    if model is None or catalogue is None or words is None:
        return Shared(model, catalogue)
    placements, aligned = configured(settings), ModelCatalogue.of(model, catalogue.catalogue)
    try:
        best = BestSellers.build(model, catalogue.catalogue, placements)
    except Exception:
        _LOG.exception("Best sellers could not be built; each worker tries it again.")
        return Shared(model, catalogue, aligned)
    return Shared(model, catalogue, aligned, Prebuilt(best, TitleIndex.of(words, best.sales, best.digest)))


def _with_words(known: KnownCatalogue | None) -> tuple[KnownCatalogue | None, TitleWords | None]:
    return known, None if known is None else TitleWords.of(known.catalogue)


async def _catalogue(place: str) -> KnownCatalogue | None:
    postgres = Postgres(place, 1, _SECONDS)
    reader = CatalogueReader(postgres)
    try:
        await reader.refresh()
    except PostgresDownError:
        return None
    finally:
        await postgres.close()
    return reader.known
