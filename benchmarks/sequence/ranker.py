"""Measures what the sequence model adds to the ranker on the Complete Journey, and the sequence model alone.

The ranker has it as a retriever and as a feature. Run as `python -m benchmarks.sequence.ranker` for the validation
weeks, by which settings are chosen, or with `--weeks test`. It needs the extra `sequence`.
"""

import argparse
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import sparse

from benchmarks.complete_journey import journey
from benchmarks.results import gained, publish
from models.datasets.dataset import Dataset
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.metrics.user_averages import NEW
from models.evaluation.offline import Evaluation, evaluate
from models.ranking.candidate_generation import Candidates, fitted_retriever
from models.ranking.two_stage import Config, TwoStage
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.sequence.model import SequenceModel

SEED: Final = 7
SEQUENCE: Final = SequenceModel.kind


def measured(dataset: Dataset, weeks: str, figures: dict[str, float]) -> Table:
    """Return the table of the weeks, and add its figures."""
    cuts = dataset.cuts
    cut, end = (cuts.test_from, cuts.as_of) if weeks == "test" else (cuts.validation_from, cuts.test_from)
    data = dataset.training_data(cut)
    targets, popular = dataset.holdout(data, end), popularity(data)
    table = Table("model", "NDCG@10", "gain (95 %)", "new items", "gain (95 %)", "targets found", title=weeks)
    usual: Evaluation | None = None
    for name, kinds in (("two_stage", ()), ("two_stage with sequence", (SEQUENCE,))):
        model = TwoStage.fit(data, Config(retrievers=(*Config().retrievers, *kinds)), SEED)
        evaluation = evaluate(model, data, targets, popular)
        usual = usual or evaluation
        found = share_found(model.candidates, targets)
        figures[f"{weeks}, {name}: targets found"] = found
        _add(table, name, evaluation, usual, figures, f"{found:.3f}")
        if kinds:
            within = evaluate(model.candidates.retrievers[SEQUENCE], data, targets, popular)
            _add(table, "its sequence model alone", within, usual, figures, "")
            fresh = evaluate(fitted_retriever(SEQUENCE, data, SEED), data, targets, popular)
            _add(table, "the same, learned up to the cut", fresh, usual, figures, "")
    return table


def share_found(candidates: Candidates, targets: sparse.csr_array) -> float:
    """Return the share of the purchases that are among the candidates."""
    users = np.flatnonzero(np.diff(targets.indptr)).astype(np.int32)
    found = 0
    for some in np.array_split(users, -(-len(users) // 256)):
        pairs, n = candidates.find(some), targets.shape[1]
        own = targets[some].tocoo()
        found += int(np.isin(own.row.astype(np.int64) * n + own.col, pairs.row * n + pairs.item).sum())
    return found / int(targets.nnz)


def _add(
    table: Table, name: str, evaluation: Evaluation, usual: Evaluation, figures: dict[str, float], found: str
) -> None:
    cells = []
    for items in ("", NEW):
        value = figures[f"{table.title}, {name}: {items}{METRIC}"] = evaluation.summary[items + METRIC]
        cells += [f"{value:.4f}", "" if evaluation is usual else gained(evaluation, usual, items + METRIC, SEED)]
    table.add_row(name, *cells, found)


def main() -> None:
    """Measure, and write the figures to var/benchmarks.sequence.ranker.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weeks", choices=("validation", "test"), default="validation")
    weeks, figures = parser.parse_args().weeks, dict[str, float]()
    with journey() as dataset:
        Console(width=140).print(measured(dataset, weeks, figures))
    publish(f"sequence_ranker_{weeks}", figures, SEED)


if __name__ == "__main__":
    main()
