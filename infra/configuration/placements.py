"""Finds the placements: those that come with Tailorbird, or a file of the installation's own."""

import tomllib
from functools import partial
from pathlib import Path
from typing import Any, Final

from infra.configuration.settings import Settings, source
from infra.configuration.settings_file import placed
from models.lists.rules.placement_config import Placement, PlacementError, placements

_SHIPPED: Final = Path(__file__).with_suffix(".toml")


def configured(settings: Settings) -> dict[str, Placement]:
    """All placements by name; raises PlacementError, with what to mend, for a file that cannot be used."""
    return _placements(settings, _content(settings))


def one(settings: Settings, name: str, k: int | None = None) -> Placement:
    """The placement of that name, with lists of length `k` in place of its own; raises PlacementError with the names
    there are, or with the rules that such lists have no room for."""
    content = _content(settings)
    there = _placements(settings, content)
    if name not in there:
        raise PlacementError(f"There is no placement {name!r}; there are {', '.join(there)}.")
    return there[name] if k is None else _placements(settings, {name: content[name] | {"k": k}})[name]


def _placements(settings: Settings, content: dict[str, Any]) -> dict[str, Placement]:
    return placements(content, partial(placed, _path(settings).expanduser()))


def _path(settings: Settings) -> Path:
    return Path(settings.placements or _SHIPPED)


def _content(settings: Settings) -> dict[str, Any]:
    path = _path(settings)
    try:
        path = path.expanduser()
        if not path.is_file():
            raise PlacementError(f"There is no file {path}. Correct {source('placements')}, or unset it.")
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise PlacementError(f"The placements in {path} cannot be read: {error.strerror}.") from None
    except RuntimeError:  # of a home that nobody has, or of endless brackets
        raise PlacementError(f"The placements in {path} cannot be used. Correct {source('placements')}.") from None
    except ValueError as error:
        raise PlacementError(f"The placements in {path} are not valid TOML: {error}.") from None
