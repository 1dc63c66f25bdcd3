"""Runs commands in an installation of its own below `var`, with the lake, database and services of nobody else."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from infra.configuration.settings import Settings, variable_of
from infra.configuration.settings_file import NO_FILE, VARIABLE
from infra.keys.credentials import PSEUDONYM, permanent_secret, variable
from infra.services import environment
from infra.services.embedded_postgres import EmbeddedPostgres
from models.errors import TailorbirdError

_TAKEN_OVER: Final = ("memory", "placements", "gate", "dataset", "user_traits", "batch_niceness", "home")
_OTHERS: Final = ("TAILORBIRD_", "PREFECT_", "MLFLOW_", "PG")
"""Variables that belong to the installation of this process."""
_CODE: Final = Path(__file__).resolve().parents[3]
_SHOWN_LINES: Final = 8
_LEASE_S: Final = 10
"""How long a backtest that was killed in a retraining waits until it may repeat it."""


class ChildInstallation:
    """An installation in the folder `var`, whose commands run as a person types them, with automatic reviews.

    It has the pseudonym key of this installation, so that models see the same users in the same order.
    """

    def __init__(self, var: Path, settings: Settings) -> None:
        self.var = var
        taken_over = {variable_of(name) for name in _TAKEN_OVER}
        own = {name: value for name, value in environment.of_settings(settings).items() if name in taken_over}
        own |= {VARIABLE: NO_FILE, variable_of("var"): str(var), variable_of("review"): "auto"}
        own[variable_of("retrain_lease_seconds")] = str(_LEASE_S)
        # Both count real days, and here a week passes in a minute.
        unlimited = {"cool_down_days": 1e-6, "weekly_budget": 1_000_000}
        own[variable_of("monitor")] = json.dumps(asdict(settings.monitor) | unlimited)
        own[variable(PSEUDONYM)] = permanent_secret(settings, PSEUDONYM)
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith(_OTHERS)} | own

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run PostgreSQL, Prefect and MLflow for the length of the block."""
        self._call("down", "--force")  # it ends commands of a backtest that was killed
        self._call("up", "--stores-only")
        try:
            yield
        finally:
            self._call("down", "--force")

    def run(self, *arguments: str) -> Any:
        """Run a command and return its JSON. Raises TailorbirdError with the end of what it printed."""
        return json.loads(self._call(*arguments, "--json").strip().splitlines()[-1])

    def query(self, statement: str) -> str:
        """Return the only value that a statement selects."""
        return self._call("psql", "-qAtc", statement).strip()

    def delete(self) -> None:
        """Stop and delete the installation with its database."""
        if self.var.exists():
            self._call("down", "--force")
            EmbeddedPostgres(self.var).destroy()
            shutil.rmtree(self.var, ignore_errors=True)

    def _call(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "flows", *arguments]
        done = subprocess.run(command, cwd=_CODE, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode:
            lines = done.stderr.strip().splitlines()[-_SHOWN_LINES:]
            raise TailorbirdError(f"`tailorbird {' '.join(arguments)}` failed in {self.var}:\n" + "\n".join(lines))
        return done.stdout
