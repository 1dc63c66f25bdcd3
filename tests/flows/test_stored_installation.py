"""An installation of an earlier version goes on after `tailorbird up`: same champion, lists, ledger and files.

`stored/installation.tar.xz` was made by 98a7782 from a made-up shop of 60 items, with `init`, `up`, `ingest`,
`features`, `train`, `review`, `decide` and `score`. It holds the shop's folder, `pg_dumpall`, and the answers of then.
"""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import make_url

from infra.services.embedded_postgres import EmbeddedPostgres
from infra.services.postgres_user import binaries
from tests.flows.conftest import Shop
from tests.flows.test_first_week import NewShop
from tests.memory import postgres_in_memory

ARCHIVE: Final = Path(__file__).parent / "stored" / "installation.tar.xz"
_STORED_FOLDER: Final = "/stored/shop"
"""The place of the shop's folder in every stored file; the test's own folder replaces it."""
_WITH_PATHS: Final = (
    *("databases.sql", "my_shop.toml", "var/settings-file", "var/.private.json"),
    "var/lake/installation/_delta_log/00000000000000000000.json",
)
_USER_LISTS: Final = (
    "SELECT placement, user_id, rank, item_id, title, score, reason FROM recommendations_by_user_id ORDER BY 1, 2, 3"
)
_ITEM_LISTS: Final = (
    "SELECT placement, for_item_id, rank, item_id, title, score, reason FROM current_item_recommendations "
    "ORDER BY 1, 2, 3"
)
_USER: Final = "12414"


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


@pytest.fixture(scope="module")
def stored(another: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    """Unpack the stored installation, load its databases, and start it with the code of today."""
    folder = tmp_path_factory.mktemp("stored")
    shop = NewShop(folder / "var", folder, another.ports)
    with postgres_in_memory(shop.var), pytest.MonkeyPatch.context() as patch:
        _unpack(folder)
        (folder / "tailorbird.toml").write_text(shop.port_settings() + 'placements = "placements.toml"\n')
        _load_databases(shop.var, shop.ports, folder / "databases.sql")
        patch.chdir(folder)
        shop.run("up")
        yield Stored(shop, folder)
        shop.end()


def _unpack(folder: Path) -> None:
    """Unpack the archive into a folder, and write that folder's path into its files."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    for name in _WITH_PATHS:
        path = folder / name
        path.write_text(path.read_text().replace(_STORED_FOLDER, str(folder)))


def _load_databases(var: Path, port: int, dump: Path) -> None:
    """Create a PostgreSQL with the stored password, run the dump in it, and stop it."""
    server = EmbeddedPostgres(var, port)
    server.start()
    address = make_url(server.url())
    login = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "postgres", "PGPASSWORD": str(address.password)}
    command = [str(binaries() / "psql"), "--quiet", "--file", str(dump), "postgres"]
    loaded = subprocess.run(command, env=os.environ | login, capture_output=True, text=True, check=True)
    # Every cluster has its superuser.
    assert [line for line in loaded.stderr.splitlines() if 'role "postgres" already exists' not in line] == []
    server.stop()


def test_the_champion_is_the_same(stored: Stored) -> None:
    assert stored.shop.json("status")["champion"] == stored.expected("status")["champion"]


def test_the_ledger_is_the_same(stored: Stored) -> None:
    assert stored.shop.json("status")["ledger"] == stored.expected("status")["ledger"]
    assert stored.shop.json("ledger", "show") == stored.expected("ledger")


def test_the_lists_of_users_and_items_are_the_same(stored: Stored) -> None:
    assert stored.shop.json("recommend", _USER) == stored.expected("home")
    assert stored.shop.sql(_USER_LISTS) == stored.rows_then("user_lists")
    assert stored.shop.sql(_ITEM_LISTS) == stored.rows_then("item_lists")


def test_the_same_files_come_in_by_the_old_mapping_and_change_nothing(stored: Stored) -> None:
    stored.shop.run("ingest", "my_shop.toml")
    assert stored.shop.json("status")["ledger"] == stored.expected("status")["ledger"]


def test_the_old_champion_makes_the_same_lists_again(stored: Stored) -> None:
    stored.shop.run("score", "home", "--k", "9")
    home = [row for row in stored.rows_then("user_lists") if row[0] == "home" and int(row[2]) <= 9]
    assert [row for row in stored.shop.sql(_USER_LISTS) if row[0] == "home"] == home


def test_the_old_champion_explains_its_list(stored: Stored) -> None:
    first = stored.expected("home")[0]
    assert first["title"] in stored.shop.run("explain", _USER, first["item_id"])


def test_a_new_data_set_and_a_new_model_are_made_beside_the_old_ones(stored: Stored) -> None:
    stored.shop.run("features")
    stored.shop.run("train", "--model", "most_popular")
    assert stored.shop.json("status")["champion"] == stored.expected("status")["champion"]


def test_an_undo_takes_out_what_the_old_version_brought(stored: Stored) -> None:
    stored.shop.run("ledger", "undo", "--source", "my_shop", "--reason", "a trial", "--yes")
    assert stored.shop.json("status")["ledger"]["accepted"] == 0
