"""Finds mapping files: the ones that come with Tailorbird by name, any other by path."""

import tomllib
from pathlib import Path

from models.errors import TailorbirdError
from models.shapes.mapping import Mapping, MappingError, parse

_SHIPPED = Path(__file__).parent / "mappings"


def shipped() -> list[str]:
    """Names of the mappings that come with Tailorbird."""
    return sorted(path.stem for path in _SHIPPED.glob("*.toml"))


def read_mapping(name: str, location: str | None = None) -> Mapping:
    """The mapping of that name or path; `location` says where the files are, instead of what it says."""
    path = Path(name) if name.endswith(".toml") else _SHIPPED / f"{name}.toml"
    if not path.is_file():
        raise TailorbirdError(
            f"There is no mapping {name!r}. Give the path of a .toml file or one of: {', '.join(shipped())}."
        )
    try:
        content = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise MappingError(f"The mapping {path} is not valid TOML: {error}.") from error
    return parse({**content, "location": location} if location else content, path.stem)
