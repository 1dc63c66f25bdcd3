"""A made-up shop, week by week: 400 people with tastes of their own, who come on some weekdays more than on others."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Table, select

from infra.installation import Installation
from tasks.datasets.build_dataset import build_dataset, split_by
from tasks.datasets.load_dataset import stored_manifest
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.reference.ingest_reference import ingest_items
from tasks.monitoring.drift.detect_drift import detect_drift
from tests.tasks.stages import Stage

PEOPLE, ITEMS, AISLES = 400, 120, 6
FIRST: Final = np.datetime64("2024-01-01T00:00:00", "s")
"""A Monday."""
KNOWN: Final = 39
"""Weeks before the champion's cut."""
CUT: Final = datetime(2024, 9, 30, tzinfo=UTC)
_DAYS: Final = (0.1, 0.1, 0.12, 0.13, 0.2, 0.25, 0.1)
_TASTE: Final = np.random.default_rng(1).dirichlet(np.full(AISLES, 0.4), PEOPLE)
_ATTRACTION: Final = 1 / np.arange(1, ITEMS // AISLES + 1)
_PRICES: Final = np.exp(np.random.default_rng(2).normal(1.0, 0.6, ITEMS))
_SHUFFLED: Final = np.random.default_rng(3).permutation(ITEMS)

MAPPING: Final = """
consent = "given"
consent_note = "made up"
location = "."

[events]
file = "events*.parquet"
event_id = "id"
user_id = "person"
session_id = "visit"
item_id = "product"
occurred_at = "at"
event_type = "what"
quantity = "pieces"
value = "paid"
currency = "currency"
optional = ["visit", "pieces", "paid", "currency"]

[items]
file = "items.parquet"
item_id = "product"
title = "product"
category = ["department", "aisle"]
"""


@dataclass(frozen=True)
class Week:
    """What is otherwise in a week."""

    number: int
    shuffled: bool = False
    """People buy other things than before."""
    people: int = PEOPLE
    visits: float = 1.5
    """Of a person, on average."""


def items() -> pa.Table:
    """The catalogue."""
    aisle = np.arange(ITEMS) % AISLES
    names = [f"product-{number}" for number in range(ITEMS)]
    return pa.table({"product": names, "department": [f"D{a % 3}" for a in aisle], "aisle": [f"A{a}" for a in aisle]})


def events(*weeks: Week) -> pa.Table:
    """The events of these weeks, and the first after them."""
    return pa.concat_tables([*map(_week, weeks), end(weeks[-1].number + 1)])


@dataclass(frozen=True)
class Weekly:
    """The shop in an installation; its champion has learned from `KNOWN` weeks."""

    here: Installation
    folder: Path

    @property
    def mapping(self) -> str:
        """Where it is."""
        path = self.folder / "weeks.toml"
        if not path.exists():
            path.write_text(MAPPING)
        return str(path)

    def open(self) -> None:
        """Take in all that is known, promote a champion, and learn what is usual."""
        pq.write_table(items(), self.folder / "items.parquet")
        ingest_items.fn(self.mapping, str(self.folder / "items.parquet"))
        self.ingest(events(*map(Week, range(KNOWN))))
        build_dataset.fn(split_by(as_of=CUT.date(), validation_days=30, test_days=31))
        Stage(self.here, None, stored_manifest(self.here) or {}).promote()
        assert detect_drift.fn() == {"reports": [], "note": ""}

    def ingest(self, table: pa.Table) -> None:
        """Take in events."""
        path = self.folder / f"events-{len(list(self.folder.glob('events*')))}.parquet"
        pq.write_table(table, path)
        ingest_events.fn(self.mapping, str(path))

    def rows(self, table: Table) -> list[Any]:
        """Of a table of the database, in order."""
        with self.here.engine.connect() as connection:
            return list(connection.execute(select(table).order_by(*table.primary_key)))


def _week(week: Week) -> pa.Table:
    random = np.random.default_rng(200 + week.number)
    person = np.repeat(np.arange(week.people), random.poisson(week.visits, week.people))
    minute = random.choice(7, len(person), p=_DAYS) * 1_440 + random.integers(480, 1_320, len(person))
    visit = np.repeat(np.arange(len(person)), 1 + random.poisson(2.0, len(person)))
    product = _chosen(random, _TASTE[person[visit]])
    product = _SHUFFLED[product] if week.shuffled else product
    bought, pieces = random.random(len(visit)) < 0.6, random.integers(1, 4, len(visit))
    at = FIRST + week.number * 604_800 + minute[visit] * 60 + np.arange(len(visit)) % 60
    paid = np.round(_PRICES[product] * pieces * random.uniform(0.9, 1.1, len(visit)), 2)
    columns: dict[str, Any] = {
        "id": [f"{week.number}-{number}" for number in range(len(visit))],
        "person": [f"person-{number}" for number in person[visit]],
        "visit": [f"visit-{week.number}-{number}" for number in visit],
        "product": [f"product-{number}" for number in product],
        "at": pa.array(at.astype("datetime64[us]")),
        "what": np.where(bought, "purchase", "view"),
        "pieces": pa.array(pieces.astype(float), mask=~bought),
        "paid": pa.array(paid, mask=~bought),
        "currency": pa.array(["EUR"] * len(visit), mask=~bought),
    }
    return pa.table(columns).sort_by("at")


def end(number: int) -> pa.Table:
    """Somebody looks at something, as the first of a week: then the one before is over."""
    seen = {"id": f"over-{number}", "person": "person-0", "visit": f"over-{number}", "product": "product-0"}
    seen |= {"at": (FIRST + number * 604_800).astype("datetime64[us]").item(), "what": "view"}
    return pa.Table.from_pylist([seen], schema=_week(Week(0)).schema)


def _chosen(random: np.random.Generator, taste: Any) -> Any:
    """A product for each row of tastes: an aisle, and in it rather what is popular."""
    aisle = (random.random((len(taste), 1)) > np.cumsum(taste, axis=1)[:, :-1]).sum(axis=1)
    place = random.choice(len(_ATTRACTION), len(taste), p=_ATTRACTION / _ATTRACTION.sum())
    return place * AISLES + aisle
