"""The one error a person sees: its message says what is wrong and what to do next."""


class TailorbirdError(Exception):
    """A mistake or an outage that a person can mend; the command line prints its message alone."""


class LedgerError(RuntimeError):
    """Rows got lost between reading and storing: a defect, never the user's mistake."""
