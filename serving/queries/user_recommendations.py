"""Reads one user's published recommendations, or explains why a placement or a user has none."""

from typing import Final

from sqlalchemy import Connection, Engine, text

from infra.configuration import placements
from infra.configuration.settings import Settings
from infra.keys.identity import user_key_of
from infra.overview import situation
from models.errors import TailorbirdError
from models.lists.rules.placement_config import PlacementError
from models.monitoring.guidance.next_step import Stage
from models.primitives.json_types import JsonObject
from serving.queries.freshness import lacking_words, unconfigured_note, users_with_consent

NO_CONSENT: Final = "No list is made for this user: consent is missing or was refused, or the user is suppressed."
_USER_LIST: Final = text(
    "SELECT rank, item_id, title, score, reason, url, image, model_version, batch_id FROM recommendations_by_user_id "
    "WHERE placement = :placement AND user_id = :user_id ORDER BY rank"
)
OBJECTS: Final = "The user objects to personal lists in this placement."
_REFUSAL: Final = text(
    "SELECT NOT EXISTS (SELECT FROM users WHERE user_key = :key AND consent "
    "AND NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = :key)) AS no_consent, EXISTS ("
    "SELECT FROM exclusions WHERE user_key = :key AND kind = 'placement' AND value = :placement) AS objects"
)
# The index of ids gives the users in order, and each is looked up by itself until there are enough: a join would read
# and sort the lists of all users.
_EXAMPLES: Final = text("""
    SELECT known.user_id FROM identity.users AS known
    WHERE (
        SELECT users.consent AND cardinality(list.items) > 0
        FROM recommendations AS list JOIN users ON users.user_key = list.subject
        WHERE list.batch_id = (SELECT batch_id FROM placements WHERE placement = :placement)
            AND list.subject = known.user_key
            AND NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = list.subject)
        LIMIT 1
    )
    ORDER BY known.user_id LIMIT :most
""")
_SUBJECT: Final = text("""
    SELECT batch.subject_kind FROM placements JOIN recommendation_batches AS batch USING (batch_id)
    WHERE placements.placement = :placement
""")
_LIVE: Final = text("""
    SELECT batch_id, moved_by, users AS lists FROM placements JOIN recommendation_batches USING (batch_id, placement)
    WHERE placement = :placement
""")


class UnknownUserError(TailorbirdError):
    """No user with this id is stored."""


def require_user_key(connection: Connection, user_id: str) -> str:
    """Return the user's key. Raises UnknownUserError."""
    user_key = user_key_of(connection, user_id)
    if user_key is None:
        raise UnknownUserError(f"No user {user_id!r} is stored. Check the id; without consent, no user is stored.")
    return user_key


def refusal(connection: Connection, user_key: str, placement: str) -> str:
    """Return why a user may have no list in a placement; empty if they may."""
    row = connection.execute(_REFUSAL, {"key": user_key, "placement": placement}).one()
    return NO_CONSENT if row.no_consent else OBJECTS if row.objects else ""


def user_list(engine: Engine, user_id: str, placement: str = "home") -> list[JsonObject]:
    """Return the user's list, best first. It is empty for an unknown user, because the reader role knows no users."""
    with engine.connect() as connection:
        rows = connection.execute(_USER_LIST, {"placement": placement, "user_id": user_id})
        return [dict(row) for row in rows.mappings()]


def example_users(engine: Engine, most: int = 1, placement: str = "home") -> list[str]:
    """Return the raw ids of the first users with a list, as examples. The engine's role has to be `operator`."""
    with engine.connect() as connection:
        return list(connection.execute(_EXAMPLES, {"placement": placement, "most": most}).scalars())


def require_published(engine: Engine, settings: Settings, placement: str, subject: str = "user") -> None:
    """Raise an error unless a placement has lists about this subject.

    Raises PlacementError for an unknown placement or another subject, and TailorbirdError with the next command.
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
        raise TailorbirdError(f"{known}{step}")


def why_empty(engine: Engine, settings: Settings, user_id: str, placement: str) -> str:
    """Return why a user has no list in a placement.

    Raises the errors of `require_published`, and UnknownUserError.
    """
    require_published(engine, settings, placement)
    with engine.connect() as connection:
        key = require_user_key(connection, user_id)
        refused = refusal(connection, key, placement)
        live = connection.execute(_LIVE, {"placement": placement}).mappings().one()
        lacking = lacking_words({"lists": live["lists"], "users": users_with_consent(connection)})
    if refused:
        return refused
    new_lists = unconfigured_note(engine, settings, placement) or f"Next: `tailorbird score {placement}`."
    configured = placements.configured(settings).get(placement)
    if configured and configured.policy == "repurchase":
        new_lists = f"{placement} shows only what the user bought and is due again. {new_lists}"
    if live["moved_by"]:
        back = f"{live['moved_by']} took the lists of {placement} back to batch {live['batch_id']}"
        remark = f"there, {lacking}" if lacking else "there"
        return f"{back}. This user has no list {remark}. {new_lists}"
    return f"No list is published for this user yet. {new_lists}"
