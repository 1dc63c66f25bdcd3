"""Define a mapping file for tables: it maps the columns of a source, so no data set needs code."""

from collections.abc import Callable
from typing import Self

from pydantic import model_validator

from models.ingest.source_config import MappingError as MappingError
from models.ingest.source_config import SourceMapping, parsed
from models.ingest.tabular.mapping_keys.events import EventsMapping as EventsMapping
from models.ingest.tabular.mapping_keys.items import ItemsMapping as ItemsMapping
from models.ingest.tabular.mapping_keys.users import UsersMapping as UsersMapping
from models.primitives.json_types import JsonObject


class Mapping(SourceMapping):
    """A mapping file for tables."""

    location: str | None = None
    """The location of the files, used if the command names none."""
    events: EventsMapping | None = None
    """The events."""
    items: ItemsMapping | None = None
    """The catalogue."""
    users: UsersMapping | None = None
    """The traits and consent of users."""

    @model_validator(mode="after")
    def _something_is_read(self) -> Self:
        if not (self.events or self.items or self.users):
            raise ValueError("it reads nothing; add a table [events], [items] or [users]")
        return self

    @property
    def accepts_unknown_items(self) -> bool:
        """Return whether unknown items are accepted: by default in a source without a catalogue of its own."""
        return self.unknown_items == "accept" or (self.unknown_items is None and self.items is None)


def parse(content: JsonObject, name: str, label: Callable[[str], str] = str) -> Mapping:
    """Return the mapping of tables in `content`. Raises MappingError with all faulty keys."""
    return parsed(Mapping, content, name, label)
