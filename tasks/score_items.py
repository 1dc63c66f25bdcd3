"""Lists about items, for their own pages: what is like an item, and what goes well with it."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from infra.installation import Installation
from models.alike import Alike
from models.answers import Ranked
from models.bought_together import BoughtTogether
from models.lists import PICKED, Lists
from models.placement import Placement
from models.ranking import NOBODY
from models.retrieval import PairShelf, ProductShelf
from models.selection import Selected, select
from models.shelf import Shelf
from models.shelf_notes import notes
from models.shelf_rules import ShelfRules
from models.threads import prefetch_map
from models.training_data import TrainingData
from tasks.catalogue_of import catalogue_of
from tasks.check_lists import Segments
from tasks.load_dataset import manifest_of, open_dataset
from tasks.publish_lists import Words, Work
from tasks.score_users import champion_of, check_length, digest, shelf_of

_AT_ONCE: Final = 8192
_SEED: Final = 7
_FEW: Final = {"likeness": "too few items are known to be like it", "baskets": "too little is bought together with it"}
Rows = NDArray[np.int64]
Reasons = Callable[[NDArray[np.int32], NDArray[np.float32]], tuple[NDArray[np.int32], list[str]]]
"""Of items [m, k] and what was found of them, before boosts: positions among sentences [m, k], and the sentences."""


def item_lists(here: Installation, name: str, placement: Placement) -> Work:
    """What every item is to get at a placement: from the data set that the champion was trained on."""
    holder = champion_of(here)
    data = _data(here, holder["dataset_version"])
    catalogue = catalogue_of(here, data.items, placement)
    rules = ShelfRules.of(placement, catalogue)
    check_length(name, placement.k, rules)
    shelf = shelf_of(name, placement, holder, digest(placement, rules, holder["dataset_version"]))

    def lists(words: Words) -> Iterator[Lists]:
        ranked_by, reasons = (_alike if placement.by == "likeness" else _together)(data)

        def chunk(start: int) -> tuple[Rows, Selected]:
            rows = np.arange(start, min(start + _AT_ONCE, len(data.items)))
            itself = sparse.csr_array(
                (np.ones(len(rows), dtype=bool), rows, np.arange(len(rows) + 1)), shape=(len(rows), len(data.items))
            )
            return rows, select(ranked_by(rows), len(rows), rules, itself, None)

        for rows, chosen in prefetch_map(chunk, range(0, len(data.items), _AT_ONCE), 1):
            found = chosen.stated / rules.boost[chosen.items]
            said = reasons(chosen.items, found)
            yield _ranked(rows, data.items[rows], chosen, said, _FEW[str(placement.by)]).coded(words.codes)

    everybody = Segments(["all items"], np.zeros(len(data.items), dtype=np.int64))
    return Work(placement, shelf, data.items, data.items, rules.allowed, lists, everybody, notes(placement, catalogue))


def _data(here: Installation, version: str) -> TrainingData:
    return open_dataset(version).training_data(manifest_of(here, version)["as_of"])


def _alike(data: TrainingData) -> tuple[Callable[[Rows], Shelf], Reasons]:
    alike = Alike.fit(data, _SEED)

    def reasons(items: NDArray[np.int32], _found: NDArray[np.float32]) -> tuple[NDArray[np.int32], list[str]]:
        codes, texts = alike.reasons(np.maximum(items, 0).ravel())
        return codes.reshape(items.shape), texts

    return lambda rows: ProductShelf(alike.vectors, alike.vectors[rows]), reasons


def _together(data: TrainingData) -> tuple[Callable[[Rows], Shelf], Reasons]:
    lift = BoughtTogether.fit(data).lift

    def shelf(rows: Rows) -> Shelf:
        pairs: Any = lift[rows].tocoo()
        row, item = pairs.coords
        return PairShelf.of(len(rows), row, item, pairs.data)

    def reasons(items: NDArray[np.int32], found: NDArray[np.float32]) -> tuple[NDArray[np.int32], list[str]]:
        tenths = np.where(items >= 0, np.round(found * 10), 0).astype(np.int64)
        different, place = np.unique(tenths, return_inverse=True)
        texts = [f"Bought together {value / 10:.1f} times as often as by chance" for value in different.tolist()]
        return place.reshape(tenths.shape).astype(np.int32), texts

    return shelf, reasons


def _ranked(
    rows: Rows, subjects: NDArray[np.str_], chosen: Selected, said: tuple[NDArray[np.int32], list[str]], few: str
) -> Ranked:
    listed, texts = chosen.items >= 0, [PICKED, *said[1]]
    reasons = np.where(chosen.picked, 0, np.where(listed, said[0] + 1, NOBODY)).astype(np.int32)
    short = np.where(listed.all(axis=1), "", few)
    return Ranked(rows, subjects, chosen.items, chosen.stated, reasons, texts, short)
