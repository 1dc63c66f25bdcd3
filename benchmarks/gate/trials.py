"""Trials of the gate on simulated shops: a first champion, and its renewal a month later.

The first champion is better than every baseline in the mean over shops of its shape, which the trials measure too. A
renewal has the same settings, trained on newer data of the same users: by construction it is no worse than the
champion. Every refusal of either is a false refusal.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy.stats import beta

from benchmarks.heads.simulated_shops import HORIZON, SHAPES, Shape, simulate
from models import catalog
from models.columns import USER_KEY
from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData
from models.evaluation.comparison import BASELINES
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.model_report import check_overfit
from models.evaluation.offline import Evaluation, evaluate
from models.gate.fairness_checks import demographics
from models.gate.results import GateResult, Outcome
from models.lists.list_builder import ListBuilder
from models.lists.model_cascade import build_cascade
from models.lists.rules.compiled_rules import CompiledRules
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.protocols import Recommender
from tasks.review.review_models import judge_candidate
from tasks.training.train_model import K, measure_costs

if TYPE_CHECKING:
    from scipy import sparse

SEED: Final = 7
FIRST_SEED: Final = 20_000
"""Seed of the reported shops. Shapes and limits were chosen on others: seeds below 100 and from 10,000 on."""


@dataclass(frozen=True)
class Trial:
    """The gate's decisions on one shop."""

    first: GateResult
    renewal: GateResult
    gain: float
    """NDCG@10 of the first champion less that of the best baseline."""


def measure(
    kind: str, dataset: Dataset, data: TrainingData, targets: "sparse.csr_array", popular: NDArray[np.float32]
) -> Evaluation:
    """Return a model's metrics on the test weeks, with overfitting; with costs too unless it is a baseline."""
    model = catalog.model_type(kind).fit(data, catalog.config(kind), SEED)
    results = evaluate(model, data, targets, popular)
    gap = check_overfit(model, data, results, popular, dataset.cuts.as_of - data.cut)
    summary = results.summary | (gap.figures() if gap else {})
    if kind not in BASELINES:
        summary |= _costs(model, popular)
    return replace(results, summary=summary, pairs=None)


def _costs(model: Recommender, popular: NDArray[np.float32]) -> dict[str, float]:
    with TemporaryDirectory() as empty:
        rules = CompiledRules.plain(K, np.ones(len(model.items), dtype=bool))
        return measure_costs(ListBuilder(build_cascade(model, None, popular), popular, rules), Path(empty))


def trial(shape: Shape, seed: int) -> Trial:
    """Simulate a shop, promote its model, and renew it a horizon later."""
    shop = simulate(shape, seed)
    datasets = [shop.dataset(days, features=False) for days in (shape.days, shape.days + HORIZON)]
    first, later = (_measured(shape, dataset) for dataset in datasets)
    promoted = first[shape.kind].summary
    before = _judged(shape, first, datasets[0], None)
    renewed = _judged(shape, later, datasets[1], promoted)
    best = max(first[kind].summary[METRIC] for kind in BASELINES)
    return Trial(before, renewed, promoted[METRIC] - best)


def _measured(shape: Shape, dataset: Dataset) -> dict[str, Evaluation]:
    data = dataset.training_data(dataset.cuts.test_from)
    targets, popular = dataset.holdout(data, dataset.cuts.as_of), popularity(data)
    return {kind: measure(kind, dataset, data, targets, popular) for kind in (*BASELINES, shape.kind)}


def _judged(
    shape: Shape, measured: dict[str, Evaluation], dataset: Dataset, promoted: dict[str, float] | None
) -> GateResult:
    """Return the verdict as a review does, on the first champion or (if one was `promoted`) on its renewal."""
    traits = demographics(dataset.users, measured[shape.kind].per_user[USER_KEY])
    kinds = {kind: kind for kind in measured}
    rival = None if promoted is None else shape.kind
    return judge_candidate(shape.kind, rival, measured, kinds, traits, promoted=promoted)


def run(trials: int, seed: int = FIRST_SEED) -> dict[str, float]:
    """Return how often the gate refused first champions and renewals, by shape and in total."""
    figures: dict[str, float] = {}
    refused: Counter[str] = Counter()
    # Forked processes would wait for threads that Arrow had in their parent.
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for shape in SHAPES:
            results = pool.map(partial(trial, shape), range(seed, seed + trials))
            done = list(track(results, f"{shape.name}, {trials} shops", total=trials))
            figures |= {f"{shape.name}_{name}": value for name, value in _figures(done).items()}
            refused.update(_refusals(done))
    decisions = 2 * len(SHAPES) * trials
    false = sum(figures[f"{shape.name}_{phase}_refused"] for shape in SHAPES for phase in ("first", "renewal"))
    for name, times in refused.most_common():
        print(f"{times} times refused by: {name}")
    return figures | _rate("false_refusal_rate", int(false), decisions) | {"trials_by_shape": float(trials)}


def _figures(done: Sequence[Trial]) -> dict[str, float]:
    gains, n = np.array([one.gain for one in done]), len(done)
    error = gains.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    results = {"gain": float(gains.mean()), "gain_low": float(gains.mean() - 1.96 * error)}
    results["first_warned"] = float(sum(any(_warned(one.first)) for one in done))
    for phase, gates in (("first", [one.first for one in done]), ("renewal", [one.renewal for one in done])):
        refused = sum(not gate.passed for gate in gates)
        results |= {f"{phase}_refused": float(refused)} | _rate(f"{phase}_false_refusal_rate", refused, n)
    return results


def _warned(gate: GateResult) -> Iterator[bool]:
    return (check.outcome is Outcome.WARNING for check in gate.checks)


def _refusals(done: Sequence[Trial]) -> Iterator[str]:
    return (check.name for one in done for gate in (one.first, one.renewal) for check in gate.checks if check.refused)


def _rate(name: str, times: int, of: int) -> dict[str, float]:
    """Return a rate and its upper bound with 95 % confidence (Clopper and Pearson, one-sided)."""
    upper = float(beta.ppf(0.95, times + 1, of - times)) if times < of else 1.0
    return {name: times / of, f"{name}_upper": upper}
