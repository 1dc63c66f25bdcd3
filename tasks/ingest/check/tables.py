"""Checks the first rows of one table: by the code that ingests it, up to the point at which rows would be stored."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from expectations import contract, limits
from expectations import items as item_promises
from expectations import users as user_promises
from expectations.rules import flags
from models import columns
from models.ingest.check import answer_suspicions, item_and_user_suspicions, suspicions
from models.ingest.check.several_currencies import amounts_of
from models.ingest.check.suspicions import Suspicion
from models.ingest.expressions.value_sources import column_of, columns_of, listed
from models.ingest.normalisation import Cleaned
from models.ingest.tabular import transform
from models.ingest.tabular.config import ItemsMapping, Mapping
from models.ingest.tabular.unreadable_cells import cells_of, merge_unreadable
from models.ingest.tabular.values import words
from tasks.ingest.batch_identity import part_of
from tasks.ingest.check import findings
from tasks.ingest.check.encodings import doubtful_encoding
from tasks.ingest.check.findings import TableFindings
from tasks.ingest.check.raw_rows import RawRows, set_keys, used_columns
from tasks.ingest.check.unconnected import Known, open_intake
from tasks.ingest.events.chunk_writer import Part
from tasks.ingest.events.tabular_parts import shaped
from tasks.ingest.quarantine.unreadable_lines import waiting_lines
from tasks.ingest.reference.read_reference import read_reference
from tasks.ingest.reference.row_triage import triage_reference
from tasks.ingest.reference.table_users import keyed_users
from tasks.ingest.validation import batch_profile, row_triage
from tasks.sources import csv_reader, table_files

CATALOGUE_ROWS: Final = table_files.CHUNK_ROWS
"""Items and users are read up to here: events are checked against them."""
_RULES: Final = {"items": item_promises.RULES, "users": user_promises.RULES}


def check_table(found: TableFindings, path: Path, mapping: Mapping, known: Known, most: int) -> None:
    """Fill in what the first rows of a file come to. Raises TailorbirdError when an ingest would refuse the file."""
    part = part_of(mapping, found.part)
    csv, required = table_files.csv_of(part), transform.kinds(part)
    found.suspicions += doubtful_encoding(path, csv)
    kinds = table_files.column_kinds(path, csv)
    found.columns = {name: [one for one in read if one in kinds] for name, read in used_columns(part).items()}
    found.unused = [name for name in kinds if name not in required]
    contract.check(found.file, kinds, 1, required, part.optional, table_files.hint(path, csv, required))
    most = most if found.part == "events" else CATALOGUE_ROWS
    chunk = next(table_files.chunks(path, transform.needed(part), most + 1, csv), None)
    if chunk is None:
        contract.check(found.file, kinds, 0, required, part.optional)
        return
    found.whole_file, chunk = len(chunk.rows) <= most, chunk.head(most)
    found.rows = len(chunk.rows) + len(chunk.misfits)
    dataset: Any = found.part
    if len(chunk.misfits) > limits.highest_quarantined(dataset, mapping.limits) * found.rows:
        csv_reader.refuse_misfits(path, csv)
    raw = RawRows(path, part, chunk)
    if found.part == "events":
        _check_events(found, path, chunk, raw, mapping, known)
    else:
        _check_reference(found, path, raw, mapping, known)
    found.broken += findings.misfit_lines([line.number for line in chunk.misfits], found.rows, raw.locate)


def _check_events(
    found: TableFindings, path: Path, chunk: table_files.Chunk, raw: RawRows, mapping: Mapping, known: Known
) -> None:
    intake = open_intake(mapping, known)
    part = shaped(intake, mapping, chunk)
    done = findings.judge_events(found, intake, part, raw.locate)
    keys = set_keys(part_of(mapping, "events"))
    codes = done.accepted[row_triage.USER_CODE].slice(0, findings.EXAMPLES)
    found.examples = findings.records(done.accepted, part.names[columns.USER_ID].take(codes).to_pylist(), keys)
    found.suspicions += _of_events(found, chunk.rows, part, mapping, known)
    found.suspicions += _of_constant_type(found, path, part_of(mapping, "events"), len(chunk.rows))
    known.amounts.append(amounts_of(part.events))


def _of_events(found: TableFindings, rows: pa.Table, read: Part, mapping: Mapping, known: Known) -> Iterator[Suspicion]:
    part, events = part_of(mapping, "events"), read.events
    yield from suspicions.unreadable_cells(merge_unreadable([read.unread]))
    if isinstance(part.occurred_at, str):
        cells = rows[part.occurred_at]
        if isinstance(part.time_format, str):
            yield from suspicions.swapped_dates(cells, part.time_format)
        yield from suspicions.ambiguous_times(cells, part.time_formats)
    if part.event_type:
        yield from suspicions.unmapped_types(events)
    if part.currency and columns_of([part.currency]):
        yield from suspicions.one_currency(events, column_of(part.currency))
    if known.whole_catalogue and len(known.items):
        yield from suspicions.unknown_items(events, known.items, part.item_id, listed(part.event_id))
    yield from _of_consent(rows, part)
    yield from suspicions.addresses_as_ids(read.names[columns.USER_ID])
    yield from suspicions.negative_quantities(events)
    yield from suspicions.unit_prices_as_values(events)
    conflicts = sum(rule["rows"] for rule in found.broken if rule["rule"] == row_triage.CONFLICT)
    repeated = found.counts["duplicate"] + conflicts
    yield from suspicions.many_duplicates(len(events), repeated, part.event_id is not None)


def _of_constant_type(found: TableFindings, path: Path, part: Any, rows: int) -> Iterator[Suspicion]:
    """Yield a guess from the columns that nothing uses, which are read only if all rows are purchases by a constant."""
    if part.constants.get("event_type") != columns.PURCHASE or not (found.unused and rows):
        return
    unused = next(table_files.chunks(path, found.unused, rows, table_files.csv_of(part))).rows
    yield from suspicions.constant_purchase(unused, sale=part.quantity is not None)


def _of_consent(rows: pa.Table, part: Any) -> Iterator[Suspicion]:
    if isinstance(part.consent, str):
        yield from answer_suspicions.unread_consent(part.consent, words(rows, part.consent), part.consent_words)


def _check_reference(found: TableFindings, path: Path, raw: RawRows, mapping: Mapping, known: Known) -> None:
    part: Any = part_of(mapping, found.part)
    dataset: Any = found.part
    names: list[pa.Table] = []
    stock: Counter[str] = Counter()

    def shape(rows: pa.Table) -> Cleaned:
        if isinstance(part, ItemsMapping):
            items = transform.items(rows, part, mapping.spelling)
            stock.update(cells_of(items.rows, columns.AVAILABLE))
            return items
        found.suspicions += _of_consent(rows, part)
        keyed, used = keyed_users(rows, part, known.installation.key)
        names.append(used)
        return keyed

    rules = limits.limited(dataset, _RULES[dataset], mapping.limits)
    read = read_reference(path, part, shape, rules, most=CATALOGUE_ROWS)
    key = columns.ITEM_ID if found.part == "items" else columns.USER_KEY
    done = triage_reference(read.rows, rules, pa.array([], pa.string()), key, getattr(part, "choices", {}))
    found.counts = read.counted(done.counts)
    lines = waiting_lines(read.misfits, read.places, known.installation.key)
    bad = [done.quarantined, *([lines] if lines is not None else [])]
    figures = {**found.counts, **read.profile, **batch_profile.of_quarantined(*bad), "cleaned": read.cleaned}
    found.refused = findings.refusal(
        findings.shares_of(read.sample, rules),
        rules,
        limits.bounds(dataset, mapping.limits),
        batch_profile.figures([figures], known.now),
        found.whole_file,
        dataset,
    )
    found.broken = findings.broken_rules(done.quarantined, read.rows, rules, raw.locate)
    found.suspicions += suspicions.unreadable_cells(one for one in read.unread if one.key != columns.AVAILABLE)
    if isinstance(part, ItemsMapping) and part.available:
        named = ", ".join(columns_of([part.available]))
        found.suspicions += answer_suspicions.unread_stock(named, stock, part.available_words)
    if not getattr(part, "choose", None):
        good = read.rows.filter(pa.array(~row_triage.unsound(flags(read.rows, rules))))
        place = partial(_place, raw)
        found.suspicions += item_and_user_suspicions.several_rows(good, key, columns.ROW, place, found.part == "items")
    if names:
        _remember_users(found, done.accepted, pa.concat_tables(names), mapping, known)
    else:
        _remember_items(found, done.accepted, part, known)
    found.suspicions += suspicions.addresses_as_traits(done.accepted)


def _place(raw: RawRows, number: int) -> str:
    where = raw.locate(number, "")
    return f"line {where['line']}" if "line" in where else f"row {where['row']}"


def _remember_items(found: TableFindings, rows: pa.Table, part: ItemsMapping, known: Known) -> None:
    ids = rows[columns.ITEM_ID].combine_chunks()
    sold = pc.fill_null(rows[columns.AVAILABLE], True).combine_chunks()
    known.items = pa.concat_arrays([known.items, ids])
    known.not_merchandise = pa.concat_arrays([known.not_merchandise, ids.filter(pc.invert(sold))])
    offered = rows.drop_columns(columns.AVAILABLE)  # here it says what is merchandise; the mapping's key is stock
    offered = offered.rename_columns({columns.IN_STOCK: columns.AVAILABLE})
    found.examples = findings.records(offered, keys=set_keys(part))
    found.suspicions += item_and_user_suspicions.empty_titles(rows)
    found.suspicions += suspicions.prices_in_cents(rows[columns.PRICE])


def _remember_users(found: TableFindings, rows: pa.Table, names: pa.Table, mapping: Mapping, known: Known) -> None:
    keys = rows[columns.USER_KEY].combine_chunks()
    if columns.CONSENT in rows.column_names:
        answers = pc.fill_null(rows[columns.CONSENT], mapping.consent != "opt-in").combine_chunks()
        known.agreed = pa.concat_arrays([known.agreed, keys.filter(answers)])
        known.refused = pa.concat_arrays([known.refused, keys.filter(pc.invert(answers))])
    ids = dict(zip(names[columns.USER_KEY].to_pylist(), names[columns.USER_ID].to_pylist(), strict=True))
    found.examples = findings.records(rows, [ids.get(key) for key in keys.slice(0, findings.EXAMPLES).to_pylist()])
    found.suspicions += suspicions.addresses_as_ids(names[columns.USER_ID])
