"""Models of answers, for the OpenAPI document and for tests."""

from typing import Final

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from serving.answers.answer import Source

_ITEM: Final[dict[str, JsonValue]] = {
    "item_id": "995242",
    "rank": 1,
    "score": 0.9055,
    "reason": "You bought this on 22 days, about every 17 days, last on 29 December",
    "title": "Fluid milk white only",
    "url": "https://shop.example/995242",
    "image": "https://shop.example/995242.jpg",
    "price": 2.5,
    "currency": "USD",
}
_LIST: Final[dict[str, JsonValue]] = {
    "recommendation_id": "0f8fad5bd9cb469fa16570867728950e",
    "placement": "home",
    "model_version": 3,
    "batch_id": 12,
    "source": "table",
    "degraded": False,
    "next": "/v1/users/1/recommendations?k=1&offset=1",
    "items": [_ITEM],
}


class Item(BaseModel):
    """One place of a list."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ITEM]})

    item_id: str = Field(description="The item, by the id that your systems use.")
    rank: int = Field(description="The place, from 1; later pages continue the count.")
    score: float = Field(description="Higher is better; comparable within one list.")
    reason: str = Field(description="Why the item is here, in a form that can be counted in the data.")
    title: str | None = None
    url: str | None = None
    image: str | None = None
    price: float | None = None
    currency: str | None = None


class RecommendationList(BaseModel):
    """A ranked list and its origin."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LIST]})

    recommendation_id: str = Field(description="Names this answer. Send it back with feedback.")
    placement: str
    model_version: int | None = Field(description="The version of the model; null if no model was used.")
    batch_id: int | None = Field(description="The published batch; null for items that no batch lists.")
    source: Source = Field(
        description="The part that answered: `live`, `cache` and `table` as usual; `last_good`, `segment` and "
        "`popular` if those did not have the list."
    )
    degraded: bool = Field(description="Whether a part that should have answered did not.")
    next: str | None = Field(default=None, description="The next page; null on the last one.")
    items: list[Item]


class BatchedList(RecommendationList):
    """The list of one user or item of a batch request."""

    id: str = Field(description="The user or item of the request.")


class BatchedLists(BaseModel):
    """Lists in the order of the request."""

    lists: list[BatchedList]


class Accepted(BaseModel):
    """What was made durable."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"message_id": "order-17-view-3", "status": "stored"}]})

    message_id: str = Field(description="Names the message. Repeating a request with the same id has one effect.")
    status: str = Field(
        description="`stored` in the database, `spooled` on disk while the database is away, or `duplicate`."
    )


class AcceptedMany(BaseModel):
    """What was made durable, in the order of the request."""

    messages: list[Accepted]


class FaultOf(BaseModel):
    """One fault of a request."""

    place: str = Field(description="A parameter, or a pointer into the body.")
    detail: str


class ProblemDocument(BaseModel):
    """An error as RFC 9457 describes it."""

    type: str
    title: str
    status: int
    detail: str = Field(description="What happened, and what to do.")
    request_id: str = Field(description="Finds the request in the server's log.")
    faults: list[FaultOf] = Field(default=[], description="All faults of a refused request.")
