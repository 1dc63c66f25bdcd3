"""Names of runs on Prefect's page: what the run does, and to what."""

from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any, Final

from prefect.runtime import flow_run

from models.primitives.escaping import for_terminal

Parameters = dict[str, Any]
_MOST: Final = 3
_LONGEST: Final = 100


def flow_run_name(name: Callable[[Parameters], str]) -> Callable[[], str]:
    """Return what Prefect calls for the name of a flow run: `name` of the run's parameters."""

    def of_run() -> str:
        return short(name(dict(flow_run.parameters or {})))

    return of_run


def short(name: str) -> str:
    """Return a name in one line that is not too long for a list of runs."""
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


def ingest(given: Parameters) -> str:
    """Return such as `ingest my_shop orders.csv`."""
    mapping = PurePath(str(given.get("mapping") or "")).stem
    files = listed([file_name(path) for path in given.get("paths") or ()])
    return f"ingest {given.get('source') or mapping} {files}"


def features(given: Parameters) -> str:
    """Return such as `features as of 2026-03-01`."""
    if given.get("rebuild"):
        return f"rebuild {given['rebuild']}"
    return f"features as of {given['as_of']}" if given.get("as_of") else "features of all events"


def of_models(verb: str) -> Callable[[Parameters], str]:
    """Return what makes such as `train two_stage`."""
    return lambda given: f"{verb} {listed(given.get('models'))}"


def review(given: Parameters) -> str:
    """Return such as `review models of v5-20260301-1a2b3c4d`."""
    return f"review models of {given.get('dataset_version') or 'the newest data set'}"


def decide(given: Parameters) -> str:
    """Return such as `approve version 3`."""
    version = f"version {given['model_version']}" if given.get("model_version") else "the newest review"
    return f"{given.get('decision', 'decide')} {version}"


def score(given: Parameters) -> str:
    """Return such as `score home`."""
    return f"score {listed(given.get('placements')) or 'all placements'}"


def undo(given: Parameters) -> str:
    """Return such as `undo my_shop`."""
    return f"undo {given.get('source') or listed(given.get('batches'))}"


def monitor(given: Parameters) -> str:
    """Return `monitor`, or that a person accepts what is seen."""
    return "accept the newest windows" if given.get("accept") else "monitor"


def retrain(given: Parameters) -> str:
    """Return such as `retrain for request 4`."""
    return f"retrain for request {given['request']}" if given.get("request") else "retrain"


def of_file(verb: str) -> Any:
    """Return what Prefect calls for the name of the run of a task that reads a `file`."""

    def of_run(parameters: Parameters) -> str:
        return short(f"{verb} {file_name(str(parameters['file']))}")

    return of_run
