"""Checks the first calls of a Segment export: by the code that ingests them, up to where they would be stored."""

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from models import columns
from models.ingest.check import suspicions
from models.ingest.check.rule_advice import advice
from models.ingest.check.several_currencies import amounts_of
from models.ingest.check.suspicions import Suspicion
from models.ingest.draft.event_words import event_type_of
from models.ingest.draft.mapping_text import key, toml
from models.ingest.segment.config import SegmentMapping
from tasks.ingest.check import findings
from tasks.ingest.check.findings import TableFindings
from tasks.ingest.check.unconnected import Known, open_intake
from tasks.ingest.entity_updates.apply import ITEM, TRAITS
from tasks.ingest.events.segment_parts import parts_of
from tasks.ingest.validation import row_triage
from tasks.sources import line_reader

_BYTES: Final = 4 << 20
"""Of a file, read at once: some thousands of calls."""
_MOST_NAMED: Final = 20


def check_calls(found: TableFindings, path: Path, mapping: SegmentMapping, known: Known) -> None:
    """Fill in what the first calls of a file come to. Raises TailorbirdError when the file cannot be read."""
    intake = open_intake(mapping, known)
    part, read = next(parts_of(intake, mapping, path, found.file, _BYTES))
    found.whole_file, found.rows = read >= path.stat().st_size, part.read
    done = findings.judge_events(found, intake, part, lambda number, _column: {"row": number + 1})
    known.amounts.append(amounts_of(part.events))
    if part.unreadable is not None:
        found.broken += _unreadable(part.unreadable, part.read)
    codes = done.accepted[row_triage.USER_CODE].slice(0, findings.EXAMPLES)
    found.examples = findings.records(done.accepted, part.names[columns.USER_ID].take(codes).to_pylist())
    said = list(islice((one for one in part.updates(intake) if one.kind in (ITEM, TRAITS)), findings.EXAMPLES))
    found.examples += [{"item_id": one.key, **one.payload} for one in said if one.kind == ITEM]
    found.suspicions += suspicions.addresses_as_ids(part.names[columns.USER_ID])
    found.suspicions += _unknown_names(path, mapping)


def _unreadable(rows: pa.Table, read: int) -> list[dict[str, Any]]:
    reasons = Counter(rows[row_triage.REASON].to_pylist())
    places: dict[str, list[dict[str, Any]]] = {}
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


def _unknown_names(path: Path, mapping: SegmentMapping) -> list[Suspicion]:
    """Return the names of track calls that stand for nothing, with a translation for those that are known."""
    names: Counter[str] = Counter()
    for line in next(line_reader.chunks(path, _BYTES))[line_reader.TEXT].to_pylist():
        try:
            call = json.loads(line)
        except (ValueError, RecursionError):
            continue
        name = call.get("event") if isinstance(call, dict) and call.get("type") == "track" else None
        if isinstance(name, str):
            names[name] += 1
    meanings = {name.casefold() for name in mapping.meanings()}
    unknown = [(name, count) for name, count in names.most_common() if name.casefold() not in meanings]
    if not unknown:
        return []
    named = ", ".join(f"{name!r} ({count:,})" for name, count in unknown[:_MOST_NAMED])
    write = [f"{key(name)} = {toml(event_type_of(name) or '…')}" for name, _ in unknown[:_MOST_NAMED]]
    says = f"{len(unknown):,} names of events stand for no interaction and are counted as routed: {named}."
    return [Suspicion("event_types_not_translated", says, "\n".join(["[events]", *write]))]
