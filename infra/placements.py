"""Finds the placements: those that come with Tailorbird, or a file of the installation's own."""

import tomllib
from pathlib import Path
from typing import Final

from infra.settings import Settings
from models.placement import Placement, PlacementError, placements

_SHIPPED: Final = Path(__file__).with_suffix(".toml")


def configured(settings: Settings) -> dict[str, Placement]:
    """All placements by name; raises PlacementError, with what to mend, for a file that cannot be used."""
    path = Path(settings.placements).expanduser() if settings.placements else _SHIPPED
    if not path.is_file():
        raise PlacementError(f"There is no file {path}: correct TAILORBIRD_PLACEMENTS, or unset it.")
    try:
        content = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlacementError(f"The placements in {path} are not valid TOML: {error}.") from error
    return placements(content)


def one(settings: Settings, name: str) -> Placement:
    """The placement of that name; raises PlacementError with the names there are."""
    there = configured(settings)
    if name not in there:
        raise PlacementError(f"There is no placement {name!r}; there are {', '.join(there)}.")
    return there[name]
