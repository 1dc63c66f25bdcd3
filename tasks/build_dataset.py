"""Builds data sets: what models learn from, at three moments, as snapshots in the lake."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from typing import Any

import duckdb
import narwhals as nw
import pyarrow as pa
from prefect import task
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from infra.installation import Installation, current
from infra.schema import aliases, datasets, ingest_batches, items, suppressions, users
from models import columns
from models.cuts import Cuts, cuts
from models.errors import TailorbirdError
from models.features.catalog import ITEM_FEATURES, USER_FEATURES
from models.features.item import item_features
from models.features.user import user_features
from models.sql import texts
from tasks.ledger import COMMITTED

Manifest = dict[str, Any]
_FORMAT = 1


class NoEventsError(TailorbirdError):
    """There is nothing in the lake to build a data set from."""


@dataclass(frozen=True)
class _Source:
    """The committed purchases of one version of the events table, of users who agree to it now."""

    here: Installation
    connection: duckdb.DuckDBPyConnection
    version: int

    def purchases(self) -> duckdb.DuckDBPyRelation:
        """One row per product and basket that was kept; times as epoch seconds. A device counts as its user."""
        paths, batches = self.here.lake.event_files(self.version), self.batches
        if not paths or not batches:
            raise NoEventsError("The lake has no committed events yet: run `tailorbird ingest` first.")
        self.connection.register("agreed", self.users.select([columns.USER_KEY]))
        self.connection.register("aliases", self.aliases)
        return self.connection.sql(
            f"""
            WITH events AS (
                SELECT * EXCLUDE (device, known) REPLACE (coalesce(aliases.known, user_key) AS user_key)
                FROM read_parquet({texts(paths)}) AS said LEFT JOIN aliases ON said.user_key = aliases.device
                WHERE list_contains($batches, batch_id)
            ), taken_back AS (
                SELECT DISTINCT session_id, item_id FROM events
                WHERE event_type = $refund AND session_id IS NOT NULL
            )
            SELECT user_key, item_id, epoch(occurred_at)::bigint AS occurred_at, session_id, quantity, value
            FROM events SEMI JOIN agreed USING (user_key)
            WHERE event_type = $purchase
              AND (session_id IS NULL OR (
                  (session_id, item_id) NOT IN (SELECT session_id, item_id FROM taken_back)
                  AND session_id NOT IN (SELECT session_id FROM taken_back WHERE item_id = $whole_order)))
            ORDER BY occurred_at, user_key, item_id, session_id
            """,
            params={
                "purchase": columns.PURCHASE,
                "refund": columns.REFUND,
                "whole_order": columns.WHOLE_ORDER,
                "batches": batches,
            },
        )

    @cached_property
    def batches(self) -> list[str]:
        """The committed batches of events, items and users, in order of their names."""
        done = select(ingest_batches.c.batch_id).where(ingest_batches.c.status == COMMITTED)
        with self.here.engine.connect() as connection:
            return sorted(connection.execute(done).scalars())

    @cached_property
    def aliases(self) -> pa.Table:
        """Which device's key stands for which user's."""
        known = select(aliases.c.anonymous_key, aliases.c.user_key).order_by(aliases.c.anonymous_key)
        with self.here.engine.connect() as connection:
            rows = connection.execute(known).all()
        return pa.table(
            {
                "device": pa.array([device for device, _ in rows], pa.string()),
                "known": pa.array([user for _, user in rows], pa.string()),
            }
        )

    @cached_property
    def users(self) -> pa.Table:
        """Users with consent and their traits, one text column a trait."""
        gone = select(suppressions.c.user_key)
        agreed = select(users.c.user_key, users.c.attributes).where(users.c.consent, users.c.user_key.not_in(gone))
        with self.here.engine.connect() as connection:
            rows = connection.execute(agreed.order_by(users.c.user_key)).all()
        names = sorted({name for _, traits in rows for name in traits})
        table = {columns.USER_KEY: pa.array([key for key, _ in rows], pa.string())}
        return pa.table(table | {n: pa.array([traits.get(n) for _, traits in rows], pa.string()) for n in names})


def _at_each_cut(
    build: Callable[[nw.LazyFrame[Any], int], nw.LazyFrame[Any]], events: nw.LazyFrame[Any], moments: Cuts
) -> pa.Table:
    """The features as they were at each cut, with the cut in `as_of`."""
    parts = []
    for moment in moments.all():
        table = build(events, moment).collect("pyarrow").to_native()
        parts.append(table.add_column(0, columns.AS_OF, pa.array([moment] * len(table), pa.int64())))
    return pa.concat_tables(parts)


def _catalogue(here: Installation) -> pa.Table:
    names = (columns.ITEM_ID, columns.TITLE, columns.CATEGORY, columns.BRAND, columns.PRICE, columns.AVAILABLE)
    with here.engine.connect() as connection:
        rows = connection.execute(select(*(items.c[name] for name in names)).order_by(items.c.item_id)).all()
    kinds = (pa.string(), pa.string(), pa.string(), pa.string(), pa.float64(), pa.bool_())
    values = zip(*rows, strict=True) if rows else [[] for _ in names]
    return pa.table({n: pa.array(v, k) for n, v, k in zip(names, values, kinds, strict=True)})


def _content_hash(connection: duckdb.DuckDBPyConnection, rows: pa.Table) -> str:
    """A digest that depends neither on the order of the rows nor on the order in which floats were summed."""
    texts = (f"round({f.name}, 6)" if pa.types.is_floating(f.type) else f.name for f in rows.schema)
    said = ", ".join(f"coalesce({text}::varchar, '')" for text in texts)
    connection.register("hashed", rows)
    hashed = f"SELECT count(*), sum(md5_number_lower(concat_ws(chr(31), {said}))::hugeint) FROM hashed"
    found = connection.sql(hashed).fetchall()
    return hashlib.sha256(json.dumps([rows.column_names, *map(str, found[0])]).encode()).hexdigest()


def _plan(
    source: _Source, latest: int, as_of: date | None, validation_days: int, test_days: int
) -> tuple[str, Manifest, Cuts]:
    """The name of the data set and what defines it. The same definition on the same batches has the same name.

    The version of the events alone is not enough: a batch may be closed, a catalogue come in, or somebody withdraw
    consent without a new one.
    """
    moments = cuts(latest, as_of, validation_days, test_days)
    features = [feature.name for feature in (*USER_FEATURES, *ITEM_FEATURES)]
    manifest = {"format": _FORMAT, "events_version": source.version, "features": features, **moments.as_dict()}
    manifest |= {"batches": _digest(source.batches), "users": _digest(source.users[columns.USER_KEY].to_pylist())}
    if len(source.aliases):
        manifest["aliases"] = _digest([f"{row['device']} {row['known']}" for row in source.aliases.to_pylist()])
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:8]
    day = datetime.fromtimestamp(moments.as_of, UTC)
    return f"v{source.version}-{day:%Y%m%d}-{digest}", manifest, moments


def _digest(names: list[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def stored_manifest(here: Installation, version: str | None = None) -> Manifest | None:
    """The manifest of a data set, or of the newest one; None when it is not there."""
    found = select(datasets.c.manifest).order_by(datasets.c.created_at.desc()).limit(1)
    if version:
        found = found.where(datasets.c.version == version)
    with here.engine.connect() as connection:
        manifest: Manifest | None = connection.execute(found).scalar()
    return manifest


@task(description="Features at three moments, and the interactions they come from, as a snapshot in the lake.")
def build_dataset(as_of: date | None = None, validation_days: int = 30, test_days: int = 31) -> Manifest:
    """Build the data set of the events that the lake holds now, or find the one that is there; returns its manifest.

    Raises NoEventsError before the first ingest.
    """
    here = current()
    table = here.lake.events()
    if table is None:
        raise NoEventsError("The lake has no events yet: run `tailorbird ingest` first.")
    with duckdb.connect() as connection:
        source = _Source(here, connection, table.version())
        purchases = source.purchases().to_arrow_table()
        if not len(purchases):
            raise NoEventsError("The lake has no purchases to learn from: ingest some first.")
        latest = purchases[columns.OCCURRED_AT][-1].as_py()
        version, manifest, moments = _plan(source, latest, as_of, validation_days, test_days)
        return stored_manifest(here, version) or _write(source, purchases, version, manifest, moments)


def _write(
    source: _Source,
    purchases: pa.Table,
    version: str,
    manifest: Manifest,
    moments: Cuts,
) -> Manifest:
    here, connection = source.here, source.connection
    events = nw.from_native(connection.from_arrow(purchases))
    tables = {
        "interactions": purchases,
        "users": source.users,
        "items": _catalogue(here),
        "user_features": _at_each_cut(user_features, events, moments),
        "item_features": _at_each_cut(item_features, events, moments),
    }
    for name, rows in tables.items():
        here.lake.write_dataset(version, name, rows)
    manifest |= {
        "version": version,
        "rows": {name: len(rows) for name, rows in tables.items()},
        "content_hash": {name: _content_hash(connection, rows) for name, rows in tables.items()},
    }
    with here.engine.begin() as database:
        database.execute(insert(datasets).values(version=version, manifest=manifest).on_conflict_do_nothing())
    return manifest
