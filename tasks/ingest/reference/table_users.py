"""Transforms rows of a table of users, with pseudonyms."""

import pyarrow as pa

from models import columns
from models.ingest.tabular import transform
from models.ingest.tabular.table_mapping import UsersMapping
from models.ingest.tabular.transform import Cleaned
from models.ingest.traffic_filter import USER_ID_TOO_LONG, too_long
from tasks.ingest.validation.event_enrichment import pseudonymise


def keyed_users(rows: pa.Table, part: UsersMapping, key: bytes) -> tuple[Cleaned, pa.Table]:
    """Return the users of a chunk of rows by pseudonym, and the raw ids with their pseudonyms."""
    users = transform.users(rows, part)
    shaped = users.rows
    shaped = shaped.append_column(USER_ID_TOO_LONG, too_long(shaped[columns.USER_ID]))
    keyed, names = pseudonymise(shaped, key)
    return users._replace(rows=keyed), names
