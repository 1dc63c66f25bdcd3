"""Reads and writes started experiments, and the placements that their variants serve in place of others."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any, Final, cast

from sqlalchemy import Connection, func, insert, select, update

from infra.database.schema.experiment_schema import experiments
from infra.database.schema.promotion_rows import Promotion
from models.experiments.definition import Experiment, ExperimentError, served_placements
from models.lists.rules.placement_config import Placement
from models.primitives.json_types import JsonObject

_SECRET_BYTES: Final = 32
_SHOWN: Final = (
    *("experiment_id", "name", "placements", "variants", "upto", "changed", "layer", "holdout", "definition"),
    *("primary_metric", "started_at", "ends_at", "stopped_at", "stopped_by", "stop_reason"),
)
_NOT_ENDED: Final = experiments.c.stopped_at.is_(None) & (experiments.c.ends_at > func.now())


@dataclass(frozen=True)
class StartedExperiment:
    """A row of `experiments`, without its secrets."""

    experiment_id: int
    name: str
    placements: list[str]
    variants: list[str]
    """The first one is the control."""
    upto: list[float]
    changed: list[str]
    layer: str
    holdout: bool
    definition: JsonObject
    primary_metric: str
    started_at: datetime | None
    ends_at: datetime
    stopped_at: datetime | None
    stopped_by: str | None
    stop_reason: str | None

    @property
    def shares(self) -> dict[str, float]:
        """Return the share of people of each variant."""
        before = [0.0, *self.upto]
        return {name: upto - last for name, upto, last in zip(self.variants, self.upto, before, strict=False)}

    @property
    def served(self) -> dict[str, Placement]:
        """Return the placements of its variants, by the names under which their lists are published."""
        return served_placements(self.name, self.definition)

    def state(self, now: datetime) -> str:
        """Return `starting`, `running`, `stopped` or `ended`."""
        if self.stopped_at is not None:
            return "stopped"
        if self.ends_at <= now:
            return "ended"
        return "starting" if self.started_at is None else "running"

    def row(self, now: datetime) -> JsonObject:
        """Return the experiment as commands show it."""
        return {
            "name": self.name,
            "state": self.state(now),
            "placements": ", ".join(self.placements),
            "variants": ", ".join(f"{name} {share:.0%}" for name, share in self.shares.items()),
            "layer": self.layer,
            "metric": self.primary_metric,
            "started": None if self.started_at is None else f"{self.started_at:%Y-%m-%d %H:%M}",
            "ends": f"{self.ends_at:%Y-%m-%d}",
            "stopped_by": self.stopped_by,
            "stop_reason": self.stop_reason,
        }


def all_experiments(connection: Connection, *, ended: bool = True) -> list[StartedExperiment]:
    """Return the experiments, the newest first; without `ended` those that start or run."""
    query = select(*(experiments.c[name] for name in _SHOWN)).order_by(experiments.c.experiment_id.desc())
    rows = connection.execute(query if ended else query.where(_NOT_ENDED)).mappings()
    return [StartedExperiment(**row) for row in rows]


def experiment_named(connection: Connection, name: str) -> StartedExperiment:
    """Return an experiment that was started. Raises ExperimentError."""
    known = all_experiments(connection)
    for experiment in known:
        if experiment.name == name:
            return experiment
    names = ", ".join(experiment.name for experiment in known) or "none"
    raise ExperimentError(f"No experiment {name!r} was started; there are {names}. `tailorbird experiments list`")


def variant_placements(connection: Connection) -> dict[str, Placement]:
    """Return the placements of all variants of experiments that start or run, by the names of their lists."""
    served = (experiment.served for experiment in all_experiments(connection, ended=False))
    return {name: placement for placements in served for name, placement in placements.items()}


def model_of_variant(connection: Connection, version: int) -> Promotion | None:
    """Return the stored bundle of a version that a variant uses; None if no experiment stored it."""
    for experiment in all_experiments(connection):
        if found := experiment.definition["models"].get(str(version)):
            return cast(Promotion, found)
    return None


def add_experiment(
    connection: Connection, experiment: Experiment, actor: str, models: Mapping[str, Promotion]
) -> StartedExperiment:
    """Add an experiment that nobody is assigned to yet, with its place in the layer. Call it under a lock.

    `models` are the bundles of its variants by version. Raises ExperimentError if the name was used, if too little of
    the layer is free, or if an experiment of another layer has one of the placements.
    """
    others = connection.execute(select(experiments).where(_NOT_ENDED)).mappings().all()
    if connection.execute(select(experiments.c.name).where(experiments.c.name == experiment.name)).first():
        raise ExperimentError(f"An experiment {experiment.name!r} was started before. Give the new one another name.")
    _refuse_overlap(experiment, others)
    in_layer = [row for row in others if row["layer"] == experiment.layer]
    start = _free_place(experiment, in_layer)
    salt = next((bytes(row["layer_salt"]) for row in in_layer), secrets.token_bytes(_SECRET_BYTES))
    form, upto = experiment.form, 0.0
    bounds = [upto := upto + variant.share for variant in experiment.variants]
    written = {
        variant.name: {name: _written(own) for name, own in variant.placements.items()}
        for variant in experiment.variants
    }
    row = {
        "name": experiment.name,
        "placements": form.placements,
        "variants": [variant.name for variant in experiment.variants],
        "upto": [*bounds[:-1], 1.0],
        "changed": [variant.name for variant in experiment.variants if variant.placements],
        "layer": experiment.layer,
        "layer_salt": salt,
        "salt": secrets.token_bytes(_SECRET_BYTES),
        "slot_from": start,
        "slot_until": min(1.0, start + form.traffic),
        "ramp_days": form.ramp_days,
        "holdout": form.holdout,
        "definition": {"variants": written, "models": models},
        "primary_metric": form.primary,
        "started_by": actor,
        "ends_at": datetime.combine(form.ends, time(), UTC),
    }
    connection.execute(insert(experiments).values(row))
    return experiment_named(connection, experiment.name)


def _written(placement: Placement) -> JsonObject:
    written: JsonObject = json.loads(placement.model_dump_json(exclude_unset=True))
    return written


def _refuse_overlap(experiment: Experiment, others: Any) -> None:
    for row in others:
        shared = set(row["placements"]) & set(experiment.form.placements)
        if shared and row["layer"] != experiment.layer and not (row["holdout"] or experiment.form.holdout):
            raise ExperimentError(
                f"The experiment {row['name']!r} runs in {', '.join(sorted(shared))} too, in the layer "
                f"{row['layer']!r}. Write that layer, so that the two have different people, or stop it first."
            )


def _free_place(experiment: Experiment, in_layer: Any) -> float:
    """Return the start of the first gap of the layer that is wide enough."""
    start, tolerance = 0.0, 1e-9
    for row in sorted(in_layer, key=lambda row: row["slot_from"]):
        if row["slot_from"] - start >= experiment.form.traffic - tolerance:
            return start
        start = max(start, row["slot_until"])
    if 1 - start >= experiment.form.traffic - tolerance:
        return start
    names = ", ".join(row["name"] for row in in_layer)
    raise ExperimentError(
        f"Too few people of the layer {experiment.layer!r} are free for {experiment.name!r}, which wants "
        f"{experiment.form.traffic:.0%} of them: {names} run there. Write a smaller `traffic`, or stop one first."
    )


def begin_experiment(connection: Connection, experiment_id: int) -> None:
    """Assign people from now on."""
    _set(connection, experiment_id, started_at=func.coalesce(experiments.c.started_at, func.now()))


def stop_experiment(connection: Connection, experiment: StartedExperiment, actor: str, reason: str) -> None:
    """Assign nobody from now on. An experiment that was stopped before stays as it is."""
    _set(connection, experiment.experiment_id, stopped_at=func.now(), stopped_by=actor, stop_reason=reason)


def _set(connection: Connection, experiment_id: int, **values: Any) -> None:
    chosen = (experiments.c.experiment_id == experiment_id, experiments.c.stopped_at.is_(None))
    connection.execute(update(experiments).where(*chosen).values(values))
