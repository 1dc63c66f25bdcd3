"""Measures how often the gate promotes an equal challenger, and one that is 2 % better, on metrics of real users.

Run as `python -m benchmarks.gate`. The champion is own frequency, the other model the two-stage ranker, both measured
on the test weeks of the Complete Journey. A resampling resamples households and flips a coin for each: the challenger
has the other model's difference with or against its sign, so there is no true difference. Then 2 % of the champion's
mean is added for all users. The whole gate runs each time, including groups of users.

It then measures how often the gate refuses sound models: first champions and renewals on simulated shops of three
shapes (benchmarks.gate.trials). `--resamplings 0` measures only these, and needs no data.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa
from rich.progress import track
from scipy.stats import beta

from benchmarks.gate.trials import SEED, measure, run
from benchmarks.installation import journey
from benchmarks.results import publish
from models.columns import USER_KEY
from models.datasets.dataset import Dataset
from models.evaluation.comparison import BASELINES, figures
from models.evaluation.metrics.bootstrap import NEW, REPEAT
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.offline import Evaluation
from models.gate.decision import decide
from models.gate.fairness_checks import Traits, demographics
from models.gate.results import GateResult
from models.recommenders.baselines.most_popular import popularity

GAIN: Final = 0.02
_AT_ONCE: Final = 50
_CHAMPION: Final = "own_frequency"
_OTHER: Final = "two_stage"


@dataclass(frozen=True)
class Measured:
    """Evaluations of the same users, in the same order."""

    baselines: dict[str, Evaluation]
    other: Evaluation
    traits: Traits

    @property
    def champion(self) -> Evaluation:
        """The evaluation of the champion, which is one of the baselines."""
        return self.baselines[_CHAMPION]


def measured(dataset: Dataset) -> Measured:
    """Measure the baselines and the other model on the test weeks."""
    data, end = dataset.training_data(dataset.cuts.test_from), dataset.cuts.as_of
    test_targets, fallback = dataset.holdout(data, end), popularity(data)
    results = {kind: measure(kind, dataset, data, test_targets, fallback) for kind in (*BASELINES, _OTHER)}
    other = results.pop(_OTHER)
    return Measured(results, other, demographics(dataset.users, other.per_user[USER_KEY]))


def resampled(measured: Measured, gain: float, seed: int) -> GateResult:
    """Return the gate's verdict on resampled users, with this share of the champion's mean added to the challenger."""
    random, n = np.random.default_rng(seed), measured.champion.per_user.num_rows
    people, sign = random.integers(n, size=n), random.choice([-1.0, 1.0], size=n)
    keys = pa.array([f"u{number:07}" for number in range(n)])

    def drawn(evaluation: Evaluation) -> Evaluation:
        return replace(evaluation, per_user=evaluation.per_user.take(people).set_column(0, USER_KEY, keys))

    baselines = {kind: drawn(evaluation) for kind, evaluation in measured.baselines.items()}
    champion, other = baselines[_CHAMPION], drawn(measured.other)
    for metric in (METRIC, NEW + METRIC, REPEAT + METRIC):
        before, its = figures(champion, metric), figures(other, metric)
        values = before + sign * (its - before) + gain * np.nanmean(figures(measured.champion, metric))
        at = other.per_user.schema.get_field_index(metric)
        other = replace(other, per_user=other.per_user.set_column(at, metric, pa.array(values, from_pandas=True)))
    return decide(
        other,
        baselines,
        champion,
        seed,
        {trait: values[people] for trait, values in measured.traits.items()},
    )


def promoted(measured: Measured, gain: float, first: int) -> int:
    """Count the promotions among `_AT_ONCE` resamplings."""
    return sum(resampled(measured, gain, first + number).passed for number in range(_AT_ONCE))


def rates_of_promotion(rounds: int) -> dict[str, float]:
    """Return how often an equal and a 2 % better challenger are promoted in that many times `_AT_ONCE` runs."""
    with journey() as dataset:
        original = measured(dataset)
    counts = []
    with ProcessPoolExecutor(2) as pool:
        for gain in (0.0, GAIN):
            starts = [SEED + number * _AT_ONCE for number in range(rounds)]
            refusals = pool.map(partial(promoted, original, gain), starts)
            counts.append(sum(track(refusals, f"a true gain of {gain:.0%}", total=rounds)))
    n = rounds * _AT_ONCE
    differences = figures(original.other, METRIC) - figures(original.champion, METRIC)
    return {
        "false_promotion_rate": counts[0] / n,
        "false_promotion_upper": float(beta.ppf(0.975, counts[0] + 1, n - counts[0])),
        "power_at_2_percent": counts[1] / n,
        "power_at_2_percent_lower": float(beta.ppf(0.025, counts[1], n - counts[1] + 1)),
        "resamplings": float(n),
        "households": float(len(differences)),
        "groups": float(sum(len(np.unique(values)) for values in original.traits.values())),
        "champion_ndcg_at_10": original.champion.summary[METRIC],
        "standard_deviation_of_differences": float(differences.std(ddof=1)),
    }


def main() -> None:
    """Measure, print, and write var/benchmarks/gate.json."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--resamplings", type=int, default=2000, help="how often each, in fifties; 0 for none")
    arguments.add_argument("--trials", type=int, default=60, help="simulated shops of each shape; 0 for none")
    options = arguments.parse_args()
    rates = rates_of_promotion(options.resamplings // _AT_ONCE) if options.resamplings else {}
    publish("gate", rates | (run(options.trials) if options.trials else {}), SEED)


if __name__ == "__main__":
    main()
