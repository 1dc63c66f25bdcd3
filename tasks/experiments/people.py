"""Counts the acts of the people of an experiment, from the lake and from the stored assignments."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import text

from infra.database.bulk_copy import read_table
from infra.database.experiment_rows import StartedExperiment
from infra.installation import Installation
from models.columns import PURCHASE
from models.experiments.metrics import BEFORE, COUNTED, with_derived
from tasks.lake.event_engine import EventEngine, event_engine
from tasks.lake.event_query import EventQuery

_DAYS_BEFORE: Final = 28
"""The days before a person's first impression whose acts explain part of later ones."""
_CLOCKS: Final = 10
"""The seconds by which an API's clock may be behind that of the database, which states the time of an assignment."""
_UNITS: Final = text(f"""
    SELECT unit_key, variant, device_key, extract(epoch FROM first_at)::float8 - {_CLOCKS} AS first_at
    FROM experiment_units
    WHERE experiment_id = :experiment AND first_at < to_timestamp(:until)
        AND NOT EXISTS (SELECT FROM users WHERE user_key = unit_key AND NOT consent)
        AND NOT EXISTS (SELECT FROM suppressions WHERE user_key = unit_key)""")
_KINDS: Final = {"unit_key": pa.string(), "variant": pa.string(), "device_key": pa.string(), "first_at": pa.float64()}
_SEEN: Final = text("""
    SELECT recommendation_id, variant FROM served_answers
    WHERE starts_with(variant, :name || '/') AND shown_at < to_timestamp(:until)""")
# A device belongs to its user by an alias, or if the user took over its variant.
_MEMBERS: Final = """
    CREATE TEMP TABLE members AS
    SELECT DISTINCT ON (unit) unit, person FROM (
        SELECT units.unit_key AS unit, coalesce(aliases.known, owner.unit_key, units.unit_key) AS person
        FROM units LEFT JOIN aliases ON aliases.device = units.unit_key
        LEFT JOIN units AS owner ON owner.device_key = units.unit_key
        UNION SELECT aliases.known, aliases.known FROM units JOIN aliases ON aliases.device = units.unit_key)
    ORDER BY unit, person"""
_PEOPLE: Final = """
    CREATE TEMP TABLE people AS
    SELECT person, arg_min(variant, (unit <> person, first_at)) AS variant, min(first_at) AS first_at
    FROM members JOIN units ON units.unit_key = members.unit GROUP BY person"""
_HERE: Final = "coalesce(list_contains($placements, event.placement), false)"
# A click may name the answer alone.
_CLICKED_HERE: Final = """
    UPDATE acts SET here = true WHERE recommendation_id IN (
        SELECT recommendation_id FROM acts WHERE here AND event_type = 'impression')"""
_COUNTS: Final = {
    "impressions": "count(*) FILTER (event_type = 'impression' AND here AND {when})",
    "clicks": "count(*) FILTER (event_type = 'click' AND here AND {when})",
    "added": "count(*) FILTER (event_type = 'add_to_cart' AND {when})",
    "orders": f"count(DISTINCT session) FILTER (event_type = '{PURCHASE}' AND {{when}})",
    "revenue": f"coalesce(sum(value) FILTER (event_type = '{PURCHASE}' AND {{when}}), 0)",
    "days": "count(DISTINCT floor(moment / 86400)) FILTER ({when})",
}
_EVENTS: Final = (
    EventQuery()
    .join(f"JOIN members ON members.unit = {EventQuery.USER} JOIN people USING (person)")
    .where(
        "epoch(event.occurred_at) < $until",
        f"epoch(event.occurred_at) >= people.first_at - {_DAYS_BEFORE * 86_400}",
    )
    .not_refunded()
    .select(
        "people.person, people.variant, event.event_type, coalesce(event.session_id, event.event_id) AS session, "
        f"event.value::DOUBLE AS value, epoch(event.occurred_at) AS moment, people.first_at, {_HERE} AS here, "
        "event.recommendation_id"
    )
)
_SUMS: Final = f"""
    SELECT people.person, people.variant, {
    ", ".join(f"coalesce({name}{suffix}, 0)::DOUBLE AS {name}{suffix}" for suffix in ("", BEFORE) for name in COUNTED)
} FROM people LEFT JOIN (SELECT person, {
    ", ".join(
        f"{_COUNTS[name].format(when=when)} AS {name}{suffix}"
        for suffix, when in (("", "moment >= first_at"), (BEFORE, "moment < first_at"))
        for name in COUNTED
    )
} FROM acts GROUP BY person) USING (person) ORDER BY people.person"""
_SHOWN: Final = """
    SELECT DISTINCT acts.person, seen.variant AS seen, acts.variant AS assigned FROM acts
    JOIN seen USING (recommendation_id) WHERE acts.event_type = 'impression'"""


@dataclass(frozen=True)
class People:
    """The people of an experiment, and what they did."""

    variant: NDArray[np.str_]
    """[n]"""
    sums: dict[str, NDArray[np.float64]]
    """[n] each, by the names of `models.experiments.metrics`."""
    seen: NDArray[np.str_]
    """[p, 2] for each pair of a person and a variant in the person's answers: that variant, and the assigned one."""

    def of(self, variant: str) -> dict[str, NDArray[np.float64]]:
        """Return the sums of the people of a variant."""
        return {name: values[self.variant == variant] for name, values in self.sums.items()}

    def users(self, variant: str) -> int:
        """Return the number of people of a variant."""
        return int((self.variant == variant).sum())


def people_of(installation: Installation, experiment: StartedExperiment, until: float) -> People:
    """Return the people who were assigned before `until` (epoch seconds), with their acts before then."""
    with installation.engine.connect() as connection:
        units = read_table(connection, _UNITS.bindparams(experiment=experiment.experiment_id, until=until), _KINDS)
        kinds = {"recommendation_id": pa.string(), "variant": pa.string()}
        seen = read_table(connection, _SEEN.bindparams(name=experiment.name, until=until), kinds)
    with event_engine(installation) as engine:
        if engine is None or not len(units):
            return People(np.empty(0, np.str_), with_derived(_nothing()), np.empty((0, 2), np.str_))
        return _counted(engine, experiment, units, seen, until)


def _counted(
    engine: EventEngine, experiment: StartedExperiment, units: pa.Table, seen: pa.Table, until: float
) -> People:
    connection = engine.connection
    connection.register("units", units)
    connection.register("seen", seen)
    connection.execute(_MEMBERS)
    connection.execute(_PEOPLE)
    engine.match_refunds()
    acts = engine.query(_EVENTS, until=until, placements=experiment.placements)
    connection.register("acts_of_lake", acts.to_arrow_table())
    connection.execute("CREATE TEMP TABLE acts AS SELECT * FROM acts_of_lake")
    connection.execute(_CLICKED_HERE)
    rows = connection.sql(_SUMS).to_arrow_table()
    shown = connection.sql(_SHOWN).fetchall()
    pairs = [(name.partition("/")[2], assigned) for _, name, assigned in shown]
    sums: dict[str, Any] = {
        f"{name}{when}": rows[f"{name}{when}"].to_numpy() for name in COUNTED for when in ("", BEFORE)
    }
    variants = np.array(rows["variant"].to_pylist(), dtype=np.str_)
    return People(variants, with_derived(sums), np.array(pairs, dtype=np.str_).reshape(len(pairs), 2))


def _nothing() -> dict[str, NDArray[np.float64]]:
    return {f"{name}{when}": np.empty(0) for name in COUNTED for when in ("", BEFORE)}
