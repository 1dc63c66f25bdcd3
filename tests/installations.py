"""Chooses the installation that `infra.installation.current()` returns, for fixtures of several tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from infra.installation import Installation, current

_CLOSED: Final = "http://127.0.0.1:9"
"""Nothing listens there: a call to Prefect or MLflow in these tests fails at once."""


def choose(patch: pytest.MonkeyPatch, url: str, var: Path) -> None:
    """Make an installation the current one: with this database, and without Prefect and MLflow."""
    patch.setenv("TAILORBIRD_DATABASE_URL", url)
    patch.setenv("TAILORBIRD_VAR", str(var))
    patch.setenv("PREFECT_API_URL", f"{_CLOSED}/api")
    patch.setenv("MLFLOW_TRACKING_URI", _CLOSED)
    current.cache_clear()


@contextmanager
def chosen(url: str, var: Path) -> Iterator[Installation]:
    """Yield an installation, which is the current one meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        choose(patch, url, var)
        yield current()
    current.cache_clear()
