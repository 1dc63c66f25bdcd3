"""Where this process finds its database, lake, key and bundles: one object, opened on first use."""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from sqlalchemy import Engine

from infra.credentials import secret
from infra.database import engine
from infra.lake import Lake
from infra.services import Endpoints, endpoints
from infra.settings import Settings, load


@dataclass(frozen=True)
class Installation:
    """The running installation as this process sees it."""

    settings: Settings
    endpoints: Endpoints

    @cached_property
    def engine(self) -> Engine:
        """Tailorbird's own database."""
        return engine(self.endpoints.database_url)

    @cached_property
    def lake(self) -> Lake:
        """Events and data sets."""
        return Lake(self.settings.lake)

    @cached_property
    def key(self) -> bytes:
        """The key of the pseudonyms."""
        return secret(self.settings, "pseudonym-key").encode()

    @property
    def bundles(self) -> Path:
        """The folder of champion bundles."""
        return Path(self.settings.bundles)


@cache
def current() -> Installation:
    """The installation that the settings name; raises ServicesDownError when nothing runs."""
    settings = load()
    return Installation(settings, endpoints(settings))
