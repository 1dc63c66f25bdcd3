"""Assigns files to the parts of a mapping: items, users and events of tables, or lines of an export."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from expectations.batches import DATASETS
from models.errors import TailorbirdError
from models.ingest.segment.segment_mapping import LineMapping
from models.ingest.tabular.table_mapping import Mapping
from tasks.sources.csv_reader import is_csv
from tasks.sources.file_faults import refuse_binary, refuse_no_parquet
from tasks.sources.glob import names
from tasks.sources.json_tables import is_json
from tasks.sources.locations import JSON, LINES, TABLES, at, below, find, is_folder, no_file_message

SEGMENT, MIXPANEL = "segment", "mixpanel"
LINE_PARTS: Final = (SEGMENT, MIXPANEL)
"""The only part of a mapping of lines; it is called as its kind."""
_PATTERN: Final = 'A pattern there reads several files, such as file = "orders_*.csv".'

Patterns = dict[str, list[str]]
FilesByPart = dict[str, list[str]]


def files_of(mapping: Mapping | LineMapping, paths: Sequence[str] = (), command: str | None = None) -> FilesByPart:
    """Return the addresses of the files of each part, in name order, at `paths` or at the mapping's location.

    In a folder, a part has the files that match its `file` patterns. Given files belong to every part whose pattern
    fits their name, or to all parts if all have the same patterns. A part without files at `paths` is empty. Raises
    TailorbirdError if a path has no file, or one that fits no part; without `paths`, if a part has none. The message
    proposes `command` with paths, by default an ingest.
    """
    command = command or f"tailorbird ingest {mapping.name}"
    if isinstance(mapping, LineMapping):
        if not paths:
            raise TailorbirdError(f"Say which files to read: {command} PATH…")
        return {mapping.kind: find(paths, LINES)}
    patterns = _patterns(mapping)
    if not patterns:
        raise TailorbirdError(
            f"The mapping {mapping.name!r} names no files, only tables of a database. Ingest them by `tailorbird "
            "ingest sql --mapping … --url …`, or name the files as `file`."
        )
    if not paths:
        return {part: _at_location(mapping, part, own, command) for part, own in patterns.items()}
    matches: dict[str, set[str]] = {part: set() for part in patterns}
    for path in paths:
        for part, files in _match(mapping.name, patterns, path).items():
            matches[part].update(files)
    return {part: sorted(files) for part, files in matches.items()}


def _patterns(mapping: Mapping) -> Patterns:
    """Return the patterns of each part in files. Raises TailorbirdError for a part that is nowhere."""
    patterns: Patterns = {}
    for name in DATASETS:
        part = getattr(mapping, name)
        if part and not part.file and not part.sql:
            raise TailorbirdError(f"The mapping {mapping.name!r} names no file for {name}. Say which in its `file`.")
        if part and part.file:
            patterns[name] = [part.file] if isinstance(part.file, str) else part.file
    return patterns


def _at_location(mapping: Mapping, part: str, patterns: list[str], command: str) -> list[str]:
    """Return the files of a part at the mapping's location. Raises TailorbirdError if a pattern has none."""
    if mapping.location is None:
        raise TailorbirdError(f"The mapping {mapping.name!r} states no location. Give the files: {command} PATH…")
    matches: set[str] = set()
    for pattern in patterns:
        files = below(mapping.location, pattern, _endings(pattern))
        if not files:
            raise TailorbirdError(
                f"There is no file {mapping.location.rstrip('/')}/{pattern} for {part}. Check the mapping's `location` "
                f"and `file`, or give the files: {command} PATH…"
            )
        matches.update(files)
    return sorted(matches)


def _endings(pattern: str) -> tuple[str, ...]:
    """Return the endings of tables. JSON counts if the pattern names it: a folder may have other JSON files."""
    return (*TABLES, *JSON) if pattern.lower().endswith(JSON) else TABLES


def _refuse_other_kinds(file: str) -> None:
    """Refuse a local file of another kind, such as a workbook, because no name would make it fit."""
    path = Path(file)
    if path.is_file() and not is_csv(path) and not is_json(path):
        refuse_no_parquet(path)
    elif path.is_file():
        refuse_binary(path)


def _match(name: str, patterns: Patterns, path: str) -> FilesByPart:
    """Return the files at one path by part. Raises TailorbirdError if there are none, or one that fits no part."""
    if is_folder(path):
        matches = {
            part: [file for pattern in own for file in below(path, pattern, _endings(pattern))]
            for part, own in patterns.items()
        }
        if not any(matches.values()):
            raise TailorbirdError(
                f"No file in {path} is one that the mapping {name!r} names: {_listed(patterns)}. {_PATTERN}"
            )
        given = sorted({file for files in matches.values() for file in files})
        fitting = {file: [part for part, files in matches.items() if file in files] for file in given}
    else:
        given = at(path, _endings(path))
        if not given:
            raise TailorbirdError(no_file_message(path, _endings(path)))
        fitting = {file: _fitting(patterns, file) for file in given}
    for file, parts in fitting.items():
        if not parts:
            _refuse_other_kinds(file)
            raise TailorbirdError(
                f"{file} fits no part of the mapping {name!r}: {_listed(patterns)}. Rename it, or change `file` in the "
                f"mapping. {_PATTERN}"
            )
    return {part: [file for file, parts in fitting.items() if part in parts] for part in patterns}


def _fitting(patterns: Patterns, file: str) -> list[str]:
    if len({tuple(sorted(own)) for own in patterns.values()}) == 1:
        return list(patterns)  # one table with any name
    return [part for part, own in patterns.items() if any(names(pattern, file) for pattern in own)]


def _listed(patterns: Patterns) -> str:
    return "; ".join(f"{part}: {', '.join(own)}" for part, own in patterns.items())
