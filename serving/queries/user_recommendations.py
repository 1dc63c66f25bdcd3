"""One user's recommendations, as they are published."""

from typing import Any

from sqlalchemy import Connection, Engine, text

from infra.keys.identity import user_key_of
from models.errors import TailorbirdError

_SHELF = text(
    "SELECT rank, item_id, title, score, reason, url, image, model_version, batch_id FROM recommendations_by_user_id "
    "WHERE placement = :placement AND user_id = :user_id ORDER BY rank"
)
_SOMEBODY = text("SELECT user_id FROM recommendations_by_user_id WHERE placement = :placement ORDER BY user_id LIMIT 1")


class UnknownUserError(TailorbirdError):
    """A user id that was never ingested."""


def require_user_key(connection: Connection, user_id: str) -> str:
    """The user's pseudonym; raises UnknownUserError."""
    user_key = user_key_of(connection, user_id)
    if user_key is None:
        raise UnknownUserError(f"Nobody with the id {user_id!r} was ever ingested. Check the id, or ingest first.")
    return user_key


def user_list(engine: Engine, user_id: str, placement: str = "home") -> list[dict[str, Any]]:
    """Return the user's list, best first. It is empty for an unknown user too, whom the reader role cannot tell."""
    with engine.connect() as connection:
        rows = connection.execute(_SHELF, {"placement": placement, "user_id": user_id})
        return [dict(row) for row in rows.mappings()]


def require_user(engine: Engine, user_id: str) -> None:
    """Raise UnknownUserError for a user id that was never ingested. The engine's role has to be `serving`."""
    with engine.connect() as connection:
        require_user_key(connection, user_id)


def example_user(engine: Engine, placement: str = "home") -> str | None:
    """The raw id of one user with a list, to show as an example: always the first."""
    with engine.connect() as connection:
        user_id: str | None = connection.execute(_SOMEBODY, {"placement": placement}).scalar()
    return user_id
