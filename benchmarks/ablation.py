"""What each retriever is worth: the two-stage model without it, on the validation weeks of the Complete Journey.

Run as `python -m benchmarks.ablation`.
"""

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.complete_journey import journey
from benchmarks.results import publish
from models.datasets.dataset import Dataset
from models.evaluation.comparison.paired import gain
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.metrics.user_averages import NEW
from models.evaluation.offline import Evaluation, evaluate
from models.ranking.two_stage import Config, TwoStage
from models.recommenders.baselines.most_popular import popularity

SEED = 7


def _measured(dataset: Dataset) -> Iterator[tuple[str, Evaluation]]:
    """The whole model, then the model without each of its retrievers."""
    data = dataset.training_data(dataset.cuts.validation_from)
    wanted = dataset.holdout(data, dataset.cuts.test_from)
    popular = popularity(data)
    every = Config().retrievers
    for left_out in ("", *every):
        config = Config(retrievers=tuple(kind for kind in every if kind != left_out))
        yield left_out, evaluate(TwoStage.fit(data, config, SEED), data, wanted, popular)


def main() -> None:
    """Measure; the figures go to var/benchmarks/ablation.json."""
    figures: dict[str, float] = {}
    whole: Evaluation | None = None
    headings = ("without", "NDCG@10", "loss (95 %)", "new items", "loss (95 %)")
    table = Table(*headings, title="The two-stage model without each retriever", title_justify="left")
    with journey() as dataset:
        for left_out, found in _measured(dataset):
            whole = whole or found
            cells = []
            for items in ("", NEW):
                value = found.summary[items + METRIC]
                figures[f"{left_out or 'nothing'}: {items}{METRIC}"] = value
                cells += [f"{value:.4f}", _told(gain(found, whole, items + METRIC, SEED)) if left_out else ""]
            table.add_row(left_out or "nothing left out", *cells)
    Console().print(table)
    publish("ablation", figures, SEED)


def _told(difference: Any) -> str:
    value, low, high = difference
    return f"{value:+.4f} ({low:+.4f}, {high:+.4f})"


if __name__ == "__main__":
    main()
