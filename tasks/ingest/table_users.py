"""Rows of a table of users, under their pseudonyms."""

import pyarrow as pa

from models import columns
from models.shapes import tabular
from models.shapes.cleaning import Cleaned
from models.shapes.mapping import UsersMapping
from models.shapes.traffic import USER_ID_TOO_LONG, too_long
from tasks.prepare import pseudonymised


def keyed_users(rows: pa.Table, part: UsersMapping, key: bytes) -> tuple[Cleaned, pa.Table]:
    """Return the users of a chunk of rows by pseudonym, and the raw ids with their pseudonyms."""
    found = tabular.users(rows, part)
    shaped = found.rows
    shaped = shaped.append_column(USER_ID_TOO_LONG, too_long(shaped[columns.USER_ID]))
    keyed, names = pseudonymised(shaped, key)
    return found._replace(rows=keyed), names
