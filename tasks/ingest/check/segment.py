"""Checks the first lines of a Segment or Mixpanel export with the code that ingests them, without storing them."""

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Final

import pyarrow as pa

from models import columns
from models.ingest.check import suspicions
from models.ingest.check.advice import advice
from models.ingest.check.several_currencies import amounts_of
from models.ingest.check.suspicions import Suspicion
from models.ingest.segment.event_types import event_name
from models.ingest.segment.line_mapping import LineMapping
from tasks.ingest.check import findings
from tasks.ingest.check.findings import BrokenRule, RowPlace, TableFindings
from tasks.ingest.check.unconnected import CheckContext, open_context
from tasks.ingest.events.chunk_readers import read_lines
from tasks.ingest.rows.apply import ITEM, TRAITS
from tasks.ingest.validation import row_triage
from tasks.sources import line_reader

_BYTES: Final = 4 << 20
"""Bytes that are read of a file: some thousands of calls."""
_MOST_NAMES: Final = 20


def check_calls(table: TableFindings, path: Path, mapping: LineMapping, context: CheckContext) -> None:
    """Add the findings on the first calls of a file. Raises TailorbirdError if the file cannot be read."""
    batch, run = open_context(mapping, context)
    chunk, read = next(read_lines(batch, mapping, path, table.file, _BYTES))
    table.whole_file, table.rows = read >= path.stat().st_size, chunk.read
    triaged = findings.check_events(table, batch, run, chunk, lambda number, _column: {"row": number + 1})
    context.amounts.append(amounts_of(chunk.events))
    if chunk.unreadable is not None:
        table.broken += _unreadable(chunk.unreadable, chunk.read)
    codes = triaged.accepted[row_triage.USER_CODE].slice(0, findings.EXAMPLES)
    table.examples = findings.records(triaged.accepted, chunk.users[columns.USER_ID].take(codes).to_pylist())
    entities = (update for update in chunk.updates(run) if update.kind in (ITEM, TRAITS))
    shown = list(islice(entities, findings.EXAMPLES))
    table.examples += [{"item_id": update.key, **update.payload} for update in shown if update.kind == ITEM]
    table.suspicions += suspicions.addresses_as_ids(chunk.users[columns.USER_ID])
    table.suspicions += _unknown_names(path, mapping)


def _unreadable(rows: pa.Table, read: int) -> list[BrokenRule]:
    """Return the unreadable lines by their fault."""
    reasons = Counter(rows[row_triage.REASON].to_pylist())
    places: dict[str, list[RowPlace]] = {}
    for line, reason in zip(rows["line"].to_pylist(), rows[row_triage.REASON].to_pylist(), strict=True):
        places.setdefault(reason, []).append({"line": line})
    return [
        {
            "rule": f"{row_triage.UNREADABLE}: {reason}",
            "meaning": "the line is no call",
            "advice": advice(row_triage.UNREADABLE),
            "rows": count,
            "of": read,
            "examples": places[reason][: findings.EXAMPLES],
        }
        for reason, count in reasons.most_common()
    ]


def _unknown_names(path: Path, mapping: LineMapping) -> list[Suspicion]:
    """Return the names of events without a meaning in the mapping, with proposed translations."""
    names: Counter[str] = Counter()
    for line in next(line_reader.chunks(path, _BYTES))[line_reader.TEXT].to_pylist():
        try:
            call = json.loads(line)
        except (ValueError, RecursionError):
            continue
        name = mapping.event_name_of(call) if isinstance(call, dict) else None
        if isinstance(name, str):
            names[name] += 1
    meanings = mapping.meanings()
    unknown = [name for name, _ in names.most_common() if event_name(name) not in meanings]
    if not unknown:
        return []
    most = unknown[:_MOST_NAMES]
    listed = suspicions.with_counts(names, most)
    sentence = f"{len(unknown):,} names of events stand for no interaction and are counted as routed: {listed}."
    write = "\n".join(["[events]", *suspicions.translations(most)])
    return [Suspicion("event_types_not_translated", sentence, write)]
