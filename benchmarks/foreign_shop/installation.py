"""Runs an installation of its own with the commands that a person types, and reads it with SQL."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd
from deltalake import DeltaTable

_ROOT = Path(__file__).parents[2]


class CommandFailedError(Exception):
    """A command failed; the message has its output."""


class Shop:
    """The commands of one installation."""

    def __init__(self, var: Path) -> None:
        self._var = var
        self._environment = {**os.environ, "TAILORBIRD_SETTINGS": "none", "TAILORBIRD_VAR": str(var)}
        self._environment["TAILORBIRD_MONITOR"] = '{"window_days": 7}'  # the closed week is a window

    def run(self, *arguments: str) -> str:
        """Run a command and return what it prints. Raises CommandFailedError."""
        command = [sys.executable, "-m", "flows", *arguments]
        done = subprocess.run(command, cwd=_ROOT, env=self._environment, capture_output=True, text=True, check=False)
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
def installed(var: Path) -> Iterator[Shop]:
    """Start an empty installation in a folder; it is stopped and deleted at the end."""
    shutil.rmtree(var, ignore_errors=True)
    shop = Shop(var)
    try:
        shop.run("up")
        yield shop
    finally:
        shop.run("down")
        shutil.rmtree(var, ignore_errors=True)
