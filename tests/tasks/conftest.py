"""The shop taken all the way to a champion, without Prefect's or MLflow's servers."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from infra.installation import Installation, current
from tasks.datasets.build_dataset import build_dataset, split_by
from tasks.datasets.load_dataset import stored_manifest
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users
from tasks.quality import data_docs
from tests.conftest import administer, fresh_database
from tests.recording_server import RecordingServer
from tests.tasks.shelves import Place
from tests.tasks.stages import Stage, staged
from tests.tasks.weeks import Weekly


@pytest.fixture
def pages() -> None:
    """Ask for the pages of Data Docs: other tests need verdicts alone."""


@pytest.fixture(autouse=True)
def _without_pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "pages" not in request.fixturenames:
        monkeypatch.setattr(data_docs, "publish", lambda *_judgements: None)


@pytest.fixture
def recorder() -> Iterator[RecordingServer]:
    """Return a server that stands for Prefect and records what it gets."""
    with RecordingServer() as received:
        yield received


@pytest.fixture(scope="session")
def mlflow_tables(postgres: Any) -> str:
    """Return a database with MLflow's tables, to be copied: to create them takes a second."""
    from mlflow.store.db.utils import _initialize_tables

    administer(postgres, "CREATE DATABASE mlflow")
    store = create_engine(postgres.url("mlflow"))
    _initialize_tables(store)
    store.dispose()
    return "mlflow"


@pytest.fixture
def mlflow_store(postgres: Any, mlflow_tables: str) -> Iterator[str]:
    """Return the URL of MLflow's own store, without anything."""
    yield from fresh_database(postgres, mlflow_tables)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Return a function that makes a text the placements of this installation."""

    def write(content: str) -> None:
        (tmp_path / "placements.toml").write_text(content)
        monkeypatch.setenv("TAILORBIRD_PLACEMENTS", str(tmp_path / "placements.toml"))
        current.cache_clear()

    return write


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first installation of each kind leaves its files for the others."""
    return tmp_path_factory.mktemp("staged")


@pytest.fixture
def catalogued(installation: Installation, shop: Any, postgres: Any, kept: Path) -> Installation:
    """Return the installation with the shop's catalogue: ingested once a session, and copied for the other tests."""
    build = partial(ingest_items.fn, "complete_journey", shop.items_file)
    return staged(installation, postgres, kept, "catalogued", build)


@pytest.fixture
def stage(installation: Installation, shop: Any, postgres: Any, kept: Path) -> Stage:
    """Built once a session, and copied for every test after the first."""

    def build() -> None:
        ingest_items.fn("complete_journey", shop.items_file)
        ingest_users.fn("complete_journey", shop.users_file)
        ingest_events.fn("complete_journey", shop.events_file)
        build_dataset.fn(split_by(validation_days=30, test_days=31))

    staged(installation, postgres, kept, "stage", build)
    manifest = stored_manifest(installation)
    assert manifest is not None
    return Stage(installation, shop, manifest)


@pytest.fixture
def weekly(
    monkeypatch: pytest.MonkeyPatch, installation: Installation, postgres: Any, kept: Path, tmp_path: Path
) -> Weekly:
    """39 weeks of the made-up shop, a champion that has learned from them, and what is usual in them: built once a
    session. Chance is rarely taken for drift."""
    monkeypatch.setenv("TAILORBIRD_MONITOR", '{"window_days": 7, "days_between_false_retrains": 364}')
    current.cache_clear()
    shop = Weekly(current(), tmp_path)
    staged(shop.here, postgres, kept, "weekly", shop.open)
    installation.engine.dispose()
    return shop
