"""Reads the items that a visitor clicked lately."""

import asyncpg

from serving.events import statements


async def latest_items(pool: asyncpg.Pool, user_key: str | None, session_key: str | None) -> tuple[str, ...]:
    """Return the items of a visitor's latest clicks, the latest last; empty without consent or clicks."""
    subjects = [key for key in (user_key, session_key) if key]
    if not subjects:
        return ()
    rows = await pool.fetch(statements.LATEST_ITEMS, subjects)
    clicked = [item for row in rows for item in row["items"]]
    return tuple(dict.fromkeys(reversed(clicked)))[::-1]
