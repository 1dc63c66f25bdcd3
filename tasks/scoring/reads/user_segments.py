"""Looks up the segments by purchases that users are in."""

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


def segments_of(installation: Installation, dataset_version: str, people: NDArray[np.str_]) -> Segments:
    """The segment by purchases that each of the users is in, by a data set; the last name is for those without any."""
    kinds = {USER_KEY: pa.string(), "rfm": pa.string()}
    mine = select(segments.c.user_key, segments.c.rfm).where(segments.c.dataset_version == dataset_version)
    with installation.engine.connect() as connection:
        found = read_table(connection, mine, kinds)
    names, code = np.unique(words(found["rfm"]), return_inverse=True)
    of_user = np.full(len(people), len(names))
    row = index_of(people, found[USER_KEY])
    of_user[row[row >= 0]] = code[row >= 0]
    return Segments([*names.tolist(), "none"], of_user)
