"""Looks where a source's files are, and says which of them were not taken in."""

from collections.abc import Mapping
from shlex import quote
from typing import Any, Final

from prefect import task

from models.errors import TailorbirdError
from models.primitives.escaping import for_terminal
from tasks.orchestration.run_artifacts import announce
from tasks.sources.file_matching import files_of
from tasks.sources.locations import LINES, TABLES, shown, skipped
from tasks.sources.mapping_files import read
from tasks.sources.object_store_errors import StoreUnreachableError

_WAITS_S: Final[list[float]] = [2, 8, 30]


class FilesRefusedError(TailorbirdError):
    """Some files of a source were not taken in; the others were."""


def _may_go_well(_task: Any, _run: Any, state: Any) -> bool:
    """Whether the same again makes sense: a store was away, rather than a name wrong."""
    return isinstance(state.result(raise_on_failure=False), StoreUnreachableError)


@task(
    description="Which files a source has, where it lies.",
    retries=len(_WAITS_S),
    retry_delay_seconds=_WAITS_S,
    retry_condition_fn=_may_go_well,
)
def list_files(
    mapping: str, paths: list[str] | None = None, overrides: dict[str, str] | None = None
) -> list[tuple[str, str]]:
    """Every file of a source with its part of the mapping, in the order in which they go in."""
    source = read(mapping, overrides)
    found = files_of(source, paths or [], f"tailorbird ingest {quote(mapping)}")
    for place in paths or filter(None, [getattr(source, "location", None)]):
        for path, kind in skipped(place, (*LINES, *TABLES)):
            announce(f"{shown(path)} is {kind}; it is skipped")
    for part, files in found.items():
        if not files:
            announce(f"no file for {part} is there; that part is skipped")
    return [(part, file) for part, files in found.items() for file in files]


def refuse(refused: Mapping[str, str], taken: int) -> None:
    """Raises FilesRefusedError when there are any: each file, and why."""
    if refused:
        named = (reason if reason.startswith(f"{file} ") else f"{file}: {reason}" for file, reason in refused.items())
        reasons = "\n".join(f"  {for_terminal(reason)}" for reason in named)
        rest = f"The other {taken} were taken in and stay." if taken else "No file was taken in."
        raise FilesRefusedError(f"{len(refused)} of {len(refused) + taken} files were not taken in:\n{reasons}\n{rest}")
