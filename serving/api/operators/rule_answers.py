"""Models of answers about rules of operators."""

from datetime import datetime
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from models.lists.rules.layer.rule_layer import BoostKind, RuleLayer
from models.lists.rules.layer.rule_version import RuleVersion
from serving.answers.answer import Answer, Source
from serving.api.replies.protocol import Item

_STORED: Final[dict[str, JsonValue]] = {"author": "ann", "since": "2026-11-29T10:00:00Z"}


class StoredPin(BaseModel):
    """A pin with its author."""

    placement: str
    item: str
    place: int
    until: datetime | None = None
    author: str
    since: datetime | None = None


class StoredHide(BaseModel):
    """A hidden item with its author."""

    item: str
    placement: str | None = None
    until: datetime | None = None
    author: str
    since: datetime | None = None


class StoredBoost(BaseModel):
    """A boost with its author."""

    placement: str
    kind: BoostKind
    value: str
    factor: float
    until: datetime | None = None
    author: str
    since: datetime | None = None


class StoredRules(BaseModel):
    """A whole layer with the author of each rule."""

    pins: list[StoredPin]
    hides: list[StoredHide]
    boosts: list[StoredBoost]

    @classmethod
    def of(cls, layer: RuleLayer) -> Self:
        """Return the model of a layer."""
        return cls(
            pins=[StoredPin(**vars(pin)) for pin in layer.pins],
            hides=[StoredHide(**vars(hide)) for hide in layer.hides],
            boosts=[StoredBoost(**vars(boost)) for boost in layer.boosts],
        )


class Version(BaseModel):
    """One version of the rules."""

    version: int = Field(description="0 if no rules were ever stored.")
    author: str
    comment: str
    created_at: datetime | None
    restores: int | None = Field(default=None, description="The earlier version that an undo made current again.")
    rules: StoredRules

    @classmethod
    def of(cls, stored: RuleVersion) -> Self:
        """Return the model of a version."""
        return cls(
            version=stored.version,
            author=stored.author,
            comment=stored.comment,
            created_at=stored.created_at if stored.version else None,
            restores=stored.restores,
            rules=StoredRules.of(stored.layer),
        )


class ConflictWithFile(BaseModel):
    """A rule that the placements file contradicts, or that has no effect."""

    placement: str
    detail: str
    rule: str | None = Field(default=None, description="The place of the rule, such as `/pins/0`; null for several.")


class CurrentRules(BaseModel):
    """The current version, its conflicts with the placements file, and a page of all versions."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "current": {
                        "version": 1,
                        "author": "ann",
                        "comment": "Advent",
                        "created_at": "2026-11-29T10:00:00Z",
                        "rules": {"pins": [], "hides": [{"item": "1082185", **_STORED}], "boosts": []},
                    },
                    "conflicts": [],
                    "versions": [],
                    "next": None,
                }
            ]
        }
    )

    current: Version
    conflicts: list[ConflictWithFile]
    versions: list[Version] = Field(description="All versions, the latest first.")
    next: str | None = Field(default=None, description="The next page of versions; null on the last one.")


class SavedRules(BaseModel):
    """The version that was stored, and its conflicts with the placements file."""

    current: Version
    conflicts: list[ConflictWithFile]


class PreviewedList(BaseModel):
    """The answer that the visitor would get."""

    source: Source
    degraded: bool
    model_version: int | None
    batch_id: int | None
    items: list[Item]

    @classmethod
    def of(cls, answer: Answer) -> Self:
        """Return the model of an answer."""
        return cls(
            source=answer.source,
            degraded=answer.degraded,
            model_version=answer.model_version,
            batch_id=answer.batch_id,
            items=[Item(**item._asdict()) for item in answer.items],
        )


class PreviewedLists(BaseModel):
    """The same list under the current rules and under the edited ones."""

    placement: str
    current: PreviewedList
    edited: PreviewedList | None = Field(description="Null without edited rules.")
    conflicts: list[ConflictWithFile] = Field(description="Of the edited rules with the placements file.")
