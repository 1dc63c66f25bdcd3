"""Reads mapping files: included ones by name, others by path."""

import tomllib
from collections.abc import Mapping as Words
from functools import partial
from pathlib import Path
from typing import Final, Literal, TypeVar, overload

from expectations.batches import Dataset
from infra.configuration.settings_file import placed
from models.errors import TailorbirdError
from models.ingest.mixpanel import MixpanelMapping
from models.ingest.segment.segment_mapping import LineMapping, SegmentMapping
from models.ingest.tabular.table_mapping import EventsMapping, ItemsMapping, Mapping, MappingError, UsersMapping
from models.ingest.tabular.transform import Part
from models.primitives.json_types import JsonObject

SHIPPED = Path(__file__).parent / "mappings"
_LINES: Final[dict[str, type[LineMapping]]] = {"segment": SegmentMapping, "mixpanel": MixpanelMapping}
"""Mappings of lines, by their kind."""
_KINDS: Final = {Mapping: "tables", SegmentMapping: "a Segment export", MixpanelMapping: "a Mixpanel export"}
M = TypeVar("M", Mapping, SegmentMapping, MixpanelMapping)
_CONSENT, _NOTE = "consent", "consent_note"


class WrongMappingError(TailorbirdError):
    """The mapping is for another kind of file."""


def shipped() -> list[str]:
    """Return the names of the included mappings."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def read(name: str, overrides: Words[str, str] | None = None) -> Mapping | LineMapping:
    """Return the mapping with that name or path: of tables, or of lines such as a Segment export.

    `overrides` replace keys of the file, for example by the command line. They are part of the mapping's meaning, and
    so of a batch's id.
    """
    content, path = _content(name)
    instead = dict(overrides or {})
    if _CONSENT in instead and _NOTE not in instead:
        content.pop(_NOTE, None)  # the note explains the consent that the file declares
    kind = content.get("kind")
    model = _LINES.get(kind, Mapping) if isinstance(kind, str) else Mapping
    return model.parse({**content, **instead}, path.stem, partial(placed, path))


def read_as(kind: type[M], name: str, overrides: Words[str, str] | None) -> M:
    """Return the mapping with that name or path. Raises WrongMappingError for one of another kind."""
    mapping = read(name, overrides)
    if not isinstance(mapping, kind):
        raise WrongMappingError(f"{name!r} is a mapping of {_KINDS[type(mapping)]}, not of {_KINDS[kind]}.")
    return mapping


def table_mapping(name: str, overrides: Words[str, str] | None) -> Mapping:
    """Return the mapping of tables with that name or path, as `read_as` does."""
    return read_as(Mapping, name, overrides)


@overload
def part_of(mapping: Mapping, dataset: Literal["events"]) -> EventsMapping: ...
@overload
def part_of(mapping: Mapping, dataset: Literal["items"]) -> ItemsMapping: ...
@overload
def part_of(mapping: Mapping, dataset: Literal["users"]) -> UsersMapping: ...
@overload
def part_of(mapping: Mapping, dataset: Dataset) -> Part: ...


def part_of(mapping: Mapping, dataset: Dataset) -> Part:
    """Return the part of the mapping for a data set. Raises WrongMappingError if there is none."""
    part: Part | None = getattr(mapping, dataset)
    if part is None:
        raise WrongMappingError(f"The mapping {mapping.name!r} reads no {dataset}: add a table [{dataset}] to it.")
    return part


def mapping_overrides(
    source: str | None = None,
    consent: str | None = None,
    consent_note: str | None = None,
    begin: str | None = None,
    end: str | None = None,
    project: str | None = None,
    region: str | None = None,
) -> dict[str, str]:
    """Return the given overrides by the keys of the file."""
    given = {"name": source, _CONSENT: consent, _NOTE: consent_note, "from": begin, "to": end}
    given |= {"project": project, "region": region}
    return {key: word for key, word in given.items() if word}


def _content(name: str) -> tuple[JsonObject, Path]:
    path = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    if not path.is_file():
        near = f" Did you mean {name}.toml?" if Path(f"{name}.toml").is_file() else ""
        raise TailorbirdError(
            f"There is no mapping {name!r}.{near} Give the path of a .toml file or one of: {', '.join(shipped())}."
        )
    try:
        return tomllib.loads(path.read_text()), path
    except OSError as error:
        raise MappingError(f"The mapping {path} cannot be read: {error.strerror}.") from None
    except RecursionError:
        raise MappingError(f"The mapping {path} cannot be used: its values are nested too deeply.") from None
    except ValueError as error:
        raise MappingError(f"The mapping {path} is not valid TOML: {error}.") from None
