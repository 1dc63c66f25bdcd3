"""Names of runs on Prefect's page, with the step and its subject."""

from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any, Final

from prefect.runtime import flow_run

from models.primitives.escaping import for_terminal
from models.primitives.json_types import JsonObject

_MOST: Final = 3
_LONGEST: Final = 100


def flow_run_name(name: Callable[[JsonObject], str]) -> Callable[[], str]:
    """Return the function that Prefect calls for a flow run's name; `name` gets the run's parameters."""

    def run_name() -> str:
        return short(name(dict(flow_run.parameters or {})))

    return run_name


def short(name: str) -> str:
    """Return a name in one line, short enough for a list of runs."""
    line = for_terminal(" ".join(name.split()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"


def listed(names: Sequence[str] | None) -> str:
    """Return the first few of some names."""
    shown = list(names or ())
    more = f" and {len(shown) - _MOST} more" if len(shown) > _MOST else ""
    return " ".join(shown[:_MOST]) + more


def file_name(place: str) -> str:
    """Return the last part of a path or address."""
    return PurePath(place.rstrip("/")).name or place


def ingest(parameters: JsonObject) -> str:
    """Return a name such as `ingest my_shop orders.csv`."""
    mapping = PurePath(str(parameters.get("mapping") or "")).stem
    files = listed([file_name(path) for path in parameters.get("paths") or ()])
    return f"ingest {parameters.get('source') or mapping} {files}"


def features(parameters: JsonObject) -> str:
    """Return a name such as `features as of 2026-03-01`."""
    if parameters.get("rebuild"):
        return f"rebuild {parameters['rebuild']}"
    return f"features as of {parameters['as_of']}" if parameters.get("as_of") else "features of all events"


def of_models(verb: str) -> Callable[[JsonObject], str]:
    """Return the function that makes names such as `train two_stage`."""
    return lambda parameters: f"{verb} {listed(parameters.get('models'))}"


def review(parameters: JsonObject) -> str:
    """Return a name such as `review models of v5-20260301-1a2b3c4d`."""
    return f"review models of {parameters.get('dataset_version') or 'the newest data set'}"


def decide(parameters: JsonObject) -> str:
    """Return a name such as `approve version 3`."""
    version = f"version {parameters['model_version']}" if parameters.get("model_version") else "the newest review"
    return f"{parameters.get('decision', 'decide')} {version}"


def score(parameters: JsonObject) -> str:
    """Return a name such as `score home`."""
    if parameters.get("segment"):
        return f"score the segment {parameters['segment']}"
    return f"score {listed(parameters.get('placements')) or 'all placements'}"


def undo(parameters: JsonObject) -> str:
    """Return a name such as `undo my_shop`."""
    return f"undo {parameters.get('source') or listed(parameters.get('batches'))}"


def monitor(parameters: JsonObject) -> str:
    """Return `monitor`, or the name of a run that accepts the newest windows."""
    return "accept the newest windows" if parameters.get("accept") else "monitor"


def retrain(parameters: JsonObject) -> str:
    """Return a name such as `retrain for request 4`."""
    return f"retrain for request {parameters['request']}" if parameters.get("request") else "retrain"


def of_file(verb: str) -> Any:  # Prefect's protocol has a member that no function has
    """Return the function that Prefect calls for the name of a task run that reads a `file`."""

    def run_name(parameters: JsonObject) -> str:
        return short(f"{verb} {file_name(str(parameters['file']))}")

    return run_name
