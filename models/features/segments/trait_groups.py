"""Count the users with each value of a trait, and how many of them a model learns from."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.columns import USER_KEY
from models.features.encoding.encoder import vocabulary
from models.features.encoding.traits import readable
from models.features.segments import trait_pooling
from models.primitives.arrow_types import ArrowColumn


@dataclass(frozen=True)
class Group:
    """The users with one value of a trait."""

    trait: str
    value: str | None
    """None: the trait is not known."""
    users: int
    """The number of users who may be served."""
    trained: int
    """The number of users whose behaviour the model learns from."""


def groups(users: pa.Table, trained: ArrowColumn) -> list[Group]:
    """Return the groups of every trait of `users` (one row each, `user_key` and traits as text or numbers).

    `trained` is an Arrow array of user keys. Groups are ordered by trait and value, users without a value last.
    """
    learned = np.asarray(pc.is_in(users[USER_KEY], value_set=trained.cast(users[USER_KEY].type)))
    values = readable(trait_pooling.grouped(users, trait_pooling.fit(users)))
    return [group for name in sorted(values.column_names) for group in _of_trait(name, values[name], learned)]


def _of_trait(trait: str, values: ArrowColumn, learned: NDArray[np.bool_]) -> list[Group]:
    names, codes = vocabulary(values)
    # Code -1, for no value, becomes the last position.
    place = np.where(codes < 0, len(names), codes)
    counts = np.bincount(place, minlength=len(names) + 1).tolist()
    trained = np.bincount(place[learned], minlength=len(names) + 1).tolist()
    rows = zip([*names.tolist(), None], counts, trained, strict=True)
    return [Group(trait, value, users, known) for value, users, known in rows if users]
