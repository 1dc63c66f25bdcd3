"""A published list as it was read."""

from typing import Final, NamedTuple

from serving.stores.standing import NOBODY, Standing


class Listed(NamedTuple):
    """One subject's list of the live batch, and the standing of the user at that moment."""

    standing: Standing
    batch_id: int | None
    model_version: int | None
    entries: tuple[tuple[str, float, str], ...] | None
    """Item, score and reason, best first; None if there is no list for the subject."""
    read_at: float
    """Epoch seconds of the database's clock."""


UNREAD: Final = Listed(NOBODY, None, None, None, 0.0)
"""Stands for a list that was not read, because nobody asked for one."""


class ChangedMeanwhileError(Exception):
    """A user changed again and again while the list was read."""
