"""Provides the Complete Journey as a data set, split like the demo's, in an installation that the next run reuses."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.installation import installed
from benchmarks.results import FOLDER
from models.datasets.dataset import Dataset


@contextmanager
def journey() -> Iterator[Dataset]:
    """Ingest the data and build the data set, or reuse the last one; PostgreSQL runs for the length of the block."""
    server = installed(FOLDER.absolute() / "journey-var")
    try:
        yield built()
    finally:
        server.stop()


def built() -> Dataset:
    """Return the data set of the installation that this process belongs to."""
    from tasks.datasets.build_dataset import build_dataset, split_by
    from tasks.datasets.load_dataset import open_dataset
    from tasks.ingest.events.ingest_events import ingest_events
    from tasks.ingest.list_files import list_files
    from tasks.ingest.reference.ingest_items import ingest_items
    from tasks.ingest.reference.ingest_users import ingest_users

    steps = {"items": ingest_items, "users": ingest_users, "events": ingest_events}
    for part, file in list_files.fn("complete_journey"):
        steps[part].fn("complete_journey", file)
    manifest = build_dataset.fn(split_by(validation_days=30, test_days=31))
    return open_dataset(manifest["version"])
