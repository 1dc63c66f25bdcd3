"""Gives a process its database, lake, key and bundles: one object, opened on first use."""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from sqlalchemy import Engine

from infra.configuration.settings import Settings, load
from infra.database.engine import engine
from infra.keys import trust
from infra.keys.credentials import PSEUDONYM, permanent_secret
from infra.lake import ownership_checks
from infra.lake.delta_lake import Lake
from infra.services.endpoints import Endpoints, endpoints


@dataclass(frozen=True)
class Installation:
    """The installation of this process.

    The first use of `engine`, `lake` or `key` raises InstallationRefusedError when keys, `var`, lake and database do
    not belong together.
    """

    settings: Settings
    endpoints: Endpoints

    @cached_property
    def _checked(self) -> tuple[Engine, str]:
        """Return the database and the id of its installation."""
        opened = engine(self.endpoints.database_url)
        return opened, trust.check(opened, self.settings)

    @property
    def engine(self) -> Engine:
        """Return Tailorbird's own database."""
        return self._checked[0]

    @cached_property
    def lake(self) -> Lake:
        """Return the lake with events and data sets."""
        opened = Lake(self.settings.lake)
        ownership_checks.check_lake(self.engine, opened, self._checked[1])
        return opened

    @property
    def key(self) -> bytes:
        """Return the pseudonym key. It is read each time, because it may be rotated while no work runs."""
        self._checked  # noqa: B018 -- only a compared key makes pseudonyms
        return permanent_secret(self.settings, PSEUDONYM).encode()

    @property
    def bundles(self) -> Path:
        """Return the folder of champion bundles on this machine."""
        return self.settings.bundle_folder


@cache
def current() -> Installation:
    """Return the installation of the settings. Raises ServicesDownError when no service runs."""
    settings = load()
    return Installation(settings, endpoints(settings))
