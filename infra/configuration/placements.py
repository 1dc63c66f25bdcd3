"""Reads the placements that come with Tailorbird, or those of the installation's own file."""

import tomllib
from functools import partial
from pathlib import Path

from infra.configuration.settings import Settings, source
from infra.configuration.settings_file import placed
from models.lists.rules.placement_config import Placement, PlacementError, placements
from models.primitives.json_types import JsonObject


def configured(settings: Settings) -> dict[str, Placement]:
    """Return all placements by name. Raises PlacementError, with the fix, for an unusable file."""
    return _placements(settings, _content(settings))


def one(settings: Settings, name: str, k: int | None = None) -> Placement:
    """Return one placement, with lists of length `k` if given.

    Raises PlacementError with the existing names, or with the rules that need longer lists.
    """
    content = _content(settings)
    known = _placements(settings, content)
    if name not in known:
        raise PlacementError(f"There is no placement {name!r}; there are {', '.join(known)}.")
    return known[name] if k is None else _placements(settings, {name: content[name] | {"k": k}})[name]


def _placements(settings: Settings, content: JsonObject) -> dict[str, Placement]:
    return placements(content, partial(placed, placements_file(settings).expanduser()))


def placements_file(settings: Settings) -> Path:
    """Return the file that is in force."""
    return Path(settings.placements or Path(__file__).with_suffix(".toml"))


def _content(settings: Settings) -> JsonObject:
    path = placements_file(settings)
    try:
        path = path.expanduser()
        if not path.is_file():
            raise PlacementError(f"There is no file {path}. Correct {source('placements')}, or unset it.")
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise PlacementError(f"The placements in {path} cannot be read: {error.strerror}.") from None
    except RuntimeError:  # an unknown home directory, or brackets nested too deeply
        raise PlacementError(f"The placements in {path} cannot be used. Correct {source('placements')}.") from None
    except ValueError as error:
        raise PlacementError(f"The placements in {path} are not valid TOML: {error}.") from None
