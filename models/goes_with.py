"""The reason that names what the user had: of all that speaks for an item, the user's own item that says most."""

from textwrap import shorten
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.category_reasons import LOOKED_AT, UNNAMED
from models.favourites import named_categories
from models.training_data import TrainingData

NONE: Final = -1
"""Stands where none of the user's items speaks for the pick."""

_LONGEST: Final = 80  # characters of a title, so that a reason stays a line


def phrases(data: TrainingData) -> NDArray[np.str_]:
    """[n_items] how a reason speaks of a user's item: by title, else by category; empty when it has neither."""
    names, category = named_categories(data.item_categories)
    found = []
    for title, of in zip(data.item_titles.tolist(), category, strict=True):
        name = shorten(title, _LONGEST, placeholder="…")
        if name:
            found.append(f"{name} you bought")
        else:
            found.append(f"{shorten(str(names[of]), _LONGEST, placeholder='…')} you buy" if of != NONE else "")
    return np.array(found, dtype=np.str_)


def phrases_of_clicks(phrases: NDArray[np.str_]) -> NDArray[np.str_]:
    """[n_items] the same of items that were clicked: nobody is told that he bought what he looked at."""
    names = [phrase.rpartition(" you ")[0] for phrase in phrases.tolist()]
    return np.array([f"{name} you {LOOKED_AT}" if name else "" for name in names], dtype=np.str_)


def strongest_own(evidence: Any, items: NDArray[np.int32]) -> NDArray[np.int32]:
    """[m] the column of each row's greatest value above zero, but never the item that the row is about.

    `evidence` is CSR [m, n_items]: how much each of the user's items speaks for the pick. NONE where nothing does;
    of equals the first column.
    """
    row = np.repeat(np.arange(evidence.shape[0]), np.diff(evidence.indptr))
    counts = (evidence.data > 0) & (evidence.indices != items[row])
    row, column, value = row[counts], evidence.indices[counts], evidence.data[counts]
    order = np.lexsort((column, -value, row))
    first = order[np.diff(row[order], prepend=-1) != 0]
    best = np.full(len(items), NONE, dtype=np.int32)
    best[row[first]] = column[first]
    return best


def reasons(phrases: NDArray[np.str_], own: NDArray[np.int32]) -> list[str]:
    """One sentence per own item (or NONE), as `strongest_own` gives them."""
    return [f"Goes with the {phrases[item]}" if item != NONE and phrases[item] else UNNAMED for item in own]
