"""Loads once what all workers of a server share: the champion, and the catalogue aligned with it."""

import asyncio
import logging
from collections.abc import Mapping
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
from serving.live.prepared_rules import ModelCatalogue
from serving.model.holder import ModelHolder
from serving.model.loaded_model import LoadedModel
from serving.model.sources import COPY_FOLDER, ChampionCopy, NewestPromotion
from serving.stores.catalogue import CatalogueReader, KnownCatalogue
from serving.stores.lists import BatchCodes, CodeTexts
from serving.stores.postgres import Postgres
from serving.stores.shared_loads import PostgresDownError

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
    best: BestSellers | None = None
    titles: TitleIndex | None = None
    codes: Mapping[int, CodeTexts] = field(default_factory=dict)
    """The texts of the codes of live batches."""


def load_once(settings: Settings) -> Shared:
    """Return what the workers share, without a thread or a connection that stays open."""
    xgboost()
    limit_this_thread()  # after the import of all libraries that would start threads of their own
    place = address(settings, "serving")
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(asyncio.run, _read(place))  # while arrays are decompressed
        database = engine(place)
        models = ModelHolder(NewestPromotion(database), ChampionCopy(settings.var / COPY_FOLDER))
        models.refresh()
        database.dispose()
        model, (catalogue, words, codes) = models.current(), reading.result()
    if model is None or catalogue is None or words is None:
        return Shared(model, catalogue, codes=codes)
    placements, aligned = configured(settings), ModelCatalogue.of(model, catalogue.catalogue)
    try:
        best = BestSellers.build(model, catalogue.catalogue, placements)
    except Exception:
        _LOG.exception("Best sellers could not be built; each worker tries it again.")
        return Shared(model, catalogue, aligned, codes=codes)
    return Shared(model, catalogue, aligned, best, TitleIndex.of(words, best.sales, model.digest), codes)


async def _read(place: str) -> tuple[KnownCatalogue | None, TitleWords | None, Mapping[int, CodeTexts]]:
    """Return the catalogue, its words, and the texts of the codes of live batches, as far as the database answers."""
    postgres = Postgres(place, 1, _SECONDS)
    reader, codes = CatalogueReader(postgres), BatchCodes(postgres, postgres)
    try:
        await reader.refresh()
        await codes.load(
            row[0]
            for row in await postgres.fetch("SELECT DISTINCT batch_id FROM placements WHERE batch_id IS NOT NULL")
        )
    except PostgresDownError:
        pass
    finally:
        await postgres.close()
    known = reader.known if reader.read else None
    return known, None if known is None else TitleWords.of(known.catalogue), codes.known
