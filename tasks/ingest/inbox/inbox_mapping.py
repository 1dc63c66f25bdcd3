"""The mapping of sources that write into the inbox."""

from typing import Final

from expectations.batches import EVENT_RULES, QUARANTINED_SHARE
from infra.configuration.collect_mapping import collect_mapping
from infra.configuration.settings import Settings
from models.ingest.batch_limits import Limits
from models.ingest.segment.segment_mapping import SegmentMapping
from models.ingest.source_config import SourceMapping
from tasks.ingest.ledger_records import Batch

LOCATION: Final = "event_inbox"
"""The location of batches from the inbox; the name of a batch's rows follows after a slash."""
CALLS: Final = f"{LOCATION}/calls"
"""The location of batches of the calls of Segment's libraries."""
_ID_CONFLICT: Final = "id_conflict"
# A batch mixes callers, so that the rows of one are no reason to refuse those of all others: rows are judged alone.
_LIMITS: Final = Limits(
    events=dict.fromkeys((QUARANTINED_SHARE, _ID_CONFLICT, *(rule.id for rule in EVENT_RULES)), (None, 1.0))
)


def call_mapping(settings: Settings, source: str) -> SegmentMapping:
    """Return the mapping of the calls of a source. Raises MappingError for a file that cannot be used."""
    mapping = collect_mapping(settings, source)
    own = mapping.limits.model_copy(update={"events": {**_LIMITS.events, **mapping.limits.events}})
    return mapping.model_copy(update={"limits": own})


def mapping_of(settings: Settings, batch: Batch) -> SourceMapping | None:
    """Return the mapping of a batch of the inbox; None for a batch of a file."""
    if batch.location.startswith(f"{CALLS}/"):
        return call_mapping(settings, batch.source)
    return inbox_mapping(batch.source) if batch.location.startswith(f"{LOCATION}/") else None


def inbox_mapping(source: str) -> SourceMapping:
    """Return the mapping of a source: a user's events count if the user agreed, in the message or before."""
    return SourceMapping.model_validate({"name": source, "limits": _LIMITS})
