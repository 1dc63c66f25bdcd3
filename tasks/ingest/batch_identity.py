"""Identifies the batch of a file by its content and its mapping, so that the same file is the same batch again."""

import hashlib
from pathlib import Path
from typing import Any, Final, Literal, overload

from expectations.batches import Dataset
from models.errors import TailorbirdError
from models.ingest.segment.segment_mapping import SegmentMapping
from models.ingest.source_config import SourceMapping
from models.ingest.tabular.table_mapping import EventsMapping, ItemsMapping, Mapping, UsersMapping
from models.ingest.tabular.transform import Part
from tasks.ingest import ledger
from tasks.ingest.ledger_records import IngestRequest
from tasks.sources import table_files as files
from tasks.sources.mapping_files import read

_IGNORED: Final[Any] = {"location": True, "limits": True} | {part: {"sql"} for part in ("events", "items", "users")}
"""Keys of a mapping that do not change the meaning of its rows."""


class WrongMappingError(TailorbirdError):
    """The mapping is for another kind of file."""


def table_mapping(name: str, overrides: dict[str, str] | None) -> Mapping:
    """Return the mapping of tables with that name or path."""
    mapping = read(name, overrides)
    if not isinstance(mapping, Mapping):
        raise WrongMappingError(
            f"{name!r} is the mapping of a {mapping.kind.capitalize()} export, and the file is a table."
        )
    return mapping


def segment_mapping(name: str, overrides: dict[str, str] | None) -> SegmentMapping:
    """Return the mapping of a Segment export with that name or path."""
    mapping = read(name, overrides)
    if not isinstance(mapping, SegmentMapping):
        raise WrongMappingError(f"{name!r} is a mapping of tables, and the file is a Segment export.")
    return mapping


@overload
def part_of(mapping: Mapping, dataset: Literal["events"]) -> EventsMapping: ...
@overload
def part_of(mapping: Mapping, dataset: Literal["items"]) -> ItemsMapping: ...
@overload
def part_of(mapping: Mapping, dataset: Literal["users"]) -> UsersMapping: ...
@overload
def part_of(mapping: Mapping, dataset: Dataset) -> Part: ...


def part_of(mapping: Mapping, dataset: Dataset) -> Part:
    """Return the part of the mapping for a data set. Raises WrongMappingError if there is none."""
    part: Part | None = getattr(mapping, dataset)
    if part is None:
        raise WrongMappingError(f"The mapping {mapping.name!r} reads no {dataset}: add a table [{dataset}] to it.")
    return part


def batch_of(
    mapping: SourceMapping, dataset: str, path: Path, address: str, request: IngestRequest | None = None
) -> ledger.Batch:
    """Return the batch of a file, which comes from `address`."""
    batch_id = batch_id_of(mapping, dataset, files.digest(path))
    part = mapping.events if isinstance(mapping, Mapping) else None
    known = bool(part and part.refund_order)
    return ledger.Batch(
        batch_id, dataset, mapping.name, address, mapping.consent_note, request or IngestRequest(), known
    )


def batch_id_of(mapping: SourceMapping, dataset: str, digest: str) -> str:
    """Return the id of the batch with the content of that digest."""
    meaning = hashlib.sha256(mapping.model_dump_json(exclude=_IGNORED, exclude_defaults=True).encode()).hexdigest()
    return f"{mapping.name}-{dataset}-{digest[:12]}-{meaning[:8]}"


def request_of(mapping: str, overrides: dict[str, str] | None) -> IngestRequest:
    """Return the request of an ingest as the ledger stores it."""
    path = Path(mapping)
    return {"mapping": str(path.absolute()) if path.suffix == ".toml" else mapping, "overrides": overrides or {}}
