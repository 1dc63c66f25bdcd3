"""Types of the requests of operators, and the errors that refuse them. They need no database."""

from dataclasses import dataclass
from typing import NamedTuple

from models.errors import TailorbirdError
from models.lists.rules.layer.validation import LayerFault


class OutdatedVersionError(TailorbirdError):
    """Another version was stored since the one that a change is based on."""

    def __init__(self, current: int) -> None:
        super().__init__(f"The current version is {current}. Read the rules again, and repeat the change on them.")


class UnknownVersionError(TailorbirdError):
    """There is no earlier version of that number."""


class RefusedLayerError(TailorbirdError):
    """A layer has faults."""

    def __init__(self, found: list[LayerFault]) -> None:
        super().__init__(found[0].detail)
        self.faults = found


@dataclass(frozen=True)
class Author:
    """Who changes rules, why, and by which key."""

    name: str
    comment: str
    key_id: str


class Paging(NamedTuple):
    """A part of a long report."""

    most: int
    offset: int
