"""Define the keys of [users] in a mapping file."""

from typing import Self

from pydantic import Field, model_validator

from models.ingest.expressions.value_sources import AttributeSource, Source
from models.ingest.tabular.mapping_keys.table import YES, FilledMapping, TimeFormat, Zone


class UsersMapping(FilledMapping):
    """The traits of a user that are stored; all others are never ingested."""

    texts = ("user_id", "attributes", "consent", "consent_at")
    numbers = ()
    mandatory = ("user_id",)
    moments = ("consent_at",)

    user_id: Source
    """The user, by the id of your own systems."""
    attributes: list[AttributeSource]
    """The traits to keep. No other column is stored. Do not name personal data here."""
    consent: Source | None = None
    """Whether the user agreed."""
    consent_words: list[str] = Field(list(YES))
    """The words that mean yes in the column `consent`, in any case; empty is unknown, and any other word means no."""
    consent_at: Source | None = None
    """The time of the answer: an older answer does not replace a newer one."""
    time_format: TimeFormat = "timestamp"
    """The format of `consent_at`, as for events."""
    zone: Zone = "UTC"
    """The zone of times without one, as for events."""

    @model_validator(mode="after")
    def _a_time_belongs_to_an_answer(self) -> Self:
        if self.consent_at and not self.consent:
            raise ValueError("consent_at is the time of the answer; name the column of the answer, consent")
        return self
