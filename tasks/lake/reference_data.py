"""Reads from Postgres what a data set needs besides events: users with consent, items, devices, committed batches."""

from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Select,
    case,
    cast,
    func,
    select,
    text,
    true,
)

from infra.database.bulk_copy import read_table
from infra.database.schema.schema import aliases, ingest_batches, item_history, items, suppressions, user_history, users
from infra.installation import Installation
from models import columns
from models.datasets.known_attributes import BEGINNING, NAME, NO_HISTORY, SINCE, VALUE
from tasks.ingest.ledger import COMMITTED
from tasks.lake.event_query import define_events

_ITEMS = {
    **dict.fromkeys((columns.ITEM_ID, columns.TITLE, columns.CATEGORY, columns.BRAND), pa.string()),
    columns.PRICE: pa.float64(),
    columns.AVAILABLE: pa.bool_(),
}

_REFUND_ORDER = "refund_order"


@dataclass(frozen=True)
class ReferenceData:
    """The users with consent, the items and the owners of devices that a data set is made of besides events."""

    users: pa.Table
    items: pa.Table
    aliases: pa.Table
    """`device`, and the key of its user as `known`."""
    batches: pa.Table
    """`batch_id` and `started_at` of the committed ones, and `refund_order`, which data sets of before lack."""
    item_history: pa.Table
    user_history: pa.Table
    """Values that changed, as `models.datasets.known_attributes.as_known` reads them."""
    claims: bool = True
    """Whether events count that a page states of a user without a signature."""

    def register(self, connection: duckdb.DuckDBPyConnection, files: list[str]) -> None:
        """Define what an `EventQuery` joins to find the events of the lake's files that count."""
        define_events(connection, files, claims=self.claims)
        non_merchandise = self.items.filter(pc.invert(self.items[columns.AVAILABLE])).select([columns.ITEM_ID])
        batches = self.batches
        if _REFUND_ORDER not in batches.column_names:
            batches = batches.append_column(_REFUND_ORDER, pa.repeat(False, len(batches)))
        for name, rows in (("aliases", self.aliases), ("batches", batches), ("non_merchandise", non_merchandise)):
            connection.register(name, rows)


def read_reference_data(installation: Installation, *, history: bool = True) -> ReferenceData:
    """Return the current reference data; `history` adds earlier values, which only data sets need."""
    claims = installation.settings.train_on_claims == "yes"
    with installation.engine.connect() as connection:
        now = _users(connection), _items(connection), users_of_devices(connection, claims=claims), _batches(connection)
        if not history:
            return ReferenceData(*now, NO_HISTORY, NO_HISTORY, claims)
        return ReferenceData(
            *now,
            _history(connection, item_history.c.item_id),
            _history(connection, user_history.c.user_key, user_history.c.user_key.in_(_agreed())),
            claims,
        )


def _users(connection: Connection) -> pa.Table:
    """Return users with consent and their traits, one text column per trait; an empty text is none."""
    agreed = (users.c.user_key.in_(_agreed()),)
    keys = func.jsonb_object_keys(users.c.attributes).label("name")
    names = connection.execute(select(keys).distinct().where(*agreed).order_by(text("name"))).scalars().all()
    traits = [func.nullif(users.c.attributes[name].astext, "") for name in names]
    rows = select(users.c.user_key, *traits).where(*agreed).order_by(users.c.user_key)
    return read_table(connection, rows, dict.fromkeys((columns.USER_KEY, *names), pa.string()))


def _agreed() -> Select[tuple[str]]:
    return select(users.c.user_key).where(users.c.consent, users.c.user_key.not_in(select(suppressions.c.user_key)))


def _history(connection: Connection, key: Column[str], *conditions: ColumnElement[bool]) -> pa.Table:
    """Return the values that changed; a value that counts from the beginning has the earliest possible time."""
    entry = key.table.c
    since = case((func.isfinite(entry.since), func.round(func.extract("epoch", entry.since))), else_=BEGINNING)
    rows = select(key, entry.name, cast(since, BigInteger).label(SINCE), entry.value).where(*conditions)
    kinds = {key.name: pa.string(), NAME: pa.string(), SINCE: pa.int64(), VALUE: pa.string()}
    return read_table(connection, rows.order_by(key, entry.name, entry.since), kinds)


def _items(connection: Connection) -> pa.Table:
    """Return the catalogue; items that only events name get a title made of their id."""
    title = func.coalesce(func.nullif(items.c.title, ""), "Item " + items.c.item_id)
    rows = select(*(title if name == columns.TITLE else items.c[name] for name in _ITEMS)).order_by(items.c.item_id)
    return read_table(connection, rows, _ITEMS)


def users_of_devices(connection: Connection, *, claims: bool) -> pa.Table:
    """Return the user of each device or earlier id: the latest owner counts, one that is no claim first.

    Owners are followed to the end.
    """
    entry, never = aliases.c, cast("-infinity", DateTime(timezone=True))
    latest = (entry.anonymous_key, entry.claimed.desc(), func.coalesce(entry.occurred_at, never), entry.user_key)
    rows = select(entry.anonymous_key, entry.user_key).where(true() if claims else ~entry.claimed).order_by(*latest)
    owners = {row.anonymous_key: row.user_key for row in connection.execute(rows)}
    users = {device: user for device, user in sorted(_resolved(owners).items()) if device != user}
    return pa.table(
        {"device": pa.array(list(users), pa.string()), "known": pa.array(list(users.values()), pa.string())}
    )


def _resolved(owners: dict[str, str]) -> dict[str, str]:
    """Return the end of each chain of ids; a cycle is one user, under the greatest of its ids."""
    ends: dict[str, str] = {}
    for device in owners:
        path: dict[str, None] = {}
        key = device
        while key in owners and key not in ends and key not in path:
            path[key] = None
            key = owners[key]
        if key in path:
            ids = list(path)
            key = max(ids[ids.index(key) :])
        ends |= dict.fromkeys(path, ends.get(key, key))
    return ends


def _batches(connection: Connection) -> pa.Table:
    """Return the committed batches of events, items and users, ordered by id."""
    entry = ingest_batches.c
    stated = select(entry.batch_id, entry.started_at, entry.refund_order)
    kinds = {"batch_id": pa.string(), "started_at": pa.timestamp("us", tz="UTC"), _REFUND_ORDER: pa.bool_()}
    return read_table(connection, stated.where(entry.status == COMMITTED).order_by(entry.batch_id), kinds)
