"""Finds mapping files: the ones that come with Tailorbird by name, any other by path."""

import tomllib
from collections.abc import Mapping as Words
from functools import partial
from pathlib import Path
from typing import Any, Final

from infra.configuration.settings_file import placed
from models.errors import TailorbirdError
from models.ingest.segment import config
from models.ingest.segment.config import SegmentMapping
from models.ingest.tabular import config as tables
from models.ingest.tabular.config import Mapping, MappingError

SHIPPED = Path(__file__).parent / "mappings"
_SEGMENT: Final = "segment"
_CONSENT, _NOTE = "consent", "consent_note"


def shipped() -> list[str]:
    """Names of the mappings that come with Tailorbird."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def read(name: str, overrides: Words[str, str] | None = None) -> Mapping | SegmentMapping:
    """The mapping of that name or path: of tables, or of a Segment export.

    `overrides` are keys of the file that were chosen otherwise for this time, as on the command line. They are part of
    what the mapping means, and so of the name of a batch.
    """
    content, path = _content(name)
    instead = dict(overrides or {})
    if _CONSENT in instead and _NOTE not in instead:
        content.pop(_NOTE, None)  # it explains the consent that the file declares
    parse = config.parse if _is_segment(content) else tables.parse
    return parse({**content, **instead}, path.stem, partial(placed, path))


def mapping_overrides(
    source: str | None = None,
    consent: str | None = None,
    consent_note: str | None = None,
    begin: str | None = None,
    end: str | None = None,
) -> dict[str, str]:
    """The overrides that somebody chose, by the keys of the file."""
    said = {"name": source, _CONSENT: consent, _NOTE: consent_note, "from": begin, "to": end}
    return {key: word for key, word in said.items() if word}


def _is_segment(content: dict[str, Any]) -> bool:
    return content.get("kind") == _SEGMENT


def _content(name: str) -> tuple[dict[str, Any], Path]:
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
