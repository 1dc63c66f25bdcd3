"""Builds a data set."""

from datetime import date
from typing import Any

from prefect import flow

from tasks.build_dataset import build_dataset
from tasks.report import show


@flow
def features(as_of: date | None = None, validation_days: int = 30, test_days: int = 31) -> dict[str, Any]:
    """Build the data set that models learn from: features at three moments, named by the version of its events.

    Args:
        as_of: The day it ends before; by default the last midnight (UTC) before the newest event.
        validation_days: Days before the test weeks on which searches are measured.
        test_days: The last days, on which models are compared and which no search sees.
    """
    manifest = build_dataset(as_of, validation_days, test_days)
    show("dataset", f"Data set {manifest['version']}", [manifest["rows"]])
    return manifest
