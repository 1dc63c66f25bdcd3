"""What a team decides about its Segment export, in a small file."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from models.shapes.mapping import MappingError
from models.shapes.segment import CONSENT_CATEGORIES
from models.shapes.segment_events import Meaning, MeaningError, extended
from models.shapes.segment_pages import PageRule, PageRuleError


class SegmentMapping(BaseModel):
    """The whole of a mapping file of kind `segment`."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    kind: Literal["segment"]
    consent: Literal["opt-in", "opt-out", "given"] = "opt-in"
    """opt-in: an event counts only with its user's consent. opt-out: unless it was refused. given: as declared."""
    consent_note: str
    consent_categories: list[str] = list(CONSENT_CATEGORIES)
    """The categories of `context.consent.categoryPreferences` that have to be agreed to."""
    unknown_items: Literal["quarantine", "accept"] = "accept"
    """What becomes of events on items that neither a catalogue nor a product block has named."""
    traits: list[str] = []
    """Which traits of identify calls are kept; never e-mail, name, phone or address."""
    events: dict[str, str] = {}
    """Names of own events and the event type that each stands for."""
    page_pattern: str | None = None
    """A regular expression that finds the item of a visited page, as its group `item_id`."""

    def page_rule(self) -> PageRule | None:
        """The rule for visited pages, if there is one."""
        return PageRule(self.page_pattern) if self.page_pattern else None

    def meanings(self) -> dict[str, Meaning]:
        """What events mean, with the own ones."""
        return dict(extended(self.events))


def parse(content: dict[str, Any], name: str) -> SegmentMapping:
    """The mapping in `content`; what is missing, misspelt or without meaning is named."""
    try:
        mapping = SegmentMapping(name=name, **content)
        mapping.page_rule()
        mapping.meanings()
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise MappingError(f"The mapping {name!r} cannot be used: {faults}.") from error
    except (MeaningError, PageRuleError) as error:
        raise MappingError(f"The mapping {name!r} cannot be used: {error}") from error
    return mapping
