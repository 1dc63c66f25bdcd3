"""Find the item of a visited page, for sites that track pages and not products."""

import re
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from models import columns
from models.columns import EVENT_TYPES
from models.errors import TailorbirdError
from models.primitives.arrow_sql import texts


class PageRuleError(TailorbirdError):
    """A page rule cannot be used."""


@dataclass(frozen=True)
class PageRule:
    """A regular expression that finds the item in a page's path or address, as its group `item_id`.

    `/film/(?P<item_id>[^/?#]+)` for example. It has to be valid for Python and for RE2, which has no look-around and
    no back-references. Raises PageRuleError for an invalid expression, or one without such a group.
    """

    pattern: str
    event_type: str = "view"

    def __post_init__(self) -> None:
        try:
            groups = re.compile(self.pattern).groupindex
            pc.match_substring_regex(pa.array([""]), self.pattern)
        except (re.error, pa.ArrowInvalid) as error:
            raise PageRuleError(f"The page rule {self.pattern!r} is no regular expression: {error}.") from error
        if columns.ITEM_ID not in groups:
            raise PageRuleError(f"The page rule {self.pattern!r} has no group (?P<item_id>...) to name the item.")
        if self.event_type not in EVENT_TYPES:
            raise PageRuleError(f"There is no event type {self.event_type!r}. Use one of: {', '.join(EVENT_TYPES)}.")

    def item(self, *places: str) -> str:
        """Return SQL for the id of the item in the first of the places that has one, else null."""
        # As an element of a list of literals the optimizer makes it a constant, so the pattern is compiled once.
        pattern = f"{texts([self.pattern])}[1]"
        group = re.compile(self.pattern).groupindex[columns.ITEM_ID]
        ids = ", ".join(f"nullif(regexp_extract({place}, {pattern}, {group}), '')" for place in places)
        return f"coalesce({ids})"
