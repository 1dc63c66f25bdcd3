"""Assigns every user to static segments, by purchases and by traits, in tables of the database."""

import duckdb
import pyarrow as pa
from sqlalchemy import delete

from infra.database.bulk_copy import copy_table
from infra.database.schema.schema import segment_descriptions, segments
from infra.installation import Installation
from models import columns
from models.features.segments.segmentation import Segments

_SEED = 7


def segment_users(
    installation: Installation,
    connection: duckdb.DuckDBPyConnection,
    version: str,
    user_features: str,
    traits: pa.Table,
    as_of: int,
) -> None:
    """Fit the segments of a data set on its user features (as SQL) at `as_of`, and store the assignment."""
    chosen = f"SELECT * EXCLUDE (as_of) FROM {user_features} WHERE {columns.AS_OF} = {as_of}"
    features = connection.sql(chosen).to_arrow_table()
    fitted = Segments.fit(features, traits, _SEED)
    tables = {segments: fitted.assign(features, traits), segment_descriptions: fitted.describe()}
    with installation.engine.begin() as database:
        for table, rows in tables.items():
            database.execute(delete(table).where(table.c.dataset_version == version))
            versioned = rows.append_column("dataset_version", pa.repeat(version, len(rows)))
            copy_table(database, table.name, versioned)
