"""Reads the RFM segments of users."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import select

from infra.database.bulk_copy import read_table
from infra.database.schema.schema import segments
from infra.installation import Installation
from models.columns import USER_KEY
from models.primitives.vocabulary import index_of, words
from tasks.scoring.batch_checks import Segments


def segments_of(installation: Installation, dataset_version: str, keys: NDArray[np.str_]) -> Segments:
    """Return the RFM segment of each user by a data set; the last name is for users without one."""
    kinds = {USER_KEY: pa.string(), "rfm": pa.string()}
    query = select(segments.c.user_key, segments.c.rfm).where(segments.c.dataset_version == dataset_version)
    with installation.engine.connect() as connection:
        rows = read_table(connection, query, kinds)
    names, code = np.unique(words(rows["rfm"]), return_inverse=True)
    of_user = np.full(len(keys), len(names))
    row = index_of(keys, rows[USER_KEY])
    of_user[row[row >= 0]] = code[row >= 0]
    return Segments([*names.tolist(), "none"], of_user)
