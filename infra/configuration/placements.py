"""Reads the placements that come with Tailorbird, or those of the installation's own file, and its experiments."""

import tomllib
from functools import partial
from pathlib import Path

from infra.configuration.settings import Settings, source
from infra.configuration.settings_file import placed
from models.experiments.definition import Experiment, ExperimentError, parse_experiment
from models.lists.rules.placement_config import Placement, PlacementError, placements
from models.primitives.json_types import JsonObject


def configured(settings: Settings) -> dict[str, Placement]:
    """Return all placements by name. Raises PlacementError, with the fix, for an unusable file."""
    return _placements(settings, tables(settings))


def one(settings: Settings, name: str, k: int | None = None) -> Placement:
    """Return one placement, with lists of length `k` if given.

    Raises PlacementError with the existing names, or with the rules that need longer lists.
    """
    content = tables(settings)
    known = _placements(settings, content)
    if name not in known:
        raise PlacementError(f"There is no placement {name!r}; there are {', '.join(known)}.")
    return known[name] if k is None else _placements(settings, {name: content[name] | {"k": k}})[name]


def _placements(settings: Settings, content: JsonObject) -> dict[str, Placement]:
    return placements(content, partial(placed, placements_file(settings).expanduser()))


def placements_file(settings: Settings) -> Path:
    """Return the file that is in force."""
    return Path(settings.placements or Path(__file__).with_suffix(".toml"))


def tables(settings: Settings) -> JsonObject:
    """Return the tables of the file of placements, unchecked. Raises PlacementError."""
    return _content(placements_file(settings), "placements")


def configured_experiment(settings: Settings, name: str) -> Experiment:
    """Return an experiment of the file of experiments. Raises ExperimentError and PlacementError, with the fix."""
    if not settings.experiments:
        raise ExperimentError(
            "No file of experiments is named. Write one, and name it as `experiments` in tailorbird.toml; "
            "docs/experiments.md has an example."
        )
    path = Path(settings.experiments)
    try:
        content = _content(path, "experiments")
    except PlacementError as error:
        raise ExperimentError(str(error)) from None
    if not isinstance(content.get(name), dict):
        raise ExperimentError(f"{path} has no experiment {name!r}; there are {', '.join(content) or 'none'}.")
    configured(settings)  # names all faults of the placements themselves
    return parse_experiment(name, content[name], tables(settings))


def _content(path: Path, setting: str) -> JsonObject:
    try:
        path = path.expanduser()
        if not path.is_file():
            raise PlacementError(f"There is no file {path}. Correct {source(setting)}, or unset it.")
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise PlacementError(f"The {setting} in {path} cannot be read: {error.strerror}.") from None
    except RuntimeError:  # an unknown home directory, or brackets nested too deeply
        raise PlacementError(f"The {setting} in {path} cannot be used. Correct {source(setting)}.") from None
    except ValueError as error:
        raise PlacementError(f"The {setting} in {path} are not valid TOML: {error}.") from None
