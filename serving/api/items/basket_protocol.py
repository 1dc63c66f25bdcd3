"""Models of requests with baskets and with items to rank."""

from typing import Annotated

from pydantic import ConfigDict, Field

from serving.answers.request import Filters
from serving.api.requests.bodies import Amount, Body, Flag, ShortText
from serving.api.requests.ids import Id
from serving.api.requests.parameters import (
    DEEPEST,
    MOST_CONTEXT,
    MOST_EXCLUDED,
    MOST_FILTERS,
    MOST_ITEMS,
    PLACEMENT_PATTERN,
)

PlacementName = Annotated[str, Field(pattern=PLACEMENT_PATTERN)]
MOST_RANKED = 1000


class Narrowed(Body):
    """Narrows the items of an answer."""

    categories: Annotated[tuple[ShortText, ...], Field(max_length=MOST_FILTERS)] = ()
    brands: Annotated[tuple[ShortText, ...], Field(max_length=MOST_FILTERS)] = ()
    lowest_price: Amount | None = None
    highest_price: Amount | None = None
    exclude: Annotated[tuple[Id, ...], Field(max_length=MOST_EXCLUDED)] = ()

    def filters(self) -> Filters:
        """Return the filters of a request."""
        lists = tuple(self.categories), tuple(self.brands)
        return Filters(*lists, self.lowest_price, self.highest_price, tuple(self.exclude))


class Basket(Body):
    """The items of a basket, and the visitor."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": ["995242", "1082185"], "user": "1", "k": 5}]})

    items: Annotated[tuple[Id, ...], Field(min_length=1, max_length=MOST_CONTEXT)]
    placement: PlacementName | None = None
    user: Id | None = None
    session: Id | None = None
    consent: Flag | None = None
    k: Annotated[int, Field(strict=True, ge=1, le=MOST_ITEMS)] | None = None
    offset: Annotated[int, Field(strict=True, ge=0, le=DEEPEST)] = 0
    filters: Narrowed = Narrowed()


class Ranking(Body):
    """Items to order, and the visitor."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"items": ["995242", "1082185", "1029743"], "user": "1"}]}
    )

    items: Annotated[tuple[Id, ...], Field(min_length=1, max_length=MOST_RANKED)]
    placement: PlacementName | None = None
    user: Id | None = None
    session: Id | None = None
    consent: Flag | None = None
    context: Annotated[tuple[Id, ...], Field(max_length=MOST_CONTEXT)] = ()
