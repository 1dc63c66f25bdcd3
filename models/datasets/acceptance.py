"""Record which failed checks of a data set a person accepts."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from models.errors import TailorbirdError
from models.primitives.recorded_reasons import reason_fault

WARNED: Final = (
    "Warnings stop nothing: models learn from this data set, and nothing has to be accepted. docs/datasets.md lists "
    "the checks and how to set their limits."
)


class AcceptanceRefusedError(TailorbirdError):
    """The checks cannot be accepted, or are accepted without a reason."""


@dataclass(frozen=True)
class Acceptance:
    """The checks that may fail, the reason, and the person who accepts them. It is recorded with the data set."""

    checks: tuple[str, ...] = ()
    reason: str = ""
    accepted_by: str = ""

    @classmethod
    def of(cls, checks: Iterable[str], reason: str = "", accepted_by: str = "") -> "Acceptance":
        """Return the acceptance; raises AcceptanceRefusedError if it gives checks without a reason."""
        names = tuple(dict.fromkeys(name for check in checks for name in [check.strip()] if name))
        if names and (fault := reason_fault(reason, "the checks may fail", "the shop has doubled")):
            raise AcceptanceRefusedError(fault)
        return cls(names, reason.strip(), accepted_by or "unknown")
