"""The Complete Journey as a data set, split as the demo splits it, in an installation that stays for the next run."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.figures import FOLDER
from benchmarks.installation import installed
from models.dataset import Dataset


@contextmanager
def journey() -> Iterator[Dataset]:
    """Take the data in and build the data set, or find them from last time; PostgreSQL runs as long as the block."""
    server = installed(FOLDER.absolute() / "journey-var")
    try:
        yield built()
    finally:
        server.stop()


def built() -> Dataset:
    """The data set, in the installation that this process belongs to."""
    from tasks.build_dataset import build_dataset, split_by
    from tasks.ingest_events import ingest_events
    from tasks.ingest_items import ingest_items
    from tasks.ingest_users import ingest_users
    from tasks.list_files import list_files
    from tasks.load_dataset import open_dataset

    steps = {"items": ingest_items, "users": ingest_users, "events": ingest_events}
    for part, file in list_files.fn("complete_journey"):
        steps[part].fn("complete_journey", file)
    manifest = build_dataset.fn(split_by(validation_days=30, test_days=31))
    return open_dataset(manifest["version"])
