"""The condition under which a user's list may be shown."""

from typing import Final

CONSENT_SQL: Final = """
    SELECT FROM users WHERE users.user_key = list.subject AND users.consent
    AND NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = list.subject)
"""
"""SQL for `EXISTS`: a row if the user of `list` has consented and is not suppressed."""
