"""Checks the first rows of one table with the code that ingests it, without storing them."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from expectations.batches import (
    AHEAD_S,
    IN_CATALOGUE,
    OCCURRED_S,
    RULES,
    Dataset,
    check_contract,
    highest_quarantined,
    limited,
)
from expectations.rules import flags
from models import columns
from models.ingest.check import suspicions
from models.ingest.check.advice import LINE_UNREADABLE
from models.ingest.check.several_currencies import amounts_of
from models.ingest.check.suspicions import Suspicion
from models.ingest.draft.mapping_text import toml
from models.ingest.segment.event_types import event_name
from models.ingest.segment.segment_mapping import LineMapping
from models.ingest.tabular import transform
from models.ingest.tabular.mapping_keys import Source, column_of, columns_of, listed
from models.ingest.tabular.table_mapping import EventsMapping, ItemsMapping, Mapping, UsersMapping
from models.ingest.tabular.transform import Cleaned
from models.ingest.tabular.unreadable_cells import cells_of, merge_unreadable
from models.ingest.tabular.values import words
from models.ingest.text_files import NAMES, guessed, same
from models.primitives.arrow_types import ArrowColumn
from tasks.ingest.check import findings
from tasks.ingest.check.findings import BrokenRule, CheckContext, Locate, RowPlace, TableFindings, open_context
from tasks.ingest.events.chunk_readers import read_lines, shape_chunk
from tasks.ingest.events.classification import EventChunk, no_texts
from tasks.ingest.reference.read_reference import keyed_users, read_reference, reference_profile, triage_reference
from tasks.ingest.rows.apply import ITEM, TRAITS
from tasks.ingest.rows.quarantine import quarantined_lines
from tasks.ingest.rows.variants import no_variants, variants_of, with_variants
from tasks.ingest.validation import row_triage
from tasks.sources import csv_reader, line_reader, table_files
from tasks.sources.csv_reader import Csv
from tasks.sources.mapping_files import part_of

CATALOGUE_ROWS: Final = table_files.CHUNK_ROWS
"""Items and users are read up to here: events are checked against them."""


_KEYS_OF_COLUMNS = {
    IN_CATALOGUE: columns.ITEM_ID,
    OCCURRED_S: columns.OCCURRED_AT,
    AHEAD_S: columns.OCCURRED_AT,
    columns.USER_KEY: columns.USER_ID,
}
"""Columns that rules check, and the keys of a mapping that fill them."""
_LONGEST_CELL = 200


def used_columns(part: transform.Part) -> dict[str, list[str]]:
    """Return the columns of the file that each key of a part reads."""
    columns_by_key = {name: columns_of(listed(getattr(part, name))) for name in (*part.texts, *part.numbers)}
    columns_by_key |= {"conditions": columns_of(part.conditions)}
    return {name: read for name, read in columns_by_key.items() if read}


def set_keys(part: transform.Part) -> set[str]:
    """Return the keys of a record that a part sets: from columns, or as constants."""
    return {name for name in type(part).model_fields if getattr(part, name)} | set(getattr(part, "constants", {}))


def locator(path: Path, part: transform.Part, chunk: table_files.Chunk) -> Locate:
    """Return a function that finds the first rows of `path` by their numbers, as the part reads them."""
    used, count = used_columns(part), len(chunk.rows) + len(chunk.misfits)
    lines = csv_reader.first_lines(path, table_files.csv_of(part), count) if csv_reader.is_csv(path) else []

    def locate(number: int, column: str) -> RowPlace:
        place = RowPlace(line=lines[number]) if number < len(lines) else RowPlace(row=number + 1)
        at = int(np.searchsorted(chunk.numbers, number))
        if at < len(chunk.numbers) and chunk.numbers[at] == number:
            names = used.get(_KEYS_OF_COLUMNS.get(column, column), [])
            place["cells"] = {name: _shown(chunk.rows[name][at]) for name in names}
        return place

    return locate


def _shown(cell: pa.Scalar) -> str | None:
    try:
        value = cell.as_py()
    except (OverflowError, ValueError):  # a time beyond the years of Python
        value = cell.cast(pa.string()).as_py()
    if isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"
    return None if value is None else str(value)[:_LONGEST_CELL]


def check_table(table: TableFindings, path: Path, mapping: Mapping, context: CheckContext, most: int) -> None:
    """Add the findings on the first rows of a file. Raises TailorbirdError if an ingest would refuse the file."""
    dataset = cast(Dataset, table.part)
    part = part_of(mapping, dataset)
    csv, required = table_files.csv_of(part), transform.kinds(part)
    table.suspicions += doubtful_encoding(path, csv)
    kinds = table_files.column_kinds(path, csv)
    table.columns = {name: [one for one in read if one in kinds] for name, read in used_columns(part).items()}
    table.unused = [name for name in kinds if name not in required]
    check_contract(table.file, kinds, 1, required, part.optional, table_files.hint(path, csv, required))
    most = most if table.part == "events" else CATALOGUE_ROWS
    chunk = next(table_files.chunks(path, part.read, most + 1, csv), None)
    if chunk is None:
        check_contract(table.file, kinds, 0, required, part.optional)
        return
    table.whole_file, chunk = len(chunk.rows) <= most, chunk.head(most)
    table.rows = len(chunk.rows) + len(chunk.misfits)
    if len(chunk.misfits) > highest_quarantined(dataset, mapping.limits) * table.rows:
        table_files.row_count(path, csv)  # it tolerates no misfit line
    locate = locator(path, part, chunk)
    if table.part == "events":
        _check_events(table, path, chunk, locate, mapping, context)
    else:
        _check_reference(table, path, locate, mapping, context)
    if chunk.misfits:
        places = [locate(line.number, "") for line in chunk.misfits[: findings.EXAMPLES]]
        table.broken.append(findings.broken_rule(LINE_UNREADABLE, len(chunk.misfits), table.rows, places))


def _check_events(
    table: TableFindings, path: Path, chunk: table_files.Chunk, locate: Locate, mapping: Mapping, context: CheckContext
) -> None:
    batch, run = open_context(mapping, context)
    events = shape_chunk(batch.installation, mapping, chunk)
    triaged = findings.check_events(table, batch, run, events, locate)
    part = part_of(mapping, "events")
    codes = triaged.accepted[row_triage.USER_CODE].slice(0, findings.EXAMPLES)
    users = events.users[columns.USER_ID].take(codes).to_pylist()
    table.examples = findings.records(triaged.accepted, users, set_keys(part))
    table.suspicions += _of_events(table, chunk.rows, events, mapping, context)
    table.suspicions += _of_constant_type(table, path, part, len(chunk.rows))
    context.amounts.append(amounts_of(events.events))
    amounts = (columns.ITEM_ID, columns.EVENT_TYPE, columns.VALUE, columns.QUANTITY)
    context.purchases.append(triaged.accepted.select(amounts))


def _of_events(
    table: TableFindings, rows: pa.Table, chunk: EventChunk, mapping: Mapping, context: CheckContext
) -> Iterator[Suspicion]:
    part, events = part_of(mapping, "events"), chunk.events
    yield from suspicions.unreadable_cells(merge_unreadable([chunk.unread]))
    if isinstance(part.occurred_at, str):
        cells = rows[part.occurred_at]
        if isinstance(part.time_format, str):
            yield from suspicions.swapped_dates(cells, part.time_format)
        yield from suspicions.ambiguous_times(cells, part.time_formats)
    if part.event_type:
        yield from suspicions.unmapped_types(events)
    if part.currency and columns_of([part.currency]):
        yield from suspicions.one_currency(events, column_of(part.currency))
    if context.whole_catalogue and len(context.items):
        yield from suspicions.unknown_items(events, context.items, cast(Source, part.item_id), listed(part.event_id))
    yield from _of_consent(rows, part)
    yield from _of_user_ids(chunk.users[columns.USER_ID], part)
    yield from suspicions.negative_quantities(events, part)
    yield from suspicions.unit_prices_as_values(events)
    conflicts = sum(rule["rows"] for rule in table.broken if rule["rule"] == row_triage.CONFLICT)
    repeated = table.counts["duplicate"] + conflicts
    yield from suspicions.many_duplicates(len(events), repeated, part.event_id is not None)


def _of_constant_type(table: TableFindings, path: Path, part: EventsMapping, rows: int) -> Iterator[Suspicion]:
    """Yield a suspicion from unused columns, which are read only if a constant makes all rows purchases."""
    if part.constants.get("event_type") != columns.PURCHASE or not (table.unused and rows):
        return
    unused = next(table_files.chunks(path, table.unused, rows, table_files.csv_of(part))).rows
    yield from suspicions.constant_purchase(unused, sale=part.quantity is not None)


def _of_consent(rows: pa.Table, part: EventsMapping | UsersMapping) -> Iterator[Suspicion]:
    if isinstance(part.consent, str):
        yield from suspicions.unread_consent(part.consent, words(rows, part.consent), part.consent_words)


def _of_user_ids(ids: ArrowColumn, part: EventsMapping | UsersMapping) -> Iterator[Suspicion]:
    yield from suspicions.addresses_as_ids(ids)
    yield from suspicions.user_ids_of_several_spellings(ids, listed(part.user_id))


def _check_reference(table: TableFindings, path: Path, locate: Locate, mapping: Mapping, context: CheckContext) -> None:
    dataset = cast(Dataset, table.part)
    part = part_of(mapping, dataset)
    names: list[pa.Table] = []
    stock: Counter[str] = Counter()

    def shape(rows: pa.Table) -> Cleaned:
        if isinstance(part, ItemsMapping):
            items = transform.items(rows, part, mapping.spelling)
            stock.update(cells_of(items.rows, columns.AVAILABLE))
            return items
        assert isinstance(part, UsersMapping)
        table.suspicions += _of_consent(rows, part)
        keyed, used = keyed_users(rows, part, context.installation.key)
        names.append(used)
        return keyed

    rules = limited(dataset, RULES[dataset], mapping.limits)
    read = read_reference(path, part, shape, rules, most=CATALOGUE_ROWS)
    key = columns.ITEM_ID if table.part == "items" else columns.USER_KEY
    triaged = triage_reference(read.rows, rules, no_texts(), key, getattr(part, "choices", {}))
    table.counts = read.counted(triaged.counts)
    lines = quarantined_lines(read.misfits, read.numbering, context.installation.key)
    bad = [triaged.quarantined, *([lines] if lines is not None else [])]
    figures = row_triage.figures([reference_profile(read, table.counts, bad)], context.now)
    table.refused = findings.refusal(table, dataset, mapping.limits, rules, read.sample, figures)
    table.broken = findings.broken_rules(triaged.quarantined, read.rows, rules, locate)
    table.suspicions += suspicions.unreadable_cells(one for one in read.unread if one.key != columns.AVAILABLE)
    if isinstance(part, ItemsMapping) and part.available:
        read_columns = ", ".join(columns_of([part.available]))
        table.suspicions += suspicions.unread_stock(read_columns, stock, part.available_words)
    if not getattr(part, "choose", None):
        good = read.rows.filter(pa.array(~row_triage.breaks_rule(flags(read.rows, rules))))
        place = partial(_place, locate)
        table.suspicions += suspicions.several_rows(good, key, columns.ROW, place, table.part == "items")
    if isinstance(part, ItemsMapping):
        _add_items(table, triaged.accepted, part, context)
    else:
        _add_users(table, triaged.accepted, pa.concat_tables(names), mapping, context)
    table.suspicions += suspicions.addresses_as_traits(triaged.accepted)


def _place(locate: Locate, number: int) -> str:
    place = locate(number, "")
    return f"line {place['line']}" if "line" in place else f"row {place['row']}"


def _add_items(table: TableFindings, rows: pa.Table, part: ItemsMapping, context: CheckContext) -> None:
    ids = rows[columns.ITEM_ID].combine_chunks()
    sold = pc.fill_null(rows[columns.AVAILABLE], True).combine_chunks()
    variants = no_variants()
    if part.variant_ids:
        stated = rows[columns.ATTRIBUTES].combine_chunks().field(columns.VARIANT_IDS)
        variants = variants_of(pa.table([ids, stated], [columns.ITEM_ID, columns.VARIANT_IDS]), ids)
    context.items = with_variants(pa.concat_arrays([context.items, ids]), variants)
    unsold = with_variants(ids.filter(pc.invert(sold)), variants)
    context.not_merchandise = pa.concat_arrays([context.not_merchandise, unsold])
    # In the rows `available` means merchandise, and the mapping's key of that name means stock.
    offered = rows.drop_columns(columns.AVAILABLE)
    offered = offered.rename_columns({columns.IN_STOCK: columns.AVAILABLE})
    table.examples = findings.records(offered, keys=set_keys(part))
    table.suspicions += suspicions.empty_titles(rows)
    table.suspicions += suspicions.prices_in_cents(rows[columns.PRICE])
    context.prices.append(rows.select([columns.ITEM_ID, columns.PRICE]))


def _add_users(table: TableFindings, rows: pa.Table, names: pa.Table, mapping: Mapping, context: CheckContext) -> None:
    keys = rows[columns.USER_KEY].combine_chunks()
    if columns.CONSENT in rows.column_names:
        answers = pc.fill_null(rows[columns.CONSENT], mapping.consent != "opt-in").combine_chunks()
        context.agreed = pa.concat_arrays([context.agreed, keys.filter(answers)])
        context.refused = pa.concat_arrays([context.refused, keys.filter(pc.invert(answers))])
    ids = dict(zip(names[columns.USER_KEY].to_pylist(), names[columns.USER_ID].to_pylist(), strict=True))
    table.examples = findings.records(rows, [ids.get(key) for key in keys.slice(0, findings.EXAMPLES).to_pylist()])
    table.suspicions += _of_user_ids(names[columns.USER_ID], part_of(mapping, "users"))


def doubtful_encoding(path: Path, csv: Csv) -> Iterable[Suspicion]:
    """Yield a suspicion if another encoding fits better, or if the mapping does not state the used one."""
    if not csv_reader.is_csv(path) or (used := csv_reader.encoding_of(path, csv)).startswith("utf"):
        return
    guess = guessed(csv_reader.beginning(path))
    if guess is None or (csv.encoding and guess.read(used) == guess.read(guess.encoding)):
        return
    read = {"name": NAMES.get(used, used), "word": guess.read(used)}
    if same(used, guess.encoding) or guess.read(used) == guess.read(guess.encoding):
        yield Suspicion.of("encoding_not_stated", f"encoding = {toml(read['name'].lower())}", **read)
        return
    others = "".join(f"\n# or {toml(one)}: {guess.read(one)}" for one in guess.others if not same(one, used))
    read |= {"other": guess.encoding, "other_word": guess.read(guess.encoding)}
    yield Suspicion.of("encoding_may_be_another", f"encoding = {toml(guess.encoding)}{others}", **read)


_BYTES: Final = 4 << 20
"""Bytes that are read of a file: some thousands of calls."""


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
    entities = (update for update in chunk.updates(batch, run) if update.kind in (ITEM, TRAITS))
    shown = list(islice(entities, findings.EXAMPLES))
    table.examples += [{"item_id": update.key, **update.payload} for update in shown if update.kind == ITEM]
    table.suspicions += suspicions.addresses_as_ids(chunk.users[columns.USER_ID])
    table.suspicions += _unknown_names(path, mapping)


def _unreadable(rows: pa.Table, read: int) -> list[BrokenRule]:
    """Return the unreadable lines by their fault."""
    places: dict[str, list[RowPlace]] = {}
    for line, reason in zip(rows["line"].to_pylist(), rows[row_triage.REASON].to_pylist(), strict=True):
        places.setdefault(reason, []).append({"line": line})
    broken = [(f"{row_triage.UNREADABLE}: {reason}", lines) for reason, lines in places.items()]
    broken.sort(key=lambda entry: -len(entry[1]))
    return [findings.broken_rule(rule, len(lines), read, lines, "the line is no call") for rule, lines in broken]


def _unknown_names(path: Path, mapping: LineMapping) -> Iterator[Suspicion]:
    """Yield the names of events without a meaning in the mapping, with proposed translations."""
    names: Counter[str] = Counter()
    meanings = mapping.meanings()
    for line in next(line_reader.chunks(path, _BYTES))[line_reader.TEXT].to_pylist():
        try:
            call = json.loads(line)
        except (ValueError, RecursionError):
            continue
        name = mapping.event_name_of(call) if isinstance(call, dict) else None
        if isinstance(name, str) and event_name(name) not in meanings:
            names[name] += 1
    yield from suspicions.untranslated("event_types_not_translated.names", names, "events")
