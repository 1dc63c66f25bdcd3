"""Lists about items, for their own pages: what is like an item, and what goes well with it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from infra.installation import Installation
from models.datasets.training_data import TrainingData
from models.lists.constrained_selection import Selected, select
from models.lists.list_builder import RankedLists
from models.lists.recommendation_lists import Lists
from models.lists.rules.compiled_rules import CompiledRules
from models.lists.rules.placement_config import Placement
from models.lists.rules.rule_warnings import notes
from models.primitives.threads import prefetch_map
from models.primitives.vocabulary import NO_INDEX
from models.recommenders.explanations.sentences import PICKED
from models.recommenders.explanations.sentences import together as in_baskets
from models.recommenders.explanations.similarity import AlikeReasons
from models.recommenders.item_based.bought_together import BoughtTogether
from models.recommenders.item_based.similar_items import Alike
from models.retrieval.candidate_sources import FactorSource, PairSource
from models.retrieval.source_protocols import CandidateSource
from tasks.datasets.load_dataset import manifest_of, open_dataset
from tasks.lake.shared_reads import shared_reference_data
from tasks.promotion.champion import require_champion
from tasks.scoring.batch_checks import Segments
from tasks.scoring.item_attributes import catalogue_of
from tasks.scoring.publish_batch import Words, Work
from tasks.scoring.user_lists import batch_spec, check_length, digest

_AT_ONCE: Final = 8192
_SEED: Final = 7
_LEAST_LIKENESS: Final = 0.05
"""Cosine below which two items have nothing in common: without it a list would go on in order of ids."""
_FEW: Final = {"likeness": "too few items are known to be like it", "baskets": "too little is bought together with it"}
Rows = NDArray[np.int64]
Reasons = Callable[[Rows, NDArray[np.int32]], tuple[NDArray[np.int32], list[str]]]
"""Of n pairs of a list's item and another one: positions among sentences [n], and the sentences."""


def item_lists(installation: Installation, name: str, placement: Placement) -> Work:
    """What every item is to get at a placement: from the data set that the champion was trained on."""
    holder = require_champion(installation)
    dataset, cut = (
        open_dataset(holder["dataset_version"]),
        manifest_of(installation, holder["dataset_version"])["as_of"],
    )
    items = dataset.once(("items", cut), partial(dataset.item_ids, cut))
    catalogue = catalogue_of(installation, items, placement, shared_reference_data(installation))
    rules = CompiledRules.of(placement, catalogue)
    check_length(name, placement.k, rules)
    shelf = batch_spec(name, placement, holder, digest(placement, rules, holder["dataset_version"]))

    def lists(words: Words) -> Iterator[Lists]:
        data = dataset.once(("known at", cut), partial(dataset.training_data, cut))
        ranked_by, reasons = (_alike if placement.by == "likeness" else _together)(data)

        def chunk(start: int) -> tuple[Rows, Selected]:
            rows = np.arange(start, min(start + _AT_ONCE, len(items)))
            itself = sparse.csr_array(
                (np.ones(len(rows), dtype=bool), rows, np.arange(len(rows) + 1)), shape=(len(rows), len(items))
            )
            return rows, select(ranked_by(rows), len(rows), rules, itself, None)

        for rows, chosen in prefetch_map(chunk, range(0, len(items), _AT_ONCE), 1):
            few = _FEW[str(placement.by)]
            yield _ranked(rows, items[rows], chosen, reasons, few).coded(words.codes)

    everybody = Segments(["all items"], np.zeros(len(items), dtype=np.int64))
    return Work(placement, shelf, items, items, rules.allowed, lists, everybody, notes(placement, catalogue))


def _alike(data: TrainingData) -> tuple[Callable[[Rows], CandidateSource], Reasons]:
    alike = Alike.fit(data, _SEED)

    def shelf(rows: Rows) -> CandidateSource:
        return FactorSource(alike.vectors, alike.vectors[rows], _LEAST_LIKENESS)

    return shelf, AlikeReasons.fit(data).reasons


def _together(data: TrainingData) -> tuple[Callable[[Rows], CandidateSource], Reasons]:
    together = BoughtTogether.fit(data)

    def shelf(rows: Rows) -> CandidateSource:
        pairs: Any = together.lift[rows].tocoo()
        row, item = pairs.coords
        return PairSource.of(len(rows), row, item, pairs.data)

    def reasons(subjects: Rows, items: NDArray[np.int32]) -> tuple[NDArray[np.int32], list[str]]:
        counts = np.column_stack(together.baskets(subjects, items))
        different, code = np.unique(counts, axis=0, return_inverse=True)
        return code.ravel().astype(np.int32), [in_baskets(*pair) for pair in different.tolist()]

    return shelf, reasons


def _ranked(rows: Rows, subjects: NDArray[np.str_], chosen: Selected, reasons: Reasons, few: str) -> RankedLists:
    listed = chosen.items >= 0
    code = np.where(listed, 0, NO_INDEX).astype(np.int32)
    row, place = np.nonzero(listed & ~chosen.picked)
    said, texts = reasons(rows[row], chosen.items[row, place])
    code[row, place] = said + 1
    short = np.where(listed.all(axis=1), "", few)
    return RankedLists(rows, subjects, chosen.items, chosen.stated, code, [PICKED, *texts], short)
