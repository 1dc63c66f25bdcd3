"""Marks an installation as one of the demo, which has sample data and a deployment that loads them."""

from pathlib import Path
from typing import Final

from sqlalchemy import Engine, select

from infra.database.schema.schema import ingest_batches
from models.errors import TailorbirdError

_MARK: Final = "demo-installation"
"""The file in `var` of an installation that the demo ran in."""
_SOURCE: Final = "complete_journey"


class DemoRefusedError(TailorbirdError):
    """The demo would add its data to a shop's own."""


def is_demo(var: Path) -> bool:
    """Return whether the demo ran in this installation."""
    return (var / _MARK).exists()


def mark(engine: Engine, var: Path) -> None:
    """Mark this installation as one of the demo. Raises DemoRefusedError when it holds data of another source."""
    if is_demo(var):
        return
    with engine.connect() as connection:
        sources = set(connection.execute(select(ingest_batches.c.source).distinct()).scalars())
    if others := sorted(sources - {_SOURCE}):
        raise DemoRefusedError(
            f"This installation holds data of {', '.join(others)}, and the demo would add those of a grocery. Run it "
            "in an installation of its own: TAILORBIRD_SETTINGS=none TAILORBIRD_VAR=./var-demo tailorbird demo"
        )
    (var / _MARK).touch(mode=0o600)
