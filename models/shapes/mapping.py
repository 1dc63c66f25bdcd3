"""A mapping says which column of a table becomes which column of ours, so that no data set needs code."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from models.errors import TailorbirdError

Column = str | list[str]
"""A source column, or several whose values are joined."""


class MappingError(TailorbirdError):
    """A mapping file that cannot be understood."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    file: str


class EventsMapping(_Part):
    """Where the columns of an event come from. `constants` fill what the source does not carry."""

    event_id: Column
    user_id: Column
    item_id: Column
    session_id: Column
    occurred_at: str
    quantity: str | None = None
    value: str | None = None
    constants: dict[Literal["event_type", "currency"], str]


class ItemsMapping(_Part):
    """Where the catalogue comes from. `category` lists its levels, most general first."""

    item_id: str
    title: Column
    category: list[str]
    brand: str | None = None
    price: str | None = None
    attributes: list[str] = []
    not_merchandise: list[str] = []
    """Category paths (or their beginnings) of things nobody shops for: fuel, coupons. Never recommended."""


class UsersMapping(_Part):
    """Which traits of a user are kept; all others never enter."""

    user_id: str
    attributes: list[str]


class Mapping(BaseModel):
    """The whole of a mapping file."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    location: str
    consent: Literal["given", "absent"]
    """What the owner of the data declares, for data without a consent of its own."""
    consent_note: str
    events: EventsMapping
    items: ItemsMapping
    users: UsersMapping


def parse(content: dict[str, Any], name: str) -> Mapping:
    """The mapping in `content`; what is missing or misspelt is named."""
    try:
        return Mapping(name=name, **content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise MappingError(f"The mapping {name!r} cannot be used: {faults}.") from error
