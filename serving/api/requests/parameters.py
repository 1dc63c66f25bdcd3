"""Defines the query parameters of lists: one table for the parser and for the OpenAPI document."""

from dataclasses import dataclass
from typing import Any, Final, Literal

from serving.api.requests.ids import LONGEST

MOST_ITEMS: Final = 200
"""The most items on one page."""
DEEPEST: Final = 10_000
MOST_CONTEXT: Final = 50
MOST_FILTERS: Final = 50
MOST_EXCLUDED: Final = 500
HIGHEST_PRICE: Final = 1e12
PLACEMENT_PATTERN: Final = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"


@dataclass(frozen=True)
class Parameter:
    """One parameter; `many` is how often it may be repeated."""

    name: str
    kind: Literal["id", "text", "count", "amount", "choice"]
    text: str
    example: Any
    lowest: float = 0
    highest: float = 0
    many: int = 1
    choices: tuple[str, ...] = ()

    def documented(self) -> dict[str, Any]:
        """Return the parameter as OpenAPI describes it."""
        one = self._schema()
        schema = one if self.many == 1 else {"type": "array", "items": one, "maxItems": self.many}
        shown = self.example if self.many == 1 else [self.example]
        form = {} if self.many == 1 else {"style": "form", "explode": True}
        return {
            "name": self.name,
            "in": "query",
            "required": False,
            "description": self.text,
            "schema": schema,
            "example": shown,
            **form,
        }

    def _schema(self) -> dict[str, Any]:
        if self.kind == "count":
            return {"type": "integer", "minimum": int(self.lowest), "maximum": int(self.highest)}
        if self.kind == "amount":
            return {"type": "number", "minimum": self.lowest, "maximum": self.highest}
        if self.kind == "choice":
            return {"type": "string", "enum": list(self.choices)}
        return {"type": "string", "minLength": 1, "maxLength": LONGEST}


PLACEMENT: Final = Parameter("placement", "text", "The placement; by default the built-in one.", "home")
USER: Final = Parameter("user", "id", "The user, by the id that your systems use.", "1")
SESSION: Final = Parameter(
    "session", "id", "The session or device, whose latest clicks count too. It may be a cookie of yours.", "s-7f3a"
)
K: Final = Parameter("k", "count", "Items per page; by default as the placement defines.", 10, 1, MOST_ITEMS)
OFFSET: Final = Parameter("offset", "count", "Items of earlier pages. `next` of an answer counts it.", 0, 0, DEEPEST)
CONTEXT: Final = Parameter(
    "context", "id", "An item in the basket or lately viewed; repeat it, the latest last.", "995242", many=MOST_CONTEXT
)
FILTERS: Final = (
    Parameter("category", "text", "Shows items of this category or below; repeat it for more.", "GROCERY", many=50),
    Parameter("brand", "text", "Shows items of this brand; repeat it for more.", "National", many=MOST_FILTERS),
    Parameter("lowest_price", "amount", "Shows items at this price or above.", 1, 0, HIGHEST_PRICE),
    Parameter("highest_price", "amount", "Shows items at this price or below.", 20, 0, HIGHEST_PRICE),
    Parameter("exclude", "id", "An item that must not be shown; repeat it for more.", "1082185", many=MOST_EXCLUDED),
)
CONSENT: Final = Parameter(
    "consent",
    "choice",
    "The visitor's answer, if your page asked for it; `false` gives an answer that depends on no person.",
    "true",
    choices=("true", "false"),
)
WORDS: Final = Parameter("q", "text", "Words of titles, or their beginnings; all of them have to occur.", "whole milk")
ITEM: Final = Parameter("item", "id", "An item to return; repeat it for more.", "995242", many=MOST_CONTEXT)
FORMAT: Final = Parameter("format", "choice", "JSON, or a fragment of HTML.", "html", choices=("json", "html"))
PAGING: Final = (K, OFFSET)
