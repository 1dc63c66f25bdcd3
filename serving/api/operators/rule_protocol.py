"""Models of requests and answers about rules of operators."""

from datetime import datetime
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from models.lists.rules.layer.rule_layer import BoostKind, HiddenItem, ItemBoost, PinnedItem, RuleLayer, RuleVersion
from models.lists.rules.layer.validation import HIGHEST_FACTOR, LOWEST_FACTOR, MOST_RULES
from serving.answers.protocol import Source
from serving.api.replies.document import Item
from serving.api.requests.values import MOST_CONTEXT, Body, Id, Moment, PageSize, PlacementName, ShortText

_STORED: Final[dict[str, JsonValue]] = {"author": "ann", "since": "2026-11-29T10:00:00Z"}
_RULES: Final[dict[str, JsonValue]] = {
    "pins": [{"placement": "home", "item": "995242", "place": 1, "until": "2999-12-24T23:00:00Z"}],
    "hides": [{"item": "1082185"}],
    "boosts": [{"placement": "home", "kind": "category", "value": "GROCERY", "factor": 1.5}],
}
LARGEST_VERSION: Final = 2**31 - 2


Placed = Annotated[PlacementName, Field(description="The placement.")]
Comment = Annotated[ShortText, Field(description="Why the rules change.")]
Number = Annotated[int, Field(strict=True, ge=0, le=LARGEST_VERSION)]
_END: Final = "The moment at which the rule ends, with its zone; without it the rule stays."


class PinBody(Body):
    """An item with a fixed place on all lists of a placement."""

    placement: Placed
    item: Id
    place: Annotated[int, Field(strict=True, ge=1, le=1000, description="From 1.")]
    until: Moment | None = Field(default=None, description=_END)


class HideBody(Body):
    """An item that no list of a placement holds, or no list at all."""

    item: Id
    placement: Placed | None = Field(default=None, description="Without it the item is hidden everywhere.")
    until: Moment | None = Field(default=None, description=_END)


class BoostBody(Body):
    """A factor on the scores of some items in a placement."""

    placement: Placed
    kind: BoostKind
    value: Id = Field(description="The item, the path of the category, or the brand.")
    factor: Annotated[
        float, Field(strict=True, ge=LOWEST_FACTOR, le=HIGHEST_FACTOR, allow_inf_nan=False, description="1: no effect.")
    ]
    until: Moment | None = Field(default=None, description=_END)


class RulesBody(Body):
    """A whole layer of rules."""

    model_config = ConfigDict(json_schema_extra={"examples": [_RULES]})

    pins: Annotated[tuple[PinBody, ...], Field(max_length=MOST_RULES)] = ()
    hides: Annotated[tuple[HideBody, ...], Field(max_length=MOST_RULES)] = ()
    boosts: Annotated[tuple[BoostBody, ...], Field(max_length=MOST_RULES)] = ()

    def layer(self) -> RuleLayer:
        """Return the layer."""
        return RuleLayer(
            tuple(PinnedItem(**dict(pin)) for pin in self.pins),
            tuple(HiddenItem(**dict(hide)) for hide in self.hides),
            tuple(ItemBoost(**dict(boost)) for boost in self.boosts),
        )


class NewRules(Body):
    """A new version of the rules: all of them, not only those that change."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"version": 0, "comment": "Advent", "author": "ann", "rules": _RULES}]}
    )

    version: Number = Field(description="The version that the change is based on; 0 if there is none yet.")
    rules: RulesBody
    comment: Comment
    author: ShortText | None = Field(default=None, description="The person; by default the name of the API key.")


class Undo(Body):
    """The return to the rules of an earlier version."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": 1, "comment": "Too early"}]})

    version: Number = Field(description="The current version.")
    target: Number | None = Field(default=None, description="The earlier version; by default the one before it.")
    comment: Comment
    author: ShortText | None = Field(default=None, description="The person; by default the name of the API key.")


class PreviewRequest(Body):
    """A list to show under the current rules, and under edited ones."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"placement": "home", "user": "1", "k": 5, "rules": _RULES}]}
    )

    placement: Placed
    user: Id | None = None
    session: Id | None = None
    item: Id | None = Field(default=None, description="The subject, for placements about items.")
    context: Annotated[tuple[Id, ...], Field(max_length=MOST_CONTEXT)] = ()
    k: PageSize | None = None
    rules: RulesBody | None = Field(default=None, description="The edited layer; without it only the current list.")


class Version(BaseModel):
    """One version of the rules."""

    version: int = Field(description="0 if no rules were ever stored.")
    author: str
    comment: str
    created_at: datetime | None
    restores: int | None = Field(default=None, description="The earlier version that an undo made current again.")
    rules: RuleLayer

    @classmethod
    def of(cls, stored: RuleVersion) -> Self:
        """Return the model of a version."""
        return cls(
            version=stored.version,
            author=stored.author,
            comment=stored.comment,
            created_at=stored.created_at if stored.version else None,
            restores=stored.restores,
            rules=stored.layer,
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


class PreviewedLists(BaseModel):
    """The same list under the current rules and under the edited ones."""

    placement: str
    current: PreviewedList
    edited: PreviewedList | None = Field(description="Null without edited rules.")
    conflicts: list[ConflictWithFile] = Field(description="Of the edited rules with the placements file.")
