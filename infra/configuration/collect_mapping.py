"""Reads the mapping of the events that Segment's libraries send, for the collector and for the move into the lake."""

import tomllib
from functools import partial
from pathlib import Path

from infra.configuration.settings import Settings
from infra.configuration.settings_file import placed
from infra.configuration.value_checks import words
from models.ingest.segment.segment_mapping import SegmentMapping
from models.ingest.source_config import MappingError


def collect_mapping(settings: Settings, source: str) -> SegmentMapping:
    """Return the mapping of a source. Raises MappingError for a file that cannot be used."""
    if not settings.collect_mapping:
        traits = words(settings.user_traits)
        return SegmentMapping.model_validate({"name": source, "kind": "segment", "traits": traits})
    path = Path(settings.collect_mapping)
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise MappingError(
            f"The mapping {path} cannot be read: {error.strerror}. Correct the setting collect_mapping."
        ) from None
    except (ValueError, RecursionError) as error:
        raise MappingError(f"The mapping {path} is not valid TOML: {error}.") from None
    if content.get("kind") != "segment":
        raise MappingError(f'The mapping {path} is none of Segment\'s calls: it needs `kind = "segment"`.')
    return SegmentMapping.parse({**content, "name": source}, path.stem, partial(placed, path))
