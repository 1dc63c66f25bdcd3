"""Builds lists about items, for their own pages: similar items, and items that are bought together."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import numpy as np
from scipy import sparse

from infra.installation import Installation
from models.datasets.training_data import TrainingData
from models.lists.item_models import BoughtWithItem, SimilarToItem
from models.lists.list_builder import ListBuilder
from models.lists.model_cascade import ModelCascade, ScoringModel
from models.lists.recommendation_lists import Lists
from models.lists.rules.compiled_rules import CompiledRules
from models.lists.rules.placement_config import Placement
from models.lists.rules.rule_warnings import notes
from tasks.datasets.load_dataset import manifest_of, open_dataset
from tasks.lake.shared_reads import shared_reference_data
from tasks.promotion.champion import require_champion
from tasks.scoring.batch_checks import Segments
from tasks.scoring.batch_keys import batch_spec, check_length, digest
from tasks.scoring.publish_batch import TextCodes, Work
from tasks.scoring.reads.item_attributes import catalogue_of

_FIT: Final[dict[str, Callable[[TrainingData], ScoringModel]]] = {
    "similarity": SimilarToItem.fit,
    "co_purchase": BoughtWithItem.fit,
}
_SHORTFALL: Final = {
    "similarity": "too few items are known to be like it",
    "co_purchase": "too little is bought together with it",
}


def item_lists(installation: Installation, name: str, placement: Placement) -> Work:
    """Return the work of a placement about items, from the data set that the champion was trained on."""
    champion = require_champion(installation)
    version = champion["dataset_version"]
    dataset, cut = open_dataset(version), manifest_of(installation, version)["as_of"]
    items = dataset.once(("items", cut), partial(dataset.item_ids, cut))
    catalogue = catalogue_of(installation, items, placement, shared_reference_data(installation))
    rules = CompiledRules.of(placement, catalogue)
    check_length(name, placement.k, rules)
    spec = batch_spec(name, placement, champion, digest(placement, rules, version))

    def lists(texts: TextCodes) -> Iterator[Lists]:
        data = dataset.once(("known at", cut), partial(dataset.training_data, cut))
        method = str(placement.method)
        cascade = ModelCascade((_FIT[method](data),))
        builder = ListBuilder(cascade, None, rules, shortfall=_SHORTFALL[method])
        itself = sparse.eye_array(len(items), dtype=bool, format="csr")
        for part in builder.build(items, itself):
            yield part.coded(texts.codes)

    segments = Segments(["all items"], np.zeros(len(items), dtype=np.int64))
    return Work(placement, spec, items, items, rules.allowed, lists, segments, notes=notes(placement, catalogue))
