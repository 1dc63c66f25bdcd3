"""Lists a source's files, and reports the refused ones."""

from collections.abc import Mapping
from shlex import quote
from typing import Any, Final

from prefect import task

from infra.installation import current
from models.errors import TailorbirdError
from models.ingest.mixpanel import MixpanelMapping
from models.primitives.escaping import for_terminal
from tasks.ingest.mixpanel.ingest_mixpanel import is_part, parts_to_read
from tasks.orchestration.run_artifacts import announce
from tasks.sources.file_matching import files_of
from tasks.sources.locations import LINES, TABLES, shown, skipped
from tasks.sources.mapping_files import read
from tasks.sources.object_store import StoreUnreachableError

_RETRY_DELAYS_S: Final[list[float]] = [2, 8, 30]


def _is_transient(_task: object, _run: object, state: Any) -> bool:
    """Return whether a retry may succeed: the store was unreachable, and no name was wrong."""
    return isinstance(state.result(raise_on_failure=False), StoreUnreachableError)


@task(
    description="List the files of a source.",
    retries=len(_RETRY_DELAYS_S),
    retry_delay_seconds=_RETRY_DELAYS_S,
    retry_condition_fn=_is_transient,
)
def list_files(
    mapping: str, paths: list[str] | None = None, overrides: dict[str, str] | None = None
) -> list[tuple[str, str]]:
    """Return every file of a source with its part of the mapping, in the order of the ingest."""
    source = read(mapping, overrides)
    if isinstance(source, MixpanelMapping) and all(map(is_part, paths or [])):
        return [(source.kind, part) for part in paths or parts_to_read(current(), source)]
    by_part = files_of(source, paths or [], f"tailorbird ingest {quote(mapping)}")
    for place in paths or filter(None, [getattr(source, "location", None)]):
        for path, kind in skipped(place, (*LINES, *TABLES)):
            announce(f"{shown(path)} is {kind}; it is skipped")
    for part, files in by_part.items():
        if not files:
            announce(f"no file for {part} is there; that part is skipped")
    return [(part, file) for part, files in by_part.items() for file in files]


def refuse(refused: Mapping[str, str], taken: int) -> None:
    """Raise TailorbirdError with each refused file and the reason, if there are any."""
    if refused:
        listed = (reason if reason.startswith(f"{file} ") else f"{file}: {reason}" for file, reason in refused.items())
        reasons = "\n".join(f"  {for_terminal(reason)}" for reason in listed)
        others = f"The other {taken} were ingested and stay." if taken else "No file was ingested."
        raise TailorbirdError(f"{len(refused)} of {len(refused) + taken} files were not ingested:\n{reasons}\n{others}")
