"""Define the error that a person sees: its message states what is wrong and what to do next."""


class TailorbirdError(Exception):
    """A mistake or an outage that a person can fix; the command line prints only its message."""


class LedgerError(RuntimeError):
    """Rows were lost between reading and storing: a defect, never the user's mistake."""


class NoHistoryError(TailorbirdError):
    """There is no history before the cut."""


def reason_fault(reason: str, subject: str, example: str) -> str | None:
    """Return what is wrong with a reason, with an example; None if it has a letter or a digit.

    Reasons are recorded for people who later review the decision.
    """
    if any(character.isalnum() for character in reason):
        return None
    return f'Say why {subject}, in words, such as --reason "{example}": it is recorded.'
