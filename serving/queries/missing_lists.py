"""Explains why a placement, or a user in it, has no list."""

from typing import Final

from sqlalchemy import Engine, text

from infra.configuration import placements
from infra.configuration.settings import Settings
from infra.overview import situation
from models.errors import TailorbirdError
from models.lists.rules.placement_config import PlacementError
from models.monitoring.guidance.next_step import Stage
from serving.queries.freshness import lacking_words, unconfigured_note, users_with_consent
from serving.queries.user_recommendations import NO_CONSENT, consents, require_user_key

_SUBJECT: Final = text("""
    SELECT batch.subject_kind FROM placements JOIN recommendation_batches AS batch USING (batch_id)
    WHERE placements.placement = :placement
""")
_LIVE: Final = text("""
    SELECT batch_id, moved_by, users AS lists FROM placements JOIN recommendation_batches USING (batch_id, placement)
    WHERE placement = :placement
""")


class NoListsError(TailorbirdError):
    """A placement has no lists."""


def require_published(engine: Engine, settings: Settings, placement: str, subject: str = "user") -> None:
    """Raise an error unless a placement has lists about this subject.

    Raises PlacementError for an unknown placement or another subject, and NoListsError with the next command.
    """
    with engine.connect() as connection:
        published = connection.execute(_SUBJECT, {"placement": placement}).scalar()
    actual = published or placements.one(settings, placement).subject
    if actual != subject:
        command = "tailorbird goes-with ITEM" if actual == "item" else "tailorbird recommend USER"
        raise PlacementError(f"The lists of {placement!r} are about {actual}s. Next: `{command}`.")
    if published is None:
        step = situation.step(engine, settings)
        known = f"Nothing is published in {placement!r}. " if step.stage in (Stage.DONE, Stage.UNDER_WAY) else ""
        raise NoListsError(f"{known}{step}")


def why_empty(engine: Engine, settings: Settings, user_id: str, placement: str) -> str:
    """Return why a user has no list in a placement.

    Raises the errors of `require_published`, and UnknownUserError.
    """
    require_published(engine, settings, placement)
    with engine.connect() as connection:
        key = require_user_key(connection, user_id)
        consented = consents(connection, key)
        live = connection.execute(_LIVE, {"placement": placement}).mappings().one()
        lacking = lacking_words({"lists": live["lists"], "users": users_with_consent(connection)})
    if not consented:
        return NO_CONSENT
    new_lists = unconfigured_note(engine, settings, placement) or f"Next: `tailorbird score {placement}`."
    if live["moved_by"]:
        back = f"{live['moved_by']} took the lists of {placement} back to batch {live['batch_id']}"
        remark = f"there, {lacking}" if lacking else "there"
        return f"{back}. This user has no list {remark}. {new_lists}"
    return f"No list is published for this user yet. {new_lists}"
