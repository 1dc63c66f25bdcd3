"""The mapping of sources that write into the inbox."""

from typing import Final

from expectations.events import RULES
from expectations.limits import QUARANTINED_SHARE
from models.ingest.batch_limits import Limits
from models.ingest.source_config import SourceMapping

LOCATION: Final = "event_inbox"
"""The location of batches from the inbox; the name of a batch's rows follows after a slash."""
_ID_CONFLICT: Final = "id_conflict"
# A batch mixes callers, so that the rows of one are no reason to refuse those of all others: rows are judged alone.
_LIMITS: Final = Limits(
    events=dict.fromkeys((QUARANTINED_SHARE, _ID_CONFLICT, *(rule.id for rule in RULES)), (None, 1.0))
)


def inbox_mapping(source: str) -> SourceMapping:
    """Return the mapping of a source: a user's events count if the user agreed, in the message or before."""
    return SourceMapping.model_validate({"name": source, "limits": _LIMITS})
