"""What a person accepts of a data set that fails its checks."""

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
    """Checks that nobody can accept, or that are accepted without a reason."""


@dataclass(frozen=True)
class Acceptance:
    """The checks that may fail, why, and who says so. It is recorded with the data set."""

    checks: tuple[str, ...] = ()
    reason: str = ""
    accepted_by: str = ""

    @classmethod
    def of(cls, checks: Iterable[str], reason: str = "", accepted_by: str = "") -> "Acceptance":
        """Return the acceptance; raises AcceptanceRefusedError if it gives checks without a reason."""
        named = tuple(dict.fromkeys(name for check in checks for name in [check.strip()] if name))
        if named and (fault := reason_fault(reason, "the checks may fail", "the shop has doubled")):
            raise AcceptanceRefusedError(fault)
        return cls(named, reason.strip(), accepted_by or "unknown")
