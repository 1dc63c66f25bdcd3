"""Says why a placement, or a user in it, has no list."""

from typing import Final

from sqlalchemy import Engine, text

from infra.configuration import placements
from infra.configuration.settings import Settings
from infra.overview import situation
from models.errors import TailorbirdError
from models.lists.rules.placement_config import PlacementError
from models.monitoring.guidance.next_step import Stage
from serving.queries.freshness import unconfigured_note
from serving.queries.list_counts import lacking_words, users_with_consent
from serving.queries.user_recommendations import require_user_key

_SUBJECT: Final = text("""
    SELECT batch.subject_kind FROM placements JOIN recommendation_batches AS batch USING (batch_id)
    WHERE placements.placement = :placement
""")
_SHOWN: Final = text("""
    SELECT batch_id, moved_by, users AS lists FROM placements JOIN recommendation_batches USING (batch_id, placement)
    WHERE placement = :placement
""")
_AGREED: Final = text("""
    SELECT FROM users WHERE user_key = :key AND consent
    AND NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = :key)
""")


class NoListsError(TailorbirdError):
    """A placement without lists."""


def require_published(engine: Engine, settings: Settings, placement: str, about: str = "user") -> None:
    """Raise PlacementError for a placement that there is not or that is about something else, and
    NoListsError with the next command for one without lists."""
    with engine.connect() as connection:
        found = connection.execute(_SUBJECT, {"placement": placement}).scalar()
    subject = found or placements.one(settings, placement).subject
    if subject != about:
        ask = "tailorbird goes-with ITEM" if subject == "item" else "tailorbird recommend USER"
        raise PlacementError(f"The lists of {placement!r} are about {subject}s. Next: `{ask}`.")
    if found is None:
        step = situation.step(engine, settings)
        known = f"Nothing is published in {placement!r}. " if step.stage in (Stage.DONE, Stage.UNDER_WAY) else ""
        raise NoListsError(f"{known}{step}")


def why_empty(engine: Engine, settings: Settings, user_id: str, placement: str) -> str:
    """Return why a user has no list in a placement with lists. Raises what `require_published` raises, and
    UnknownUserError."""
    require_published(engine, settings, placement)
    with engine.connect() as connection:
        key = require_user_key(connection, user_id)
        agreed = connection.execute(_AGREED, {"key": key}).first() is not None
        shown = connection.execute(_SHOWN, {"placement": placement}).mappings().one()
        lacking = lacking_words({"lists": shown["lists"], "users": users_with_consent(connection)})
    if not agreed:
        return "No list is made for this user: there is no consent, or the user was erased."
    new_lists = unconfigured_note(engine, settings, placement) or f"Next: `tailorbird score {placement}`."
    if shown["moved_by"]:
        back = f"{shown['moved_by']} took the lists of {placement} back to batch {shown['batch_id']}"
        there = f"there, {lacking}" if lacking else "there"
        return f"{back}. This user has no list {there}. {new_lists}"
    return f"No list is published for this user yet. {new_lists}"
