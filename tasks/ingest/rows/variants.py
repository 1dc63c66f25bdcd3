"""Gives events on variants of an item, such as its sizes, to the item."""

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection, select

from infra.database.bulk_copy import read_table
from infra.database.schema.schema import items
from models import columns
from models.primitives.arrow_sql import query

_SCHEMA: Final = pa.schema({columns.VARIANT_ID: pa.string(), columns.ITEM_ID: pa.string()})
_STATED: Final = (columns.ITEM_ID, columns.VARIANT_IDS)


def no_variants() -> pa.Table:
    """Return a table without variants."""
    return _SCHEMA.empty_table()


def read_variants(connection: Connection, known: pa.Array) -> pa.Table:
    """Return the stored variants, as `variants_of` does."""
    ids = items.c.attributes[columns.VARIANT_IDS].astext.label(columns.VARIANT_IDS)
    statement = select(items.c.item_id, ids).where(items.c.attributes.has_key(columns.VARIANT_IDS))
    return variants_of(read_table(connection, statement, {name: pa.string() for name in _STATED}), known)


def variants_of(catalogue: pa.Table, known: pa.Array) -> pa.Table:
    """Return each variant with its item.

    `catalogue` has `item_id` and `variant_ids` (a line each, or null). An id of two items, or of a `known` item itself,
    is left out.
    """
    statement = """
        SELECT variant_id, any_value(item_id) AS item_id
        FROM (SELECT item_id, unnest(split(variant_ids, chr(10))) AS variant_id FROM catalogue)
        WHERE variant_id <> '' GROUP BY variant_id HAVING count(DISTINCT item_id) = 1 ORDER BY variant_id"""
    variants = query(statement, catalogue=catalogue.select(list(_STATED))).cast(_SCHEMA)
    return variants.filter(pc.invert(pc.is_in(variants[columns.VARIANT_ID], value_set=known)))


def with_variants(keys: pa.Array, variants: pa.Table) -> pa.Array:
    """Return ids of items with those of the variants of these items."""
    own = variants.filter(pc.is_in(variants[columns.ITEM_ID], value_set=keys))[columns.VARIANT_ID]
    return pa.concat_arrays([keys, own.combine_chunks()]) if len(own) else keys


def by_item(events: pa.Table, variants: pa.Table) -> pa.Table:
    """Return events with the item of each variant as `item_id`, and the variant itself as `variant_id`."""
    if not len(variants):
        return events
    place = pc.index_in(events[columns.ITEM_ID], value_set=variants[columns.VARIANT_ID].combine_chunks())
    variant = pc.if_else(pc.is_valid(place), events[columns.ITEM_ID], pa.scalar(None, pa.string()))
    item = pc.coalesce(variants[columns.ITEM_ID].take(place), events[columns.ITEM_ID])
    events = events.set_column(events.column_names.index(columns.ITEM_ID), columns.ITEM_ID, item)
    return events.append_column(columns.VARIANT_ID, variant)
