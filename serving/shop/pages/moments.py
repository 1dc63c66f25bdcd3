"""Writes moments of the API for people."""

from datetime import UTC, datetime


def moment(iso_text: str) -> str:
    """Return a moment such as `29 Nov 2026, 10:00 UTC`; another text stays as it is."""
    try:
        read = datetime.fromisoformat(iso_text)
    except ValueError:
        return iso_text
    return f"{read.astimezone(UTC):%-d %b %Y, %H:%M} UTC" if read.tzinfo else iso_text
