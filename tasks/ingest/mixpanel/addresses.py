"""Names the parts of a Mixpanel project: its days, and its profiles."""

import re
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal, Self, cast, get_args

from models.errors import TailorbirdError
from models.ingest.mixpanel.mixpanel_mapping import MixpanelMapping, Region

SCHEME: Final = "mixpanel://"
PROFILES: Final = "profiles"
_ADDRESS: Final = re.compile(
    rf"{SCHEME}({'|'.join(get_args(Region))})/([0-9]+)-([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}|{PROFILES})"
)


@dataclass(frozen=True)
class ProjectPart:
    """One day of events of a project, or all its profiles."""

    region: Region
    project: int
    part: date | Literal["profiles"]

    @property
    def address(self) -> str:
        """Return the address that the ledger shows; no other project has the last step of it."""
        return f"{SCHEME}{self.region}/{self.project}-{self.part}"

    @classmethod
    def parse(cls, address: str) -> Self:
        """Return the part with that address. Raises TailorbirdError if it is none."""
        found = _ADDRESS.fullmatch(address)
        try:
            region, project, part = found.groups() if found else ("", "", "")
            day = PROFILES if part == PROFILES else date.fromisoformat(part)
        except ValueError:
            raise TailorbirdError(
                f"{address} is no part of a Mixpanel project. Write {SCHEME}eu/3187-2026-11-01 for a day, "
                f"{SCHEME}eu/3187-{PROFILES} for the profiles, or name the project by --project."
            ) from None
        return cls(cast(Region, region), int(project), cast(Literal["profiles"], day))


def is_part(address: str) -> bool:
    """Return whether an address belongs to Mixpanel's API."""
    return address.startswith(SCHEME)


def part_of(mapping: MixpanelMapping, part: date | Literal["profiles"]) -> ProjectPart:
    """Return a part of the mapping's project. Raises TailorbirdError if it names none."""
    if mapping.project is None:
        raise TailorbirdError("Say which files to read, or which project: tailorbird ingest mixpanel --project 3187")
    return ProjectPart(mapping.region, mapping.project, part)
