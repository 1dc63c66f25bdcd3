"""Refuse empty reasons: they are recorded for people who later review the decision."""


def reason_fault(reason: str, subject: str, example: str) -> str | None:
    """Return what is wrong with a reason, with an example; None if it has a letter or a digit."""
    if any(character.isalnum() for character in reason):
        return None
    return f'Say why {subject}, in words, such as --reason "{example}": it is recorded.'
