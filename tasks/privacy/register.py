"""Reads every store that can hold data of people from `register.toml`: what it holds, and by which columns."""

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, text

from tasks.scoring.partitions import existing, partition_name


class Place(StrEnum):
    """A system that has stores."""

    DATABASE = "PostgreSQL"
    LAKE = "the lake"
    VAR = "the folder `var`"
    ARTIFACTS = "artifacts in MLflow"
    MLFLOW = "MLflow's database"
    PREFECT = "Prefect's database"
    REDIS = "Redis"
    BROKER = "the message broker"
    TEMPORARY = "temporary files"
    OUTSIDE = "outside of Tailorbird"


@dataclass(frozen=True)
class Store:
    """Stores of the same content. `register.toml` explains its fields."""

    place: Place
    names: str
    holds: str = ""
    keys: tuple[str, ...] = ()
    where: str = "true"
    kept: str = "until an erasure"
    erased: str = "its rows"
    keeps_away: bool = False
    by_id: bool = False
    unsearched: str = ""


class KeyColumn(NamedTuple):
    """A column with user keys, in all rows or in those of a condition."""

    table: str
    column: str
    where: str = "true"


def _stores(place: str, entries: list[dict[str, Any]]) -> list[Store]:
    return [Store(Place[place.upper()], **{**entry, "keys": tuple(entry.get("keys", ()))}) for entry in entries]


_REGISTER: Final = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
STORES: Final = tuple(store for place, entries in _REGISTER.items() for store in _stores(place, entries))
_KEYS: Final = [(store, key.partition(".")) for store in STORES for key in store.keys]
_TABLES: Final = [pair for pair in _KEYS if pair[0].place is Place.DATABASE]
COLUMNS: Final = tuple(KeyColumn(store.names, key, store.where) for store, (key, _, field) in _TABLES if not field)
FIELDS: Final = tuple((store.names, key, field) for store, (key, _, field) in _TABLES if field)
"""Values in JSON: the table, the column, and the field."""
USER_KEYS: Final = tuple(dict.fromkeys(key for store, (key, _, _) in _KEYS if store.place is Place.LAKE))
"""Columns with user keys, of all tables of the lake."""
KEEP_AWAY: Final = frozenset(store.names for store in STORES if store.keeps_away)
"""Tables that hold users in order to keep them away."""
# A message of a process that still has an earlier key; its batch re-keys it.
PRESENT: Final = next(store.where for store in STORES if store.names == "event_inbox")
# The answers that were shown together: arrays in the JSON of a row.
ARRAYS: Final = ("user_key", "session_key")
GROUPED: Final = f"kind = 'answers' AND {PRESENT}"


def key_columns(connection: Connection) -> list[KeyColumn]:
    """Return all columns, with those of every batch of lists."""
    return [*COLUMNS, *_lists(connection)]


def _lists(connection: Connection) -> list[KeyColumn]:
    """Return the tables of all batches of lists for users, including those of interrupted runs."""
    about = "SELECT batch_id FROM recommendation_batches WHERE subject_kind <> 'user'"
    others = set(connection.execute(text(about)).scalars())
    return [
        KeyColumn(partition_name(parent, batch_id), column, f"{column} <> ''")
        for batch_id in sorted(existing(connection) - others)
        for parent, column in (("recommendations", "subject"), ("batch_users", "user_key"))
        if connection.execute(text("SELECT to_regclass(:name)"), {"name": partition_name(parent, batch_id)}).scalar()
    ]
