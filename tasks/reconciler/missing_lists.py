"""Finds placements that do not show the champion's lists, and batches that a killed run left unfinished."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, RowMapping, text

_NEWEST: Final = text("""
    WITH made AS (
        SELECT DISTINCT ON (placement) placement, batch_id, status, detail
        FROM recommendation_batches WHERE model_version = :version AND created_at >= :since
        ORDER BY placement, batch_id DESC
    )
    SELECT names.placement, live.batch_id AS live_batch, live.model_version AS live_version,
        placements.moved_by IS NOT NULL AND placements.published_at >= :since AS rolled_back,
        made.batch_id AS newest_batch, made.status, made.detail
    FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS names (placement, position)
    LEFT JOIN placements ON placements.placement = names.placement
    LEFT JOIN recommendation_batches AS live ON live.batch_id = placements.batch_id
    LEFT JOIN made ON made.placement = names.placement
    ORDER BY names.position
""")
_UNFINISHED: Final = ("loading", "checked", "attached")
_REFUSED: Final = "refused"


@dataclass(frozen=True)
class MissingLists:
    """The placements that need a run of `score`."""

    placements: list[str]
    unfinished: int | None
    """The newest batch that a run began and no run finished; None if there is none."""


def find_missing_lists(
    connection: Connection, names: Iterable[str], version: int, promoted_at: datetime
) -> MissingLists | None:
    """Return the placements among `names` that lack lists of the champion `version`, or None if none does.

    A placement also counts if a run began a newer batch of the champion and did not finish it. Lists that a person
    rolled back since the promotion, batches that the checks refused, and batches that a person stopped do not count.
    """
    values = {"version": version, "since": promoted_at, "names": list(names)}
    rows = connection.execute(_NEWEST, values).mappings().all()
    missing = [row for row in rows if _is_missing(row, version)]
    unfinished = [row["newest_batch"] for row in missing if _is_unfinished(row)]
    placements = [row["placement"] for row in missing]
    return MissingLists(placements, max(unfinished, default=None)) if placements else None


def _is_missing(row: RowMapping, version: int) -> bool:
    if row["rolled_back"] or row["status"] == _REFUSED:
        return False
    return row["live_version"] != version or _is_unfinished(row)


def _is_unfinished(row: RowMapping) -> bool:
    newer = row["newest_batch"] is not None and row["newest_batch"] > (row["live_batch"] or 0)
    return newer and row["status"] in _UNFINISHED and row["detail"] is None
