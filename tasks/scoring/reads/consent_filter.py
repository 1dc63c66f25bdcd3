"""Whose lists may be shown."""

from typing import Final

AGREED: Final = """
    SELECT FROM users WHERE users.user_key = shelf.subject AND users.consent
    AND NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = shelf.subject)
"""
"""SQL, for `EXISTS`: may the user whose list `shelf` is be recommended anything?"""
