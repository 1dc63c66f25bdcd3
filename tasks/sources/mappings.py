"""Finds mapping files: the ones that come with Tailorbird by name, any other by path."""

import tomllib
from pathlib import Path
from typing import Any

from models.errors import TailorbirdError
from models.shapes import segment_mapping
from models.shapes.mapping import Mapping, MappingError, parse
from models.shapes.segment_mapping import SegmentMapping

_SHIPPED = Path(__file__).parent / "mappings"
SEGMENT = "segment"


def shipped() -> list[str]:
    """Names of the mappings that come with Tailorbird."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


def _content(name: str) -> tuple[dict[str, Any], str]:
    path = Path(name) if name.endswith(".toml") else _SHIPPED / f"{name}.toml"
    if not path.is_file():
        raise TailorbirdError(
            f"There is no mapping {name!r}. Give the path of a .toml file or one of: {', '.join(shipped())}."
        )
    try:
        return tomllib.loads(path.read_text()), path.stem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MappingError(f"The mapping {path} is not valid TOML: {error}.") from error


def is_segment(name: str) -> bool:
    """Is it the mapping of a Segment export, rather than of tables?"""
    return _content(name)[0].get("kind") == SEGMENT


def read_mapping(name: str, location: str | None = None) -> Mapping:
    """The mapping of tables of that name or path; `location` says where the files are, instead of what it says."""
    content, stem = _content(name)
    return parse({**content, "location": location} if location else content, stem)


def read_segment_mapping(name: str) -> SegmentMapping:
    """The mapping of a Segment export of that name or path."""
    return segment_mapping.parse(*_content(name))
