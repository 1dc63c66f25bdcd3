"""Parses experiments: which variants of placements are compared, on which share of people, and until when."""

import json
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import Field, ValidationError, field_validator

from models.errors import TailorbirdError
from models.lists.rules.placement_config import CHAMPION, NAME, Form, Placement, PlacementError, placements
from models.primitives.config_faults import faults as faults_of
from models.primitives.json_types import JsonObject

_SEPARATOR: Final = "~"
"""Joins the parts of a variant's own placement; names of placements have none."""
Metric = Literal["click_through", "conversion", "order_value", "revenue_per_user", "repeat_visits"]
Name = Annotated[str, Field(pattern=NAME)]


class ExperimentError(TailorbirdError):
    """Experiments that cannot be parsed, started or stopped."""


class VariantForm(Form, extra="allow"):
    """One variant: its share of the people, and the keys of a placement that it changes."""

    share: float = Field(default=1, gt=0, le=1000)
    """The people of this variant, in proportion to the shares of the others."""


class ExperimentForm(Form):
    """One experiment of the file."""

    placements: list[str] = Field(min_length=1)
    """The placements that its variants change."""
    ends: date
    """The first day (UTC) without it."""
    primary: Metric = "click_through"
    """The metric that decides; the others are corrected for their number."""
    traffic: float = Field(default=1, gt=0, le=1)
    """The share of the layer's people who take part."""
    layer: Name | None = None
    """Experiments of one layer have different people; by default the layer is that of the placements."""
    ramp_days: float = Field(default=0, ge=0, le=365)
    """The days in which the share grows from a tenth of `traffic` to all of it."""
    holdout: bool = False
    """People in a changed variant take part in no other experiment."""
    variants: dict[Name, VariantForm] = Field(min_length=2, max_length=10)
    """The first one is the control, which the others are compared with."""

    @field_validator("placements")
    @classmethod
    def _each_once(cls, value: list[str]) -> list[str]:
        if len(set(value)) < len(value):
            raise ValueError("a placement is named twice; keep one")
        return value


class Variant(NamedTuple):
    """One variant with the placements that it serves in place of others."""

    name: str
    share: float
    """The share of the experiment's people, from 0 to 1."""
    placements: Mapping[str, Placement]
    """Its own placements by the name of the one they replace; empty for a variant that changes nothing."""


class Experiment(NamedTuple):
    """A parsed experiment."""

    name: str
    form: ExperimentForm
    variants: tuple[Variant, ...]

    @property
    def layer(self) -> str:
        """Return the layer, whose experiments have different people."""
        return self.form.layer or "+".join(sorted(self.form.placements))

    @property
    def models(self) -> set[str | int]:
        """Return the models that variants use instead of the champion."""
        own = (placement.model for variant in self.variants for placement in variant.placements.values())
        return set(own) - {CHAMPION}


def own_placement(placement: str, experiment: str, variant: str) -> str:
    """Return the name under which a variant's lists are published in place of a placement's."""
    return _SEPARATOR.join((placement, experiment, variant))


def served_placements(name: str, definition: JsonObject) -> dict[str, Placement]:
    """Return the placements of the variants of a stored experiment, by the names of their lists."""
    return {
        own_placement(placement, name, variant): Placement.model_validate_json(json.dumps(content))
        for variant, placements in definition["variants"].items()
        for placement, content in placements.items()
    }


def replaced_placement(name: str) -> str:
    """Return the placement that people know: of a variant's own placement the one it replaces."""
    return name.partition(_SEPARATOR)[0]


def parse_experiment(name: str, content: JsonObject, known: Mapping[str, JsonObject]) -> Experiment:
    """Return an experiment of a file; `known` are the tables of all placements. Raises ExperimentError with all faults.

    A variant's table overrides keys of the placement, and within `rules` single rules.
    """
    try:
        form = ExperimentForm.model_validate(content)
    except ValidationError as error:
        raise _unusable(name, "; ".join(faults_of(ExperimentForm, error, name, str))) from None
    if missing := [placement for placement in form.placements if placement not in known]:
        raise _unusable(name, f"there is no placement {missing[0]!r}; there are {', '.join(known)}")
    total = sum(variant.share for variant in form.variants.values())
    variants = tuple(
        Variant(variant_name, variant.share / total, _own(name, variant_name, variant.model_extra or {}, form, known))
        for variant_name, variant in form.variants.items()
    )
    if not any(variant.placements for variant in variants):
        raise _unusable(name, "its variants change nothing; give one of them a model or rules")
    return Experiment(name, form, variants)


def _own(
    name: str, variant: str, changes: JsonObject, form: ExperimentForm, known: Mapping[str, JsonObject]
) -> dict[str, Placement]:
    if not changes:
        return {}
    tables = {}
    for placement in form.placements:
        before = known[placement]
        rules = before.get("rules", {}) | changes.get("rules", {})
        tables[placement] = before | changes | ({"rules": rules} if rules else {})
    try:
        own = placements(tables)
    except PlacementError as error:
        raise ExperimentError(f"The variant {variant!r} of {name!r}: {error}") from None
    changed = {placement for placement, table in tables.items() if own[placement].subject != _subject(known[placement])}
    if changed:
        raise _unusable(f"{name}.variants.{variant}", "a variant cannot change the subject of a placement's lists")
    return own


def _subject(table: JsonObject) -> str:
    return str(table.get("subject", table.get("about", "user")))


def _unusable(name: str, fault: str) -> ExperimentError:
    return ExperimentError(f"The experiment {name!r} cannot be used: {fault}.")
