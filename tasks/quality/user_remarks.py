"""Composes the ledger's remarks on the users of a batch."""

from collections.abc import Iterable
from typing import Final

from tasks.quality.chunk_profile import ChunkProfile

_ENOUGH: Final = 20
"""A file of a known shop with so many users has at least one known user."""


def remarks(profiles: Iterable[ChunkProfile]) -> list[str]:
    """Return the ledger's remarks on the users of a batch, by the profiles of its chunks."""
    chunks = [profile["people"] for profile in profiles if "people" in profile]
    users, known = sum(chunk["named"] for chunk in chunks), sum(chunk["known"] for chunk in chunks)
    items, unanswered = sum(chunk["items"] for chunk in chunks), sum(chunk["unanswered"] for chunk in chunks)
    lines = []
    if users >= _ENOUGH and not known:
        subject = f"None of its {users:,} users" if len(chunks) == 1 else "None of its users"
        both = subject if items else f"{subject} and none of its items"
        lines = [f"{both} is known: is it another shop's file? `tailorbird ledger undo BATCH` removes it."]
    if unanswered:
        rows = "1 suppressed row is" if unanswered == 1 else f"{unanswered:,} suppressed rows are"
        lines.append(f"{rows} of users whose answer about consent is not known.")
    return lines
