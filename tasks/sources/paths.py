"""Which files are meant: by name, by folder, or by a pattern."""

import glob
from pathlib import Path

from models.errors import TailorbirdError

_LINES = ("*.jsonl", "*.jsonl.gz", "*.json", "*.json.gz", "*.ndjson", "*.ndjson.gz", "*.gz")


def line_files(places: list[str]) -> list[str]:
    """The files of JSON lines at these places, each once, in name order within a place.

    A place is a file, a folder (looked through to the bottom) or a pattern such as `export/**/*.gz`. Raises
    TailorbirdError for a place without any file.
    """
    found: dict[str, None] = {}
    for place in places:
        here = _files(place)
        if not here:
            raise TailorbirdError(f"There is no file of JSON lines at {place}. Give a file, a folder or a pattern.")
        found |= dict.fromkeys(here)
    if not found:
        raise TailorbirdError("Say which files to ingest: tailorbird ingest segment PATH…")
    return list(found)


def _files(place: str) -> list[str]:
    path = Path(place)
    if path.is_file():
        return [str(path)]
    if path.is_dir():
        return sorted({str(file) for pattern in _LINES for file in path.rglob(pattern) if file.is_file()})
    # Path.glob refuses patterns that begin at the root.
    return sorted(file for file in glob.glob(place, recursive=True) if Path(file).is_file())  # noqa: PTH207
