"""Measures what the times between events and the tags of items add to the sequence model, on the Complete Journey.

The same households are learned from with and without times and with and without tags (category and brand), and lists
are measured on the four weeks before the last four, by which settings are chosen. Run as
`python -m benchmarks.sequence.inputs`, or with `--every 1` for all households; it needs the extra `sequence`.
"""

import argparse
from dataclasses import replace
from typing import Final

from rich.console import Console
from rich.table import Table
from scipy import sparse

from benchmarks.accuracy.timed import journey_products, journey_rows, timed_dataset
from benchmarks.results import gained, publish
from models.datasets.training_data import TrainingData
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.metrics.user_averages import NEW
from models.evaluation.offline import Evaluation, evaluate
from models.features.encoding.tags import Tags
from models.ranking.candidate_generation import SETTINGS
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.sequence.config import Config
from models.recommenders.sequence.model import SequenceModel

SEED: Final = 7
DAYS: Final = 28
CONFIG: Final[Config] = SETTINGS[SequenceModel.kind]
"""The settings that the retriever of `two_stage` has."""


def without_tags(data: TrainingData) -> TrainingData:
    """Return the data with items that have no tags."""
    none = sparse.csr_array((len(data.items), 0), dtype="float32")
    return replace(data, item_tags=none, item_tag_rules=Tags.fit(journey_products().slice(0, 0), ()))


def main() -> None:
    """Measure, and write the figures to var/benchmarks/sequence_inputs.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=3, help="the share of the households: one of so many")
    every = parser.parse_args().every
    dataset = timed_dataset(journey_rows("product_id", every), DAYS, journey_products())
    cuts = dataset.cuts
    data = dataset.training_data(cuts.validation_from)
    targets, popular = dataset.holdout(data, cuts.test_from), popularity(data)
    plain, full = without_tags(data), None
    figures: dict[str, float] = {}
    table = Table("network reads", "NDCG@10", "gain (95 %)", "new items", "gain (95 %)", title="Inputs")
    for name, known, time_gaps in (
        ("times and tags", data, True),
        ("tags", data, False),
        ("times", plain, True),
        ("neither", plain, False),
    ):
        model = SequenceModel.fit(known, replace(CONFIG, time_gaps=time_gaps), SEED)
        evaluation: Evaluation = evaluate(model, data, targets, popular)
        full = full or evaluation
        cells = []
        for items in ("", NEW):
            value = figures[f"{name}: {items}{METRIC}"] = evaluation.summary[items + METRIC]
            cells += [f"{value:.4f}", "" if evaluation is full else gained(evaluation, full, items + METRIC, SEED)]
        table.add_row(name, *cells)
    Console(width=120).print(f"{len(data.users)} households, {len(data.items)} products, {len(data.user)} purchases")
    Console(width=120).print(table)
    publish("sequence_inputs", figures, SEED)


if __name__ == "__main__":
    main()
