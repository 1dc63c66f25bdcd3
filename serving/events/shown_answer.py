"""An answer that a visitor was shown, and the message of many to the inbox."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from operator import attrgetter
from typing import Final

from serving.events.clock import CLOCK
from serving.events.message import Message


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """An answer with its place on the page, as it was given."""

    recommendation_id: str
    placement: str
    items: Sequence[str]
    """Best first."""
    source: str
    key_version: int
    user_key: str | None = None
    session_key: str | None = None
    first_position: int = 1
    """The rank of the first item: above 1 on later pages."""
    batch_id: int | None = None
    model_version: int | None = None
    variant: str | None = None
    propensity: float | None = None
    consent: bool | None = None
    """The consent that the request states; None if it states none."""
    shown_at: datetime = field(default_factory=CLOCK.now)


_COLUMNS: Final = tuple(one.name for one in fields(ShownAnswer) if one.name != "key_version")
"""A message has one version of the pseudonym keys."""


def message_of(answers: Sequence[ShownAnswer]) -> Message:
    """Return the message of answers whose pseudonyms have the same version: a column of values for each field.

    One row for many answers costs the database a fraction of a row for each.
    """
    rows = map(attrgetter(*_COLUMNS), answers)
    payload = dict(zip(_COLUMNS, zip(*rows, strict=True), strict=True))
    return Message(secrets.token_hex(16), "answers", payload, answers[-1].shown_at, answers[0].key_version)
