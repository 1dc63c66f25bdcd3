"""What every ingest does around its rows: name the batch, check its contract, judge it as a whole."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from expectations import contract
from expectations.rules import RowRule, row_suite
from infra.identity import pseudonyms
from models import columns
from models.shapes import tabular
from models.shapes.mapping import EventsMapping, ItemsMapping, Mapping, UsersMapping
from tasks import ledger, quality
from tasks.sources import files

T = TypeVar("T")
SAMPLE_ROWS = 20_000
"""About how many rows of a batch its suite looks at."""
Part = EventsMapping | ItemsMapping | UsersMapping
Bounds = dict[str, tuple[float | None, float | None]]


@dataclass(frozen=True)
class Promises:
    """What a data set promises: per row, and for a batch as a whole."""

    rules: tuple[RowRule, ...]
    bounds: Bounds


def batch_of(mapping: Mapping, part: Part, dataset: str) -> tuple[Path, ledger.Batch]:
    """The file of a part of the mapping, checked against its contract, and the batch that its content makes."""
    path = files.locate(mapping.location, part.file)
    csv, required = files.csv_of(part), tabular.kinds(part)
    rows = files.row_count(path, csv, required)
    contract.check(str(path), files.column_kinds(path, csv), rows, required, part.optional)
    meaning = hashlib.sha256(mapping.model_dump_json(exclude={"location"}).encode()).hexdigest()
    batch_id = f"{mapping.name}-{dataset}-{files.digest(path)[:12]}-{meaning[:4]}"
    return path, ledger.Batch(batch_id, dataset, mapping.name, mapping.location, mapping.consent_note)


def pseudonymised(rows: pa.Table, key: bytes) -> tuple[pa.Table, dict[str, str]]:
    """The rows with `user_key` in place of `user_id`, and the map that was used."""
    ids = rows[columns.USER_ID].combine_chunks().dictionary_encode()
    raw = ids.dictionary.to_pylist()
    names = pseudonyms(raw, key)
    keys = pa.array([names[i] for i in raw], pa.string()).take(ids.indices)
    return rows.drop_columns([columns.USER_ID]).add_column(0, columns.USER_KEY, keys), names


def ahead(source: Iterator[T]) -> Iterator[T]:
    """The same elements, the next one made in a thread of its own while this one is worked on."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, source, None)
        while (element := coming.result()) is not None:
            coming = pool.submit(next, source, None)
            yield element


def spread(rows: pa.Table, size: int) -> pa.Table:
    """A sample of `rows` in even steps, so that no part of the file is overlooked."""
    step = max(1, len(rows) // size)
    return rows.take(pa.array(range(0, len(rows), step), pa.int64()))


def judge(dataset: str, promises: Promises, sample: pa.Table, profiles: Sequence[dict[str, Any]]) -> quality.Findings:
    """What Great Expectations finds in a sample of the rows and in the batch's profile."""
    rows = quality.validate(row_suite(f"{dataset} rows", promises.rules), sample)
    profile = contract.profile_suite(f"{dataset} batch", promises.bounds)
    return rows + quality.validate(profile, quality.profile_frame(profiles))


def time_span(rows: pa.Table) -> dict[str, str | None]:
    """When the first and the last of these events occurred."""
    span = pc.min_max(rows[columns.OCCURRED_AT]).as_py()
    return {name: moment.isoformat() if moment else None for name, moment in span.items()}
