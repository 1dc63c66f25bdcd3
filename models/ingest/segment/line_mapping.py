"""Define the mappings whose files have one JSON object per line."""

from abc import abstractmethod
from collections.abc import Mapping

import pyarrow as pa

from models.ingest.canonical_schema import ParsedLines
from models.ingest.segment.event_types import Meaning
from models.ingest.source_config import SourceMapping
from models.primitives.json_types import JsonObject


class LineMapping(SourceMapping):
    """A mapping of lines in a fixed format, such as Segment's calls."""

    kind: str
    """The format of the lines."""

    @abstractmethod
    def meanings(self) -> Mapping[str, Meaning]:
        """Return the meanings of all events, including custom ones, by the lookup form of their names."""

    @abstractmethod
    def parse_lines(self, lines: pa.Table) -> ParsedLines:
        """Return the canonical rows of lines: `row_number` and `text`."""

    @abstractmethod
    def event_name_of(self, line: JsonObject) -> object:
        """Return the name of the event that a parsed line reports, or None if it reports none."""
