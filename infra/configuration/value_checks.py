"""Checks values of settings: each check returns the value, or raises ValueError with the allowed values."""

import re
from pathlib import Path
from typing import Final

_STORES: Final = ("s3", "s3a", "gs", "az", "abfs", "abfss")
_LEAST_MEMORY: Final = 100 * 10**6
_MOST_MEMORY: Final = 10**15
_UNITS: Final = {"K": 1, "M": 2, "G": 3}
_MEMORY: Final = re.compile(r"(\d{1,15}(?:\.\d{1,15})?) ?([KMG])(i?)B", re.ASCII)


def folder(path: Path) -> Path:
    """Return the absolute path of a folder. It need not exist, but must not be a file."""
    try:
        absolute = path.expanduser().absolute()
    except RuntimeError:
        raise ValueError("there is no such user's home; write a path such as /srv/tailorbird/var") from None
    for place in (absolute, *absolute.parents):
        try:
            if place.is_dir():
                break
            blocked = f"{place} is not a folder" if place.exists() else None
        except OSError as error:  # a name of 300 characters, or a folder without access
            blocked = f"it cannot be looked up ({error.strerror})"
        if blocked:
            raise ValueError(f"{blocked}; write the path of a folder, such as /srv/tailorbird/var")
    return absolute


def lake(place: str) -> str:
    """Return a folder's absolute path, or an address in an object store."""
    scheme, separator, location = place.partition("://")
    if not separator:
        return str(folder(Path(place)))
    if scheme not in _STORES or not location.strip("/"):
        known = ", ".join(f"{name}://" for name in _STORES)
        raise ValueError(f"write a folder, or an address by {known}, such as s3://bucket/lake")
    return place


def bundles(place: str) -> str:
    """Return the absolute path of a folder: bundles are opened as local files."""
    if "://" in place:
        raise ValueError("bundles are kept in a folder; write its path, such as /srv/tailorbird/bundles")
    return str(folder(Path(place)))


def memory(amount: str) -> str:
    """Check an amount of memory that DuckDB accepts and can work with."""
    match = _MEMORY.fullmatch(amount)
    size = float(match[1]) * (1024 if match[3] else 1000) ** _UNITS[match[2]] if match else 0
    if not _LEAST_MEMORY <= size <= _MOST_MEMORY:
        raise ValueError("write an amount from 100MB to 1000000GB, such as 4GB")
    return amount


def words(value: str) -> list[str]:
    """Return the words of a setting that are separated by commas."""
    return [word.strip() for word in value.split(",") if word.strip()]
