"""Keeps best sellers current with the champion and the catalogue, in a thread beside the answers."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from copy import copy
from time import monotonic
from typing import TYPE_CHECKING, Final

from models.lists.rules.placement_config import Placement
from serving.answers.best_sellers import BestSellers
from serving.answers.interfaces import Models
from serving.model.loaded_model import LoadedModel
from serving.stores.catalogue import Catalogue
from serving.stores.refresher import meanwhile
from serving.stores.rules import LayeredPlacements

if TYPE_CHECKING:
    from serving.stores.stores import Stores

_POLL_SECONDS: Final = 0.2
_SPACING_SECONDS: Final = 5.0
"""A catalogue that changes all the time is followed at this interval; what is sold out is left out at once."""
_EMPTY: Final = Catalogue.of({}, 0.0)
_log: Final = logging.getLogger(__name__)


class Upkeep:
    """The best sellers, of the newest champion that was built."""

    def __init__(
        self,
        models: Models,
        placements: LayeredPlacements,
        stores: "Stores | None",
        known: BestSellers | None = None,
    ) -> None:
        """Follow these models, these placements and this catalogue, after `known` best sellers."""
        self._models, self._placements, self._stores = models, placements, stores
        self._built_under: Mapping[str, Placement] | None = None
        self._of_bundle: tuple[LoadedModel, Catalogue] | None = None
        self._built_at = 0.0
        self._edited: tuple[Mapping[str, Placement], str] | None = None
        """The placements for which nothing was built yet, and the key of their only user."""
        self.best = known
        self.number = 0
        """Counts how often best sellers were built."""

    @property
    def catalogue(self) -> Catalogue:
        """Return the newest catalogue; without a database, the items of the bundle."""
        if self._stores is not None and self._stores.catalogue.read:
            return self._stores.catalogue.current
        return _EMPTY if self._of_bundle is None else self._of_bundle[1]

    @property
    def sales(self) -> dict[str, float]:
        """Return the sales of each item that the champion knows; empty before the first one."""
        return {} if self.best is None else self.best.sales

    @property
    def digest(self) -> str:
        """Return the digest of the champion of the sales; empty before the first one."""
        return "" if self.best is None else self.best.digest

    @property
    def ready(self) -> bool:
        """Return whether a model and its best sellers are in memory."""
        return self.best is not None

    def under(self, placements: LayeredPlacements, user_key: str) -> "Upkeep":
        """Return the same best sellers for one user under other placements; nothing keeps them current."""
        other = copy(self)
        other._edited = placements.snapshot, user_key
        return other

    async def present(self) -> BestSellers | None:
        """Return the best sellers. Under other placements, the first list that needs them waits until they are built.

        Most lists of a preview need none.
        """
        if self._edited is not None and self.best is not None:
            self.best, self._edited = await asyncio.to_thread(self.best.under, *self._edited), None
        return self.best

    async def refresh(self) -> None:
        """Build the best sellers again if the champion, the catalogue or a rule of operators is another one."""
        model = self._models.current()
        if model is None:
            return
        if self._stores is not None and self._stores.catalogue.read:
            self._of_bundle = None  # it is never needed again
        elif self._of_bundle is None or self._of_bundle[0] is not model:
            bundle = model.bundle
            self._of_bundle = (model, await asyncio.to_thread(Catalogue.of_model, bundle.model.items, bundle.available))
        catalogue, best = self.catalogue, self.best
        placements = self._placements.snapshot
        unchanged = best is not None and best.model is model and self._built_under is placements
        if best is not None and unchanged and best.catalogue is catalogue:
            return
        if unchanged and monotonic() - self._built_at < _SPACING_SECONDS:
            return
        if best is not None and best.model is model and best.catalogue is catalogue:
            self.best = await asyncio.to_thread(best.under, placements)
        else:
            self.best = await asyncio.to_thread(BestSellers.build, model, catalogue, placements)
        self._built_under = placements
        self.number += 1
        self._built_at = monotonic()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Refresh meanwhile; the first time before anything else."""
        await self._try()
        async with meanwhile(self._repeat()):
            yield

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            await self._try()

    async def _try(self) -> None:
        try:
            await self.refresh()
        except Exception:
            _log.exception("Best sellers could not be built; the ones before stay.")
