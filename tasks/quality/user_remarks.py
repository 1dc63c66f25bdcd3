"""Remarks of the ledger on the users of a batch."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

PEOPLE: Final = "people"
"""The name of these counts in the profile of a chunk."""


_ENOUGH: Final = 20
"""Of so many users a file of a known shop names somebody who is known."""


def remarks(profiles: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what the ledger remarks on the users of a batch, by the profiles of its chunks."""
    chunks = [profile[PEOPLE] for profile in profiles if PEOPLE in profile]
    named, known, items, unanswered = (
        sum(chunk[name] for chunk in chunks) for name in ("named", "known", "items", "unanswered")
    )
    found = []
    if named >= _ENOUGH and not known:
        users = f"None of its {named:,} users" if len(chunks) == 1 else "None of its users"
        both = users if items else f"{users} and none of its items"
        found = [f"{both} is known: is it another shop's file? `tailorbird ledger undo BATCH` removes it."]
    if unanswered:
        rows = "1 suppressed row is" if unanswered == 1 else f"{unanswered:,} suppressed rows are"
        found.append(f"{rows} of users whose answer about consent is not known.")
    return found
