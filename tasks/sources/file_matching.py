"""Which files belong to which part of a mapping: items, users and events of tables, or lines of a Segment export."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from models.errors import TailorbirdError
from models.ingest.segment.config import SegmentMapping
from models.ingest.tabular.config import Mapping
from tasks.sources.csv_reader import is_csv
from tasks.sources.file_kinds import refuse_binary, refuse_no_parquet
from tasks.sources.glob import names
from tasks.sources.locations import LINES, TABLES, at, below, find, is_folder, nothing

SEGMENT: Final = "segment"
_PARTS: Final = ("items", "users", "events")
"""In this order: events are checked against the catalogue, and dropped by what users said."""
_PATTERN: Final = 'A pattern there reads several files, such as file = "orders_*.csv".'

Patterns = dict[str, list[str]]
Found = dict[str, list[str]]


def files_of(mapping: Mapping | SegmentMapping, paths: Sequence[str] = (), command: str | None = None) -> Found:
    """The addresses of the files of each part, in name order; without `paths` they are where the mapping says.

    Below a folder, a part has the files that its `file` patterns mean there. Files and patterns that are given go to
    every part whose pattern fits their name, or to all parts if these name the same patterns. A part for which nothing
    is at `paths` is empty. Raises TailorbirdError when a path has no file, or one that fits no part; without `paths`,
    when a part has none. `command` is what the message proposes with paths, by default an ingest.
    """
    command = command or f"tailorbird ingest {mapping.name}"
    if isinstance(mapping, SegmentMapping):
        if not paths:
            raise TailorbirdError(f"Say which files to read: {command} PATH…")
        return {SEGMENT: find(paths, LINES)}
    patterns = _patterns(mapping)
    if not paths:
        return {part: _where_it_says(mapping, part, wanted, command) for part, wanted in patterns.items()}
    found: dict[str, set[str]] = {part: set() for part in patterns}
    for path in paths:
        for part, files in _sorted_out(mapping.name, patterns, path).items():
            found[part].update(files)
    return {part: sorted(files) for part, files in found.items()}


def _patterns(mapping: Mapping) -> Patterns:
    parts = ((name, getattr(mapping, name)) for name in _PARTS)
    return {name: [part.file] if isinstance(part.file, str) else part.file for name, part in parts if part}


def _where_it_says(mapping: Mapping, part: str, wanted: list[str], command: str) -> list[str]:
    if mapping.location is None:
        raise TailorbirdError(f"The mapping {mapping.name!r} states no location. Give the files: {command} PATH…")
    found: set[str] = set()
    for pattern in wanted:
        here = below(mapping.location, pattern, TABLES)
        if not here:
            raise TailorbirdError(
                f"There is no file {mapping.location.rstrip('/')}/{pattern} for {part}. Check the mapping's `location` "
                f"and `file`, or give the files: {command} PATH…"
            )
        found.update(here)
    if not found:
        raise TailorbirdError(f"The mapping {mapping.name!r} names no file for {part}. Say which in its `file`.")
    return sorted(found)


def _refuse_other_kinds(file: str) -> None:
    """Refuse a file of this machine by what it is, such as a workbook, since no name would make it fit."""
    path = Path(file)
    if path.is_file() and not is_csv(path):
        refuse_no_parquet(path)
    elif path.is_file():
        refuse_binary(path)


def _sorted_out(name: str, patterns: Patterns, path: str) -> Found:
    """The files at one path by part. Raises TailorbirdError when there are none, or one that fits no part."""
    if is_folder(path):
        found = {part: [f for one in wanted for f in below(path, one, TABLES)] for part, wanted in patterns.items()}
        if not any(found.values()):
            raise TailorbirdError(
                f"No file in {path} is one that the mapping {name!r} names: {_said(patterns)}. {_PATTERN}"
            )
        given = sorted({file for files in found.values() for file in files})
        fitting = {file: [part for part, files in found.items() if file in files] for file in given}
    else:
        given = at(path, TABLES)
        if not given:
            raise TailorbirdError(nothing(path, TABLES))
        fitting = {file: _fitting(patterns, file) for file in given}
    for file, parts in fitting.items():
        if not parts:
            _refuse_other_kinds(file)
            raise TailorbirdError(
                f"{file} fits no part of the mapping {name!r}: {_said(patterns)}. Rename it, or change `file` in the "
                f"mapping. {_PATTERN}"
            )
    return {part: [file for file, parts in fitting.items() if part in parts] for part in patterns}


def _fitting(patterns: Patterns, file: str) -> list[str]:
    if len({tuple(sorted(wanted)) for wanted in patterns.values()}) == 1:
        return list(patterns)  # one table, whatever it is called
    return [part for part, wanted in patterns.items() if any(names(pattern, file) for pattern in wanted)]


def _said(patterns: Patterns) -> str:
    return "; ".join(f"{part}: {', '.join(wanted)}" for part, wanted in patterns.items())
