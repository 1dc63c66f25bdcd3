"""Measures each retriever's worth: the two-stage model without it, on the validation weeks of the Complete Journey.

Run as `python -m benchmarks.ablation`.
"""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from benchmarks.complete_journey import journey
from benchmarks.results import gained, publish
from models.datasets.dataset import Dataset
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.metrics.user_averages import NEW
from models.evaluation.offline import Evaluation, evaluate
from models.ranking.two_stage import Config, TwoStage
from models.recommenders.baselines.most_popular import popularity

SEED = 7


def _measured(dataset: Dataset) -> Iterator[tuple[str, Evaluation]]:
    """Yield the evaluation of the whole model, then of the model without each of its retrievers."""
    data = dataset.training_data(dataset.cuts.validation_from)
    test_targets = dataset.holdout(data, dataset.cuts.test_from)
    popular = popularity(data)
    every = Config().retrievers
    for dropped in ("", *every):
        config = Config(retrievers=tuple(kind for kind in every if kind != dropped))
        yield dropped, evaluate(TwoStage.fit(data, config, SEED), data, test_targets, popular)


def main() -> None:
    """Measure, and write the figures to var/benchmarks/ablation.json."""
    figures: dict[str, float] = {}
    whole: Evaluation | None = None
    headings = ("without", "NDCG@10", "loss (95 %)", "new items", "loss (95 %)")
    table = Table(*headings, title="The two-stage model without each retriever", title_justify="left")
    with journey() as dataset:
        for dropped, evaluation in _measured(dataset):
            whole = whole or evaluation
            cells = []
            for items in ("", NEW):
                value = evaluation.summary[items + METRIC]
                figures[f"{dropped or 'nothing'}: {items}{METRIC}"] = value
                cells += [
                    f"{value:.4f}",
                    gained(evaluation, whole, items + METRIC, SEED) if dropped else "",
                ]
            table.add_row(dropped or "nothing left out", *cells)
    Console().print(table)
    publish("ablation", figures, SEED)


if __name__ == "__main__":
    main()
