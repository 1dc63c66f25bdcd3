"""Starts an installation that an earlier version made.

`stored/installation.tar.xz` was made by 98a35cc6 from a made-up shop of 60 items, with `init`, `up`, `ingest`,
`features`, `train`, `review`, `decide` and `score`. It holds the shop's folder, `pg_dumpall`, and the answers of then.
"""

import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import make_url

from infra.services.embedded_postgres import EmbeddedPostgres
from infra.services.postgres_user import binaries
from tests.flows.conftest import STORED_PORTS, NewShop
from tests.memory import postgres_in_memory
from tests.small_prefect import WITHOUT_BLOCKS

ARCHIVE: Final = Path(__file__).parent / "stored" / "installation.tar.xz"
_STORED_FOLDER: Final = "/stored/shop"
"""The place of the shop's folder in every stored file; the test's own folder replaces it."""
_WITH_PATHS: Final = (
    *("databases.sql", "my_shop.toml", "var/settings-file", "var/.private.json"),
    "var/lake/installation/_delta_log/00000000000000000000.json",
)
_SETTINGS: Final = 'placements = "placements.toml"\nreview = "auto"\nmonitor.window_days = 7\n'
"""The last two are for the monitor, which other data come for."""
_FORGET_SCHEDULED: Final = "DELETE FROM flow_run WHERE state_type = 'SCHEDULED'"
"""The worker starts each run whose time has passed, and by now that is true of those that were scheduled then."""


@dataclass(frozen=True)
class Stored:
    """The running installation, and what the version that made it answered."""

    shop: NewShop
    folder: Path

    def expected(self, name: str) -> Any:
        """Return what a command printed as JSON then."""
        return json.loads((self.folder / "expected" / f"{name}.json").read_text())

    def rows_then(self, name: str) -> list[list[str]]:
        """Return the rows of a view then."""
        lines = (self.folder / "expected" / f"{name}.tsv").read_text().splitlines()
        return [line.split("\t") for line in lines]

    def undo(self) -> None:
        """Take out what the old version brought."""
        self.shop.run("ledger", "undo", "--source", "my_shop", "--reason", "a trial", "--yes")

    @contextmanager
    def inside(self) -> Iterator["Stored"]:
        """Enter the shop's folder: the commands find its settings there."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            yield self


@contextmanager
def started(folder: Path) -> Iterator[Stored]:
    """Unpack the stored installation, load its databases, and start it with the code of today."""
    shop = NewShop(folder / "var", folder, STORED_PORTS, prefect=WITHOUT_BLOCKS)
    stored = Stored(shop, folder)
    with postgres_in_memory(shop.var):
        _unpack(folder)
        (folder / "tailorbird.toml").write_text(shop.port_settings() + _SETTINGS)
        _load_databases(shop.var, shop.ports, folder / "databases.sql")
        try:
            with stored.inside():
                shop.run("up")
                shop.fork_runs()
            yield stored
        finally:
            shop.end()


def _unpack(folder: Path) -> None:
    """Unpack the archive into a folder, and write that folder's path into its files."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    for name in _WITH_PATHS:
        path = folder / name
        path.write_text(path.read_text().replace(_STORED_FOLDER, str(folder)))


def _load_databases(var: Path, port: int, dump: Path) -> None:
    """Create a PostgreSQL with the stored password, run the dump in it without scheduled runs, and stop it."""
    server = EmbeddedPostgres(var, port)
    server.start()
    address = make_url(server.url())
    login = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "postgres", "PGPASSWORD": str(address.password)}
    command = [str(binaries() / "psql"), "--quiet", "--file", str(dump)]
    command += ["--command", r"\connect prefect", "--command", _FORGET_SCHEDULED, "postgres"]
    loaded = subprocess.run(command, env=os.environ | login, capture_output=True, text=True, check=True)
    # Every cluster has its superuser.
    assert [line for line in loaded.stderr.splitlines() if 'role "postgres" already exists' not in line] == []
    server.stop()
