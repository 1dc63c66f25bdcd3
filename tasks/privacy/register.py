"""Reads every store that can hold data of people from `register.toml`, and writes the policy page of it."""

import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, text

from infra.configuration.retention import Retention
from tasks.scoring.partitions import existing, partition_name

_OPENING: Final = """\
# Stores of data of people

```sh
tailorbird privacy policy              # this page with your own settings of `retention`
tailorbird privacy verify 1370         # search the stores for a user
```

Every store that can hold data of a user, what it holds, how long, and what an [erasure](privacy.md) deletes of it.
Users have pseudonyms in all stores that do not name ids. `tasks/privacy/register.toml` lists the stores, and a test
finds a new one without an entry. `python -m docs.generators.privacy_page > docs/privacy_policy.md` makes this page
with the default [settings](settings.md#retention); do not edit it by hand.

Names of staff who decide, set rules or make keys, and their reasons, are kept in `audit_log` and the tables beside it,
and in runs of Prefect and MLflow. An erasure of a user does not delete them.
"""
_HEAD: Final = "| store | holds | kept | an erasure deletes |\n|---|---|---|---|"


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


def document(retention: Retention | None = None) -> str:
    """Return the page as Markdown, with the default settings or those of an installation."""
    chosen = asdict(retention or Retention())
    own = "".join(f"; of `{source}` {period or 'for ever'}" for source, period in chosen.pop("sources").items())
    periods = {name: period or "for ever" for name, period in chosen.items()}
    periods["events"] += own
    return "\n".join([_OPENING, *(line for place in Place for line in _section(place, periods))])


def _section(place: Place, periods: dict[str, str]) -> Iterator[str]:
    rows = [store for store in STORES if store.place is place and store.holds]
    yield from (f"## {place[0].upper()}{place[1:]}", "", _HEAD)
    for store in rows:
        names = ", ".join(f"`{name}`" for name in store.names.split())
        yield f"| {names} | {store.holds} | {store.kept.format(**periods)} | {store.erased} |"
    if empty := [f"`{name}`" for one in STORES if one.place is place and not one.holds for name in one.names.split()]:
        yield f"\nWithout data of users: {', '.join(empty)}."
    yield ""
