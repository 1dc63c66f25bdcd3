"""SQL for the events of the lake: which of them count, whose they are, and since when they are known."""

from typing import Final

SAID: Final = """
    read_parquet($files, union_by_name = true) AS said ANTI JOIN unsold ON unsold.item_id = said.item_id
    JOIN batches USING (batch_id) LEFT JOIN aliases ON aliases.device = said.user_key
"""
"""The events of committed batches on merchandise; `Known.register` makes the other tables."""
OWNER: Final = "coalesce(aliases.known, said.user_key)"
"""The key of whose event it is, who may have been known by a device then."""
# Lakes of the first version wrote the time of ingestion if the source had stated none.
RECEIVED: Final = "epoch(CASE WHEN received_at < batches.started_at THEN received_at ELSE occurred_at END)::BIGINT"
KNOWN: Final = f"greatest(epoch(occurred_at)::BIGINT, {RECEIVED})"
"""Since when an event is known (epoch s)."""
