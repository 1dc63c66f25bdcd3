"""After a promotion: starts the deployment that makes the champion's lists, once, where nobody else made them."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import select

from infra import deployments, placements
from infra.installation import Installation
from infra.schema import placements as shown
from infra.schema import recommendation_batches
from tasks import publish
from tasks.champion import Champion, champion
from tasks.ledger import busy

_GRACE: Final = timedelta(seconds=30)
"""Whoever promotes by a command may be about to score by a command: two at once would do the same work twice."""


def ask_for_lists(here: Installation) -> str | None:
    """Start `score` when placements do not show the champion's lists; returns what was done, None for nothing.

    Lists that a person has taken back since the promotion are left as they are.
    """
    with here.engine.connect() as connection:
        holder = champion(connection)
        version = recommendation_batches.c.model_version
        live = select(shown.c.placement, version, shown.c.moved_by, shown.c.published_at).join_from(
            shown, recommendation_batches, shown.c.batch_id == recommendation_batches.c.batch_id
        )
        rows = {row.placement: row for row in connection.execute(live)}
    if holder is None or datetime.now(UTC) - holder["promoted_at"] < _GRACE:
        return None
    names = [name for name in placements.configured(here.settings) if name not in rows or _due(rows[name], holder)]
    key = f"lists of promotion {holder['promotion_id']}"
    if any(busy(here.engine, publish.lock(name)) for name in placements.configured(here.settings)):
        return None  # somebody makes lists already: what is left to make then is seen at the next look
    if not names or not deployments.run(here.endpoints, "score", key, {"placements": names}):
        return None
    return f"Lists of version {holder['model_version']} are being made for {', '.join(names)}."


def _due(row: Any, holder: Champion) -> bool:
    """Whether a placement shows another model's lists, and nobody has gone back to them since the promotion."""
    taken_back = row.moved_by is not None and row.published_at >= holder["promoted_at"]
    return row.model_version != holder["model_version"] and not taken_back
