"""Define the mapping of a Segment export."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, Field, field_validator

from models import columns
from models.ingest.canonical_schema import ParsedLines
from models.ingest.segment import parse as segment_lines
from models.ingest.segment.event_types import Meaning, event_name, extended
from models.ingest.segment.parse import PageRule
from models.ingest.source_config import SourceMapping
from models.ingest.tabular import values
from models.ingest.tabular.mapping_keys import Expression, Marks
from models.primitives.json_types import JsonObject

_OF_ITEMS: Final = (columns.ITEM_ID, columns.TITLE, columns.CATEGORY, columns.BRAND, columns.PRICE)


def _of_items(marks: list[str | Expression]) -> list[str | Expression]:
    unknown = {name for one in marks if isinstance(one, Expression) for name in one.columns}.difference(_OF_ITEMS)
    if unknown:
        raise ValueError(f"products have no {', '.join(sorted(unknown))}; use {', '.join(_OF_ITEMS)}")
    return marks


class LineMapping(SourceMapping):
    """A mapping of lines in a fixed format, such as Segment's calls."""

    usual: ClassVar[Mapping[str, Meaning]] = MappingProxyType({})
    """Meanings of events besides those of Segment's specification; custom events replace them."""
    if TYPE_CHECKING:
        events: dict[str, str]
        # Each kind declares it at its own position, because the names of batches depend on the order of keys.

    kind: str
    """The format of the lines."""
    not_merchandise: Annotated[Marks, AfterValidator(_of_items)] = Field([])
    """Items that are never recommended, such as postage: beginnings of category paths, or expressions over `item_id`,
    `title`, `category`, `brand` and `price` of a product. A single expression needs no list."""

    def merchandise(self, items: pa.Table) -> pa.Array:
        """Return whether each item is merchandise; null if its values do not show it, and without marks."""
        return values.merchandise(items, self.not_merchandise, items[columns.CATEGORY])

    def services(self, ids: Sequence[str]) -> set[str]:
        """Return the items that are marked by their id alone."""
        names = pa.array(ids, pa.string())
        goods = self.merchandise(pa.table([names, *[pa.nulls(len(names), pa.string())] * 4], names=_OF_ITEMS))
        return set(names.filter(pc.invert(goods)).to_pylist())

    def meanings(self) -> Mapping[str, Meaning]:
        """Return the meanings of all events, including custom ones, by the lookup form of their names."""
        return extended({**self.usual, **{event_name(name): kind for name, kind in self.events.items()}})

    @field_validator("events", check_fields=False)
    @classmethod
    def _types_are_known(cls, events: dict[str, str]) -> dict[str, str]:
        extended(events)
        return events

    @abstractmethod
    def parse_lines(self, lines: pa.Table) -> ParsedLines:
        """Return the canonical rows of lines: `row_number` and `text`."""

    @abstractmethod
    def event_name_of(self, line: JsonObject) -> object:
        """Return the name of the event that a parsed line reports, or None if it reports none."""


def _usable(pattern: str) -> str:
    PageRule(pattern)
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
