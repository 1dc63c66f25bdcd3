"""Tables of the serving API: keys, the inbox of events, and what live answers need of each batch"""

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Create the tables, functions and triggers."""
    _api_keys()
    _event_inbox()
    _user_restrictions()
    _change_notifications()


def _api_keys() -> None:
    """Create the keys of callers, which are hashed."""


def _event_inbox() -> None:
    """Create the inbox of events, updates and impressions, and the session profiles."""


def _user_restrictions() -> None:
    """Create the table of the items that a batch hid from each user, or found due."""


def _change_notifications() -> None:
    """Create the triggers that notify servers of changes."""
