"""Define the error that a person sees: its message states what is wrong and what to do next."""


class TailorbirdError(Exception):
    """A mistake or an outage that a person can fix; the command line prints only its message."""


class LedgerError(RuntimeError):
    """Rows were lost between reading and storing: a defect, never the user's mistake."""


class NoHistoryError(TailorbirdError):
    """There is no history before the cut."""
