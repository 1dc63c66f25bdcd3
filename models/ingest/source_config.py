"""Define the settings of every source: consent, time window, spelling, traffic and limits."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from models.errors import TailorbirdError
from models.ingest import placeholder_ids
from models.ingest.batch_limits import Limits
from models.ingest.normalisation import Spelling
from models.ingest.traffic_filter import Traffic
from models.primitives.config_faults import faults
from models.primitives.json_types import JsonObject

Consent = Literal["given", "opt-in", "opt-out"]
_NOTES = MappingProxyType(
    {
        "opt-in": "opt-in: only events whose user agreed are taken",
        "opt-out": "opt-out: all events are taken but those whose user refused",
    }
)


class MappingError(TailorbirdError):
    """A mapping file cannot be used."""


def _moment(value: Any) -> datetime:
    """Return a date, a time or the text of either as an instant; without a zone it is in UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(f"{value!r} is no time; write 2026-03-01 or 2026-03-01T12:00:00Z") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        raise ValueError("write a date or a time, such as 2026-03-01 or 2026-03-01T12:00:00Z")
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{value} is beyond the years 1 to 9999 in UTC; write a date such as 2026-03-01") from None


def _words(value: list[str]) -> list[str]:
    if any(not word.strip() for word in value):
        raise ValueError("an empty word is a missing id already; take it out")
    return value


Moment = Annotated[datetime, BeforeValidator(_moment)]


class SourceMapping(BaseModel):
    """The keys that every mapping file has."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    known_placeholders: ClassVar[tuple[str, ...]] = placeholder_ids.PEOPLE
    """The user ids that identify no user in any source of this kind."""
    name: str = Field(min_length=1)
    """The name of the source in the ledger and in the lake."""
    consent: Consent = "opt-in"
    """opt-in: only events of users who agreed. opt-out: all events except those of users who refused. given: the owner
    of the data declares consent for everybody."""
    consent_note: str = ""
    """A note on how consent was given, stored with it; required if consent is declared for everybody."""
    unknown_items: Literal["quarantine", "accept"] | None = None
    """What to do with events on items that no catalogue contains."""
    start: Moment | None = Field(None, alias="from")
    """Takes only events that occurred at or after this moment."""
    end: Moment | None = Field(None, alias="to")
    """Takes only events that occurred before this moment."""
    placeholder_ids: Annotated[list[str], AfterValidator(_words)] = []
    """Further user ids that identify no user, besides the usual ones such as `null` and `guest`."""
    traffic: Traffic = Traffic()
    """The robots and internal users whose events are left out."""
    spelling: Spelling = Spelling()
    """Other spellings of categories, brands and currencies."""
    limits: Limits = Limits()
    """The limits of one event and of one batch."""

    @property
    def placeholders(self) -> list[str]:
        """Return all spellings of user ids that identify no user."""
        return placeholder_ids.spellings([*self.known_placeholders, *self.placeholder_ids])

    @property
    def accepts_unknown_items(self) -> bool:
        """Return whether events on items that no catalogue has are accepted."""
        return self.unknown_items == "accept"

    @model_validator(mode="before")
    @classmethod
    def _add_default_consent_note(cls, content: JsonObject) -> JsonObject:
        consent = content.get("consent", "opt-in")
        note = _NOTES.get(consent) if isinstance(consent, str) else None
        return content if content.get("consent_note") or note is None else {**content, "consent_note": note}

    @model_validator(mode="after")
    def _require_consent_note(self) -> Self:
        if not self.consent_note.strip():
            raise ValueError('consent = "given" declares consent for all; state how it was given, as consent_note')
        if self.start and self.end and self.start >= self.end:
            raise ValueError(f"from ({self.start.isoformat()}) has to come before to ({self.end.isoformat()})")
        return self


M = TypeVar("M", bound=SourceMapping)


def parsed(model: type[M], content: JsonObject, name: str, label: Callable[[str], str] = str) -> M:
    """Return the mapping in `content`. Raises MappingError with all missing, misspelt or invalid keys at once.

    `label` returns the name of a key in messages, such as the key with its line in a file.
    """
    try:
        return model.model_validate({"name": name, **content})
    except ValidationError as error:
        text = "; ".join(faults(model, error, label=label))
        raise MappingError(f"The mapping {name!r} cannot be used: {text}.") from None
