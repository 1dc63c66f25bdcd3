"""Checks a mapping on the beginning of its files: their columns, the results for rows, and suspicions."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypedDict

import pyarrow as pa

from expectations.batches import DATASETS, QUARANTINED_SHARE, bounds
from models.errors import TailorbirdError
from models.ingest.check import several_currencies, suspicions
from models.ingest.segment.segment_mapping import LineMapping
from models.ingest.source_config import SourceMapping
from models.ingest.tabular.table_mapping import Mapping
from models.primitives.json_types import JsonObject
from tasks.ingest.check.findings import BrokenRule, CheckContext, TableFindings
from tasks.ingest.check.tables import check_calls, check_table
from tasks.sources import locations
from tasks.sources.file_matching import LINE_PARTS, files_of
from tasks.sources.mapping_files import read

ROWS: Final = 5_000
"""The number of events that are read of each file."""
FILES: Final = 5
"""The number of files that are checked for each part of a mapping."""
_NO_EVENTS: Final = "This mapping has no events: nothing can be recommended from its rows alone."


class MappingCheck(TypedDict):
    """The result of a check."""

    mapping: str
    source: str
    accepted: bool
    """Whether an ingest would accept all files."""
    tables: list[JsonObject]
    """The findings on each file."""
    files: dict[str, int]
    """The number of files by part of the mapping."""
    notes: list[str]
    verdict: str
    next: str
    """The next command."""


def check_mapping(
    name: str, paths: Sequence[str] = (), overrides: dict[str, str] | None = None, most: int = ROWS
) -> MappingCheck:
    """Check a mapping on the beginning of its files, without services and without storing anything.

    Raises TailorbirdError if the mapping cannot be used or a path has no file.
    """
    mapping, context = read(name, overrides), CheckContext()
    for dataset in DATASETS:
        bounds(dataset, mapping.limits)
    parts = files_of(mapping, paths, f"tailorbird check {shlex.quote(name)}")
    tables: list[TableFindings] = []
    with TemporaryDirectory(prefix="tailorbird-check-") as room:
        for part, files in parts.items():
            context.whole_catalogue = context.whole_catalogue and part != "items"
            tables += [_check(part, file, mapping, context, Path(room), most) for file in _sample(files)]
            if part == "items":
                context.whole_catalogue = 0 < len(files) <= FILES and all(one.whole_file for one in tables)
    _drop_used_elsewhere(tables)
    _add_amounts(tables, mapping, context)
    accepted = bool(tables) and not any(one.refused for one in tables)
    has_events = not {*LINE_PARTS, "events"}.isdisjoint(parts)
    verdict, following = _next(name, paths, overrides or {}, accepted, tables, has_events)
    return {
        "mapping": name,
        "source": mapping.name,
        "accepted": accepted,
        "tables": [one.as_dict() for one in tables],
        "files": {part: len(files) for part, files in parts.items()},
        "notes": _notes(parts, context, mapping),
        "verdict": verdict,
        "next": following,
    }


def _check(
    part: str, file: str, mapping: Mapping | LineMapping, context: CheckContext, room: Path, most: int
) -> TableFindings:
    """Return the findings on one file, with the reason if an ingest would refuse it."""
    table = TableFindings(part, file)
    try:
        with locations.fetched(file, room) as path:
            if isinstance(mapping, LineMapping):
                check_calls(table, path, mapping, context)
            else:
                check_table(table, path, mapping, context, most)
    except TailorbirdError as error:
        table.refused = str(error)
    table.refused = _caused(table, table.refused)
    table.refused_with_consent = _caused(table, table.refused_with_consent)
    return table


def _sample(files: Sequence[str]) -> Sequence[str]:
    """Return at most `FILES` files: the first, the last and some between them."""
    if len(files) <= FILES:
        return files
    return [files[place * (len(files) - 1) // (FILES - 1)] for place in range(FILES)]


def _drop_used_elsewhere(tables: Sequence[TableFindings]) -> None:
    """Remove columns from `unused` that another part uses of the same file."""
    for one in tables:
        used = {name for other in tables if other.file == one.file for read in other.columns.values() for name in read}
        one.unused = [name for name in one.unused if name not in used]


def _add_amounts(tables: Sequence[TableFindings], mapping: SourceMapping, context: CheckContext) -> None:
    """Add suspicions about the amounts of all files: several currencies, and a catalogue with other prices."""
    if context.amounts:
        table = next(one for one in tables if one.part in (*LINE_PARTS, "events"))
        table.suspicions += several_currencies.suspicions(pa.concat_tables(context.amounts), mapping)
    if isinstance(mapping, Mapping) and context.prices and context.purchases:
        prices, purchases = pa.concat_tables(context.prices), pa.concat_tables(context.purchases)
        table = next(one for one in tables if one.part == "items")
        table.suspicions += suspicions.prices_nobody_paid(prices, purchases, mapping)


def _notes(parts: dict[str, list[str]], context: CheckContext, mapping: SourceMapping) -> list[str]:
    notes = [
        f"{FILES} of {len(files):,} files for {part} were looked at."
        for part, files in parts.items()
        if len(files) > FILES
    ]
    notes += [f"No file for {part} is there." for part, files in parts.items() if not files]
    if parts.keys().isdisjoint(LINE_PARTS) and not context.whole_catalogue:
        notes.append(f"Item ids of events were not compared with a catalogue: {_unknown_items(parts, mapping)}")
    return notes


def _unknown_items(parts: dict[str, list[str]], mapping: SourceMapping) -> str:
    """Return why no catalogue was compared, and how an ingest treats unknown item ids."""
    why = "these files hold no whole one" if "items" in parts else "this mapping has no [items]"
    if mapping.accepts_unknown_items:
        return (
            f"{why}. An ingest takes ids that no catalogue has, and such items have no title. To let their rows wait "
            'instead, write unknown_items = "quarantine" above the first part of the mapping.'
        )
    return f"{why}. In an ingest, rows whose item no ingested catalogue has wait as item_not_in_catalogue."


def _next(
    name: str,
    paths: Sequence[str],
    overrides: dict[str, str],
    accepted: bool,
    tables: Sequence[TableFindings],
    has_events: bool,
) -> tuple[str, str]:
    """Return what an ingest would do, and the next command."""
    flags = [word for key, value in overrides.items() if key in _FLAGS for word in (_FLAGS[key], value)]
    files = shlex.join([name, *paths, *flags])
    check, ingest = f"tailorbird check {files}", f"tailorbird ingest {files}"
    want, loss = _want_of_consent(tables), expected_loss(tables)
    refused = next((one.refused_with_consent for one in tables if one.refused_with_consent), None)
    steps = [
        (not accepted, "An ingest would refuse the files named above. Correct the mapping or the files, then:", check),
        (
            want and refused,
            f"No event would come in. With consent an ingest would refuse the file: {refused}. Correct the mapping or "
            "the file, then:",
            check,
        ),
        (
            want == suspicions.UNDECLARED,
            "No event would come in as the mapping stands. Only if every user agreed, next:",
            f'{ingest} --consent given --consent-note "…"',
        ),
        (
            want == suspicions.ELSEWHERE,
            "An ingest would accept these rows of users whose stored answer allows it. Next:",
            ingest,
        ),
        (
            want == suspicions.NO_AGREEMENT,
            "No event would come in. If users did agree, correct the mapping, then:",
            check,
        ),
        (not has_events, f"{_NO_EVENTS} An ingest would accept these rows. Next:", ingest),
        (loss, f"{loss} Then, or to leave them there:", ingest),
        (True, "An ingest would accept these rows. Next:", ingest),
    ]
    return next((verdict, command) for holds, verdict, command in steps if holds)


def _want_of_consent(tables: Sequence[TableFindings]) -> str | None:
    """Return why no event is accepted, or None if some are."""
    events = [table for table in tables if table.part not in ("items", "users")]
    if any(table.counts.get("accepted") for table in events):
        return None
    reasons = {one.id for table in events for one in table.suspicions}
    return next((reason for reason in suspicions.REASONS if reason in reasons), None)


_FLAGS: Final = {"consent": "--consent", "consent_note": "--consent-note", "from": "--from", "to": "--to"}


_MUCH: Final = 0.01
_ON_PURPOSE: Final = ("robot", "internal_traffic")


def expected_loss(tables: Sequence[TableFindings]) -> str | None:
    """Return a sentence on the table with the largest expected loss and its fix; None if all losses are small.

    Robots and internal traffic do not count, because they are excluded on purpose.
    """
    shares = [(_lost(one) / one.counts["read"], one) for one in tables if one.counts.get("read")]
    share, table = max(shares, key=lambda entry: entry[0], default=(0.0, None))
    worst = _worst(table) if table else None
    if table is None or worst is None or share <= _MUCH:
        return None
    lost = f"{share:.1%} of the {table.part} ({_lost(table):,} of {table.counts['read']:,})"
    return (
        f"An ingest would accept these rows, and put {lost} into quarantine, mostly as {worst['rule']}. "
        f"First: {_fix(table, worst['rule'], worst['advice'])}"
    )


def _caused(table: TableFindings, refused: str | None) -> str | None:
    """Put the rule that most rows break, and its fix, before the reason why an ingest would refuse the table."""
    worst = _worst(table)
    if not (refused and worst and any(name in refused for name in (QUARANTINED_SHARE, worst["rule"]))):
        return refused
    rows = f"{worst['rows']:,} of {table.counts['read']:,} rows"
    fix = _fix(table, worst["rule"], worst["advice"])
    return f"{rows} would wait in quarantine as {worst['rule']}. First: {fix} {refused}"


def _worst(table: TableFindings) -> BrokenRule | None:
    """Return the rule that most rows of a table break, except rules that exclude rows on purpose."""
    rules = [rule for rule in table.broken if rule["rule"] not in _ON_PURPOSE]
    return max(rules, key=lambda rule: rule["rows"], default=None)


def _lost(table: TableFindings) -> int:
    excluded = sum(rule["rows"] for rule in table.broken if rule["rule"] in _ON_PURPOSE)
    return max(0, table.counts.get("quarantined", 0) - excluded)


def _fix(table: TableFindings, rule: str, advice: str) -> str:
    """Return the settings that would read the cells of a rule, or else the advice on the rule."""
    key = f"({rule.removesuffix('_unreadable')})"
    written = [one.write for one in table.suspicions if one.id == "unreadable_cells" and key in one.says and one.write]
    if not written:
        return advice
    ways = (" and ".join(way.splitlines()) for way in written[0].split("\n# or\n"))
    return f"write {' or '.join(ways)} in [{table.part}]."
