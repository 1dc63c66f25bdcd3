"""Provides an installation for a benchmark: PostgreSQL and a lake only, or all services with the command line."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from deltalake import DeltaTable
from numpy.typing import NDArray
from sqlalchemy import insert

from benchmarks.results import FOLDER
from infra.bundles import bundle as bundles
from infra.bundles.manifest import Origin
from infra.database.engine import migrate
from infra.database.schema.schema import promotions
from infra.installation import current
from infra.services.embedded_postgres import EmbeddedPostgres
from models.datasets.dataset import Dataset
from models.recommenders.protocols import Recommender

_NO_SERVER: Final = "http://127.0.0.1:9"


def installed(var: Path) -> EmbeddedPostgres:
    """Start PostgreSQL in that folder; this process, and those that it starts, belong to the installation then.

    Tasks are called as functions, without runs. Whoever calls stops or destroys the server.
    """
    server = EmbeddedPostgres(var)
    server.start()
    migrate(server.url())
    os.environ |= {"TAILORBIRD_SETTINGS": "none", "TAILORBIRD_VAR": str(var), "TAILORBIRD_DATABASE_URL": server.url()}
    os.environ |= {"PREFECT_API_URL": f"{_NO_SERVER}/api", "MLFLOW_TRACKING_URI": _NO_SERVER}
    return server


@contextmanager
def fresh(name: str) -> Iterator[Path]:
    """Yield the folder of an empty installation below `FOLDER`; it is deleted at the end."""
    var = FOLDER.absolute() / name
    shutil.rmtree(var, ignore_errors=True)
    server = installed(var)
    try:
        yield var
    finally:
        server.destroy()
        shutil.rmtree(var, ignore_errors=True)


def promote(model: Recommender, popularity: NDArray[np.float32], dataset_version: str) -> None:
    """Make a model the champion of this process's installation, without a review."""
    here = current()
    draft = here.settings.var / "draft"
    bundles.write(draft, model, popularity, Origin(dataset_version, 7, "run"))
    bundle, digest = bundles.store_bundle(draft, here.bundles)
    row = {"previous_promotion_id": 0, "model_version": 1, "kind": model.kind, "metrics": {}, "actor": "benchmark"}
    row |= {"dataset_version": dataset_version, "bundle": str(bundle), "digest": digest, "reason": "a measurement"}
    with here.engine.begin() as connection:
        connection.execute(insert(promotions).values(row))


@contextmanager
def journey() -> Iterator[Dataset]:
    """Yield the Complete Journey as a data set, split like the demo's; the next run reuses the installation.

    PostgreSQL runs for the length of the block.
    """
    from tasks.datasets.build_dataset import build_dataset, split_by
    from tasks.datasets.load_dataset import open_dataset
    from tasks.ingest.events.ingest_events import ingest_events
    from tasks.ingest.list_files import list_files
    from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users

    server = installed(FOLDER.absolute() / "journey-var")
    steps = {"items": ingest_items, "users": ingest_users, "events": ingest_events}
    try:
        for part, file in list_files.fn("complete_journey"):
            steps[part].fn("complete_journey", file)
        manifest = build_dataset.fn(split_by(validation_days=30, test_days=31))
        yield open_dataset(manifest["version"])
    finally:
        server.stop()


class CommandFailedError(Exception):
    """A command failed; the message has its output."""


class Shop:
    """The commands of one installation with all services, as a person types them."""

    def __init__(self, var: Path, variables: dict[str, str]) -> None:
        self._var = var
        self._environment = {**os.environ, "TAILORBIRD_SETTINGS": "none", "TAILORBIRD_VAR": str(var), **variables}

    def run(self, *arguments: str) -> str:
        """Run a command and return what it prints. Raises CommandFailedError."""
        command, root = [sys.executable, "-m", "flows", *arguments], Path(__file__).parents[1]
        done = subprocess.run(command, cwd=root, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CommandFailedError(f"tailorbird {' '.join(arguments)}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def run_json(self, *arguments: str) -> Any:
        """Run a command and return its JSON."""
        return json.loads(self.run(*arguments, "--json"))

    def query(self, statement: str) -> pd.DataFrame:
        """Return the rows of a statement as text; empty text stays empty."""
        copy = f"COPY ({statement}) TO STDOUT (FORMAT csv, HEADER)"
        return pd.read_csv(StringIO(self.run("psql", "-qc", copy)), dtype=str, keep_default_na=False)

    def interactions(self) -> pd.DataFrame:
        """Return the purchases of the newest data set."""
        version = self.query("SELECT version FROM datasets ORDER BY created_at DESC LIMIT 1")["version"][0]
        return DeltaTable(str(self._var / "lake" / "datasets" / version / "interactions")).to_pandas()


@contextmanager
def opened_shop(name: str, **variables: str) -> Iterator[Shop]:
    """Start an empty installation below `FOLDER`; it is stopped and deleted at the end."""
    var = FOLDER.absolute() / name
    shutil.rmtree(var, ignore_errors=True)
    shop = Shop(var, variables)
    try:
        shop.run("up")
        yield shop
    finally:
        shop.run("down")
        shutil.rmtree(var, ignore_errors=True)
