"""Where this process finds its database, lake, key and bundles: one object, opened on first use."""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from sqlalchemy import Engine

from infra.configuration.settings import Settings, load
from infra.database.engine import engine
from infra.keys import trust
from infra.keys.credentials import permanent_secret
from infra.keys.fingerprints import PSEUDONYM
from infra.lake import ownership_checks
from infra.lake.delta_lake import Lake
from infra.services.endpoints import Endpoints, endpoints


@dataclass(frozen=True)
class Installation:
    """The running installation as this process sees it.

    The first use of `engine`, `lake` or `key` raises InstallationRefusedError when keys, `var`, lake and database do
    not belong together.
    """

    settings: Settings
    endpoints: Endpoints

    @cached_property
    def _checked(self) -> tuple[Engine, str]:
        """The database, and the id of the installation it belongs to."""
        opened = engine(self.endpoints.database_url)
        return opened, trust.check(opened, self.settings)

    @property
    def engine(self) -> Engine:
        """Tailorbird's own database."""
        return self._checked[0]

    @cached_property
    def lake(self) -> Lake:
        """Events and data sets."""
        opened = Lake(self.settings.lake)
        ownership_checks.check_lake(self.engine, opened, self._checked[1])
        return opened

    @property
    def key(self) -> bytes:
        """The key of the pseudonyms; read each time, since it may be rotated while nothing works."""
        self._checked  # noqa: B018 -- no pseudonym is made with a key that was not compared
        return permanent_secret(self.settings, PSEUDONYM).encode()

    @property
    def bundles(self) -> Path:
        """The folder of champion bundles."""
        return Path(self.settings.bundles)


@cache
def current() -> Installation:
    """The installation that the settings name; raises ServicesDownError when nothing runs."""
    settings = load()
    return Installation(settings, endpoints(settings))
