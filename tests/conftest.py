"""A real PostgreSQL for the session, a fresh database and installation for each test, and a small dirty shop."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from socket import socket
from typing import Any, NamedTuple

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import Engine, create_engine, make_url, text
from xdist.scheduler import LoadFileScheduling

from infra.database.engine import engine, migrate
from infra.installation import Installation, current
from infra.keys import trust
from infra.services.embedded_postgres import EmbeddedPostgres
from tests.installations import choose
from tests.memory import folder_of_postgres
from tests.waiting import until

_TEMPLATE = "migrated"
_WITHOUT_THE_SHOP = ("test_stored_installation.py", "test_first_week.py", "test_commands.py", "test_keys.py")
"""Tests of flows that start the services that they need."""
SHOP = "the running shop"
"""What most files of flows share."""
_LATE = ("test_retrain_requests.py", "test_ingest.py", "test_api_page.py")
"""They leave their shop with a version that waits for a decision, and with events that make other data sets."""
_NUMBERS = count(1)
STAGES: set[str] = set()
"""Fixtures whose database is kept under their name, to be copied for the next tests."""
# The same few examples each time. `make faults` tries many, and others each time.
settings.register_profile(
    "few", max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
settings.register_profile("many", settings.get_profile("few"), max_examples=200, derandomize=False)
settings.load_profile("few")
gc.disable()  # until all tests are collected: imports leave little garbage to search for
os.environ.pop("COLUMNS", None)  # workers of xdist set a width, as if for a terminal
os.environ["TAILORBIRD_SETTINGS"] = "none"  # tests ignore a settings file of the clone


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that share the running shop first, then the other long files: workers end together."""

    def place(item: pytest.Item) -> tuple[bool, bool, int]:
        late = _LATE.index(item.path.name) if item.path.name in _LATE else -1
        return "flows" not in item.path.parts, item.path.name in _WITHOUT_THE_SHOP, late

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Search seldom for garbage, and not among modules and tests: visiting all of them takes half a second."""
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
    gc.enable()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Let a worker run whole files, and all files that share an installation: it is started and stocked once."""

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return shared_by(Path(file)) or file

    return Scheduling(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let the worker of the running shop go before the others, which share what it leaves of the processors."""
    if "PYTEST_XDIST_WORKER" in os.environ and not _shares_the_shop(item.path):
        _lower_priority()


@cache
def _lower_priority() -> None:
    os.nice(3)


def shared_by(file: Path) -> str | None:
    """Return the name of what a file shares with others, None if it shares nothing that runs."""
    if file.parent.name == "stream":
        return "the broker"
    return SHOP if _shares_the_shop(file) else None


def _shares_the_shop(file: Path) -> bool:
    return file.parent.name == "flows" and file.name not in _WITHOUT_THE_SHOP


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """Start a server of our own with a migrated database to copy from."""
    with folder_of_postgres(tmp_path_factory.mktemp("postgres")) as folder:
        server = EmbeddedPostgres(folder)
        # By process: two sessions at once would take the same port for free.
        server.start(preferred_port=15433 + os.getpid() % 1000)
        try:
            # A login then costs the client 0.6 ms of processor time instead of 2.9; there are thousands.
            password = make_url(server.url()).password
            administer(server, f"SET scram_iterations = 1; ALTER ROLE postgres PASSWORD '{password}'")
            administer(server, f"CREATE DATABASE {_TEMPLATE}")
            migrate(server.url(_TEMPLATE))
            engine(server.url(_TEMPLATE)).dispose()
            yield server
        finally:
            server.destroy()


@pytest.fixture
def empty_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """Return the URL of a fresh database without any table."""
    yield from fresh_database(postgres, "template1")


@pytest.fixture
def database(postgres: EmbeddedPostgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the URL of a fresh migrated database, or of a copy of the stage that the test asks for.

    Tests have the same URL, and with it the same engine, which compiles each statement once.
    """
    stage = next((name for name in request.fixturenames if name in STAGES), _TEMPLATE)
    yield from fresh_database(postgres, stage, "test")


@pytest.fixture
def other_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """Return the URL of one more fresh migrated database, of another installation."""
    yield from fresh_database(postgres, _TEMPLATE, "other")


@pytest.fixture
def installation(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """Return the installation of a test, which `infra.installation.current()` returns too."""
    for name in ("LAKE", "BUNDLES", "EXPORTED_BY"):
        monkeypatch.delenv(f"TAILORBIRD_{name}", raising=False)
    choose(monkeypatch, database, tmp_path / "var")
    _forget()
    yield current()
    _forget()


@pytest.fixture
def own_var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the test's own `var`, in which keys are made; the environment gives none."""
    for name in ("SECRET_SIGNING_KEY", "SECRET_PSEUDONYM_KEY", "SIGNING_PUBLIC_KEY"):
        monkeypatch.delenv(f"TAILORBIRD_{name}", raising=False)
    monkeypatch.setenv("TAILORBIRD_VAR", str(tmp_path / "var"))
    return tmp_path / "var"


@pytest.fixture(scope="session")
def object_store_server() -> Iterator[str]:
    """Start a server of S3's protocol in its own process: the lake's library keeps this one busy while it waits."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait()


@pytest.fixture
def object_store(object_store_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the address of an empty bucket, which the environment signs in to."""
    import boto3  # few tests need it

    login = {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "REGION": "eu-west-1", "DEFAULT_REGION": "eu-west-1"}
    where = {"ENDPOINT_URL": object_store_server, "ALLOW_HTTP": "true", "EC2_METADATA_DISABLED": "true"}
    for name, value in (login | where).items():
        monkeypatch.setenv(f"AWS_{name}", value)
    until(lambda: _is_reset(object_store_server))
    client = boto3.client("s3", endpoint_url=object_store_server)
    client.create_bucket(Bucket="lakes", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return "s3://lakes"


def _is_reset(server: str) -> bool:
    """Empty the object store; returns whether it answers."""
    with suppress(httpx.HTTPError):
        return httpx.post(f"{server}/moto-api/reset").is_success
    return False


def fresh_database(server: EmbeddedPostgres, template: str, name: str = "") -> Iterator[str]:
    """Yield the URL of a new copy of a template, dropped afterwards."""
    if name:  # what a test before may have left
        administer(server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    name = name or f"test_{next(_NUMBERS)}"
    copy_database(server, name, template)
    url = server.url(name)
    yield url
    engine(url).dispose()
    administer(server, f"DROP DATABASE {name} WITH (FORCE)")


def copy_database(server: EmbeddedPostgres, name: str, template: str) -> None:
    """Copy a database as files: the server's log of every page takes twice the time."""
    administer(server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")


def administer(server: EmbeddedPostgres, statement: str) -> None:
    """Execute a statement outside of a transaction, by a connection that stays open."""
    with _admin(server.url()).connect() as connection:
        connection.execute(text(statement))


@cache
def _admin(url: str) -> Engine:
    return create_engine(url, isolation_level="AUTOCOMMIT", pool_pre_ping=True)


def _forget() -> None:
    """Drop what a process keeps about its one installation."""
    current.cache_clear()
    trust._COMPARED.clear()
    opened = sys.modules.get("tasks.datasets.load_dataset")
    if opened is not None:
        opened.open_dataset.cache_clear()


class Shop(NamedTuple):
    """A folder in the shape of the Complete Journey, its tables, and the expected ledger and quarantine."""

    folder: Path
    transactions: pa.Table
    products: pa.Table
    demographics: pa.Table
    counts: dict[str, int]
    rules: dict[str, int]
    """How many events break each rule; one event may break several."""

    @property
    def events_file(self) -> str:
        """Return the path of the transactions."""
        return str(self.folder / "transactions.parquet")

    @property
    def items_file(self) -> str:
        """Return the path of the products."""
        return str(self.folder / "products.parquet")

    @property
    def users_file(self) -> str:
        """Return the path of the demographics."""
        return str(self.folder / "demographics.parquet")

    def write(self, **tables: pa.Table) -> None:
        """Replace tables of the folder."""
        for name, rows in tables.items():
            pq.write_table(rows, self.folder / f"{name}.parquet")


HOUSEHOLDS = np.arange(77_000_001, 77_000_031)
PRODUCTS = np.arange(500_000, 500_060)
FUEL, UNCATEGORISED, UNKNOWN = 600_000, 600_001, 699_999
_DIRT: dict[str, tuple[int, dict[str, Any]]] = {
    "quantity of zero": (25, {"quantity": 0}),
    "value of zero": (15, {"sales_value": 0.0}),
    "neither quantity nor value": (5, {"quantity": 0, "sales_value": 0.0}),
    "too many at once": (3, {"quantity": 2000}),
    "unknown product": (12, {"product_id": UNKNOWN}),
    "product without a category": (2, {"product_id": UNCATEGORISED}),
    "no product": (8, {"product_id": None}),
    "nobody": (4, {"household_id": None}),
    "fuel": (20, {"product_id": FUEL, "quantity": 5000}),
}
_TAKEN = ("product without a category", "fuel")
_REPEATED, _CONTRADICTED = 10, 6


@pytest.fixture(scope="session")
def shop_tables() -> dict[str, pa.Table]:
    """Return about 2,000 sound rows over 2017, and every kind of dirt at the end."""
    random = np.random.default_rng(7)
    rows = []
    for basket in range(330):
        household = HOUSEHOLDS[basket % len(HOUSEHOLDS)]
        usual = PRODUCTS[(household % 5) * 10 :][:20]
        at = np.datetime64("2017-01-02T08:00:00", "ns") + np.timedelta64(int(random.integers(363 * 86_400)), "s")
        bought = random.choice(usual, size=min(len(usual), 6), replace=False)
        rows += [_row(household, 31_000_000_000 + basket, product, at, random) for product in bought]
    rows.sort(key=lambda row: row["transaction_timestamp"])
    dirt = [(change, copy) for copies, change in _DIRT.values() for copy in range(copies)]
    for number, (change, _) in enumerate(dirt):
        at = np.datetime64("2017-06-01T09:00:00", "ns") + np.timedelta64(number, "h")
        row = _row(HOUSEHOLDS[number % 30], 32_000_000_000 + number, PRODUCTS[number % 60], at, random)
        rows.append(row | change)
    rows += [dict(row) for row in rows[:_REPEATED]]
    rows += [row | {"sales_value": 99.99} for row in rows[100 : 100 + _CONTRADICTED]]
    return {"transactions": _transactions(rows), "products": _products(), "demographics": _demographics()}


@pytest.fixture
def shop(tmp_path: Path, shop_tables: dict[str, pa.Table]) -> Shop:
    """Write the small shop into a folder of its own."""
    folder = tmp_path / "shop"
    folder.mkdir()
    quarantined = sum(copies for kind, (copies, _) in _DIRT.items() if kind not in _TAKEN) + _CONTRADICTED
    counts = {"read": len(shop_tables["transactions"]), "quarantined": quarantined, "duplicate": _REPEATED}
    counts |= {"suppressed": 0, "routed": _DIRT["fuel"][0]}
    counts["accepted"] = 2 * counts["read"] - sum(counts.values())
    rules = {
        "quantity_not_positive": 30,
        "value_not_positive": 20,
        "quantity_above_limit": 3,
        "item_not_in_catalogue": 12 + 8,
        "item_id_missing": 8,
        "event_id_missing": 8,
        "user_key_missing": 4,
        "id_conflict": _CONTRADICTED,
    }
    made = Shop(folder, **shop_tables, counts=counts, rules=rules)
    made.write(**shop_tables)
    return made


def _row(household: int, basket: int, product: int, at: np.datetime64, random: np.random.Generator) -> dict[str, Any]:
    value = round(float(random.uniform(0.5, 20)), 2)
    names = ("household_id", "basket_id", "product_id", "quantity", "sales_value", "transaction_timestamp")
    values = (int(household), basket, int(product), int(random.integers(1, 4)), value, at)
    return dict(zip(names, values, strict=True)) | {"store_id": 7}


def _transactions(rows: list[dict[str, Any]]) -> pa.Table:
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    columns["transaction_timestamp"] = pa.array(np.array(columns["transaction_timestamp"]), pa.timestamp("ns"))
    return pa.table(columns)


def _products() -> pa.Table:
    """Return the catalogue, with an item without a category, one that comes twice, and fuel."""
    ids = [*PRODUCTS.tolist(), FUEL, UNCATEGORISED, int(PRODUCTS[0])]
    n = len(PRODUCTS)
    return pa.table(
        {
            "product_id": ids,
            "manufacturer_id": [i % 7 for i in range(len(ids))],
            "department": [*("GROCERY" if i % 3 else "PRODUCE" for i in range(n)), "FUEL", None, "GROCERY"],
            "brand": ["National" if i % 4 else "Private" for i in range(len(ids))],
            "product_category": [*(f"AISLE {i // 6}" for i in range(n)), "FUEL", None, "AISLE NEW"],
            "product_type": [*(None if i == 5 else f"TYPE {i}" for i in range(n)), "GASOLINE", None, "TYPE NEW"],
            "package_size": [*(None if i % 5 == 0 else f"{i} OZ" for i in range(n)), None, None, "9 OZ"],
        }
    )


def _demographics() -> pa.Table:
    traits = ("age", "income", "home_ownership", "marital_status", "household_size", "household_comp", "kids_count")
    households = HOUSEHOLDS[:20].tolist()
    columns = {t: [None if (i + p) % 6 == 0 else f"{t} {i % 3}" for i in range(20)] for p, t in enumerate(traits)}
    return pa.table({"household_id": households, **columns})
