"""Which batch a file makes: named by its content and by what is made of it, so that the same again is the same."""

import hashlib
from pathlib import Path
from typing import Any

from models.errors import TailorbirdError
from models.ingest.segment.config import SegmentMapping
from models.ingest.source_config import SourceMapping
from models.ingest.tabular.config import EventsMapping, ItemsMapping, Mapping, UsersMapping
from tasks.ingest import ledger
from tasks.sources import table_files as files
from tasks.sources.mapping_files import read

Part = EventsMapping | ItemsMapping | UsersMapping
_ASIDE = {"location", "limits"}
"""What a mapping says of where files are and when they are refused changes nothing of what their rows mean."""


class WrongMappingError(TailorbirdError):
    """The mapping is not made for this kind of file."""


def table_mapping(name: str, overrides: dict[str, str] | None) -> Mapping:
    """The mapping of tables of that name or path."""
    found = read(name, overrides)
    if not isinstance(found, Mapping):
        raise WrongMappingError(f"{name!r} is the mapping of a Segment export, and the file is a table.")
    return found


def segment_mapping(name: str, overrides: dict[str, str] | None) -> SegmentMapping:
    """The mapping of a Segment export of that name or path."""
    found = read(name, overrides)
    if not isinstance(found, SegmentMapping):
        raise WrongMappingError(f"{name!r} is a mapping of tables, and the file is a Segment export.")
    return found


def part_of(mapping: Mapping, dataset: str) -> Any:
    """What the mapping says of a data set."""
    part: Part | None = getattr(mapping, dataset)
    if part is None:
        raise WrongMappingError(f"The mapping {mapping.name!r} reads no {dataset}: add a table [{dataset}] to it.")
    return part


def batch_of(
    mapping: SourceMapping, dataset: str, path: Path, address: str, request: dict[str, Any] | None = None
) -> ledger.Batch:
    """The batch that the content of a file makes; `address` is where it comes from."""
    meaning = hashlib.sha256(mapping.model_dump_json(exclude=_ASIDE, exclude_defaults=True).encode()).hexdigest()
    batch_id = f"{mapping.name}-{dataset}-{files.digest(path)[:12]}-{meaning[:8]}"
    return ledger.Batch(batch_id, dataset, mapping.name, address, mapping.consent_note, request or {})


def request_of(mapping: str, overrides: dict[str, str] | None) -> dict[str, Any]:
    """What the ledger keeps of how a batch was asked for."""
    here = Path(mapping)
    return {"mapping": str(here.absolute()) if here.suffix == ".toml" else mapping, "overrides": overrides or {}}
