"""Define the mapping of a Segment export."""

from collections.abc import Callable
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import AfterValidator, Field

from models.ingest.canonical_schema import ParsedLines
from models.ingest.segment import parse as segment_lines
from models.ingest.segment.line_mapping import LineMapping
from models.ingest.segment.page_rules import PageRule, PageRuleError
from models.ingest.source_config import parsed
from models.primitives.json_types import JsonObject


def _usable(pattern: str) -> str:
    try:
        PageRule(pattern)
    except PageRuleError as error:
        raise ValueError(str(error).rstrip(".")) from error
    return pattern


class SegmentMapping(LineMapping):
    """A mapping file of kind `segment`."""

    kind: Literal["segment"]
    """States that the files contain Segment's calls."""
    consent_categories: list[str] = Field(list(segment_lines.CONSENT_CATEGORIES))
    """The categories of `context.consent.categoryPreferences` that a user has to agree to."""
    unknown_items: Literal["quarantine", "accept"] | None = "accept"
    """What to do with events on items that neither a catalogue nor a product block contains."""
    traits: list[str] = Field([])
    """The traits of identify calls to keep; never e-mail, name, phone or address."""
    events: dict[str, str] = Field({})
    """Names of your own events → event types."""
    page_pattern: Annotated[str, AfterValidator(_usable)] | None = None
    """A regular expression for addresses of pages whose group `item_id` is the item."""

    def page_rule(self) -> PageRule | None:
        """Return the rule for visited pages, if there is one."""
        return PageRule(self.page_pattern) if self.page_pattern else None

    def parse_lines(self, lines: pa.Table) -> ParsedLines:
        """Return the canonical rows of calls."""
        return segment_lines.parse_lines(
            lines,
            self.page_rule(),
            meanings=self.meanings(),
            traits=self.traits,
            consent_categories=self.consent_categories,
            spelling=self.spelling,
        )

    def event_name_of(self, line: JsonObject) -> object:
        """Return the name of the event of a track call."""
        return line.get("event") if line.get("type") == "track" else None


def parse(content: JsonObject, name: str, label: Callable[[str], str] = str) -> SegmentMapping:
    """Return the mapping of a Segment export in `content`. Raises MappingError with all faulty keys."""
    return parsed(SegmentMapping, content, name, label)
