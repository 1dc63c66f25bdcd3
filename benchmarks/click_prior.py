"""Searches how much a newcomer's clicks should count beside popularity, on the validation weeks only.

Households of the Complete Journey are withheld by seed; their last products before those weeks stand for clicks. Run as
`python -m benchmarks.click_prior`.
"""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from benchmarks.cold_start.comparison import SEED, K, fitted, scores_of_all_users
from benchmarks.cold_start.stand_ins import latest_items
from benchmarks.cold_start.users import drawn, only
from benchmarks.complete_journey import journey
from benchmarks.results import publish
from models.columns import OCCURRED_AT, USER_KEY
from models.datasets.cold_start import NewUsers
from models.datasets.dataset import Dataset
from models.datasets.holdout import targets
from models.evaluation.diagnostics.model_report import cold_start_data
from models.evaluation.metrics.ranking import accuracy
from models.lists.rules.compiled_rules import CompiledRules
from models.lists.scored_users import lists_of_scores
from models.primitives.vocabulary import index_of
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.baselines.new_user_shrinkage import KINDS, ClickPrior

CLICKS: Final = (3, 10)
OWN: Final = (0.003, 0.01, 0.03)
ALIKE: Final = (0.0, 0.03, 0.1, 0.3)


def _measured(dataset: Dataset, figures: dict[str, float]) -> Table:
    cut, end = dataset.cuts.validation_from, dataset.cuts.test_from
    held = drawn(dataset, cut, end)
    data = only(dataset, index_of(held, dataset.interactions[USER_KEY]) < 0).training_data(cut)
    frame_traits = pa.table({USER_KEY: held.tolist()})
    test_targets = targets(dataset.interactions, cold_start_data(data, frame_traits), cut, end)
    before = dataset.interactions.filter(pc.less(dataset.interactions[OCCURRED_AT], cut))
    some, popular = np.flatnonzero(np.diff(test_targets.indptr)), popularity(data)
    rules = CompiledRules.unrestricted(K, len(popular))
    table = Table("model", "clicks", "own", *(f"alike {alike:g}" for alike in ALIKE), title=f"NDCG@{K}")
    for kind in KINDS:
        model = fitted(kind, data)
        for n in CLICKS:
            new = NewUsers.of(frame_traits, latest_items(before, held, n), data.items)
            for own in OWN:
                rows = []
                for alike in ALIKE:
                    prior = ClickPrior(model.with_users(new), new.events, popular, own, alike)
                    ranking = lists_of_scores(scores_of_all_users(prior)[some], rules, popular)
                    rows.append(float(accuracy(ranking.items, test_targets[some])["ndcg"].mean()))
                    figures[f"{kind}, {n} clicks, own {own:g}, alike {alike:g}"] = rows[-1]
                table.add_row(kind, str(n), f"{own:g}", *(f"{figure:.4f}" for figure in rows))
    return table


def main() -> None:
    """Print the grid, and keep the figures."""
    figures: dict[str, float] = {}
    with journey() as dataset:
        table = _measured(dataset, figures)
    publish("click_prior", figures, SEED)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
