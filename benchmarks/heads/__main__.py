"""Measures the heads of the two-stage model against every single model, on the demo's data and on simulated shops.

Run as `python -m benchmarks.heads [--seeds 1 2] [--trials 8] [--no-demo]`. A seed draws the parameters of two shops: a
DIY shop with few repeats, pairs and season, and one with collections and no repeats. Their oracle knows the chance of
every purchase. Settings are chosen on the validation weeks, and `two_stage` gets those of its retrievers. All models
are measured on the test weeks: over all items, over items new to the user, and over items that the user bought. The
intervals of a shop hold for all of its comparisons together (95 %).
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
import optuna
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from benchmarks.heads.simulated_shops import HORIZON, Shop, drawn_shape, simulate
from benchmarks.installation import journey
from benchmarks.results import gained, publish, show
from models import catalog
from models.columns import ITEM_ID, USER_KEY
from models.datasets.dataset import Dataset
from models.datasets.training_data import TrainingData
from models.evaluation.comparison import figures
from models.evaluation.cross_validation import FoldData, search_folds
from models.evaluation.metrics.bootstrap import ITEM_KINDS, LEVEL, draws
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.offline import Evaluation, evaluate
from models.ranking.ranking_examples import TwoStageConfig, build_examples
from models.ranking.two_stage import RANKER, TwoStage
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.kinds import DEFAULTS
from models.recommenders.protocols import POLICIES
from models.tuning.study_config import NEW_METRIC
from tasks.tuning.study import distributions

SEED: Final = 7
TRIALS: Final = 8
HEADS: Final = dict(zip(POLICIES, ITEM_KINDS, strict=True))
"""The prefix of each head's metrics."""
_COSINES: Final[Mapping[str, Any]] = {
    "half_life_days": 3650.0, "memory_days": 3650.0, "user_exponent": 0.0, "shrinkage": 0.1
}  # fmt: skip
_YEAR_DAYS: Final = 365
_FEWEST: Final = 100
"""Users with targets that a comparison needs."""


@dataclass(frozen=True)
class Oracle:
    """Scores by the true chances of a simulated shop."""

    shop: Shop
    data: TrainingData

    @property
    def users(self) -> NDArray[np.str_]:
        """The users of the data."""
        return self.data.users

    @property
    def items(self) -> NDArray[np.str_]:
        """The items of the data."""
        return self.data.items

    def scores(self, users: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return [m, n_items] the expected purchases."""
        scores: NDArray[np.float32] = self.shop.truth(self.data, users)
        return scores


def settings_found(kind: str, fold: FoldData, usual: dict[str, Any], trials: int) -> dict[str, dict[str, Any]]:
    """Return the best by `METRIC`, and by `NEW_METRIC`, of the usual settings and of some suggestions of TPE."""
    space = catalog.model_type(kind).space
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=SEED, multivariate=True))
    tried = [(usual, fold.figures(catalog.fit(kind, fold.data, usual, SEED)))]
    for _ in range(trials if space else 0):
        trial = study.ask(distributions(space))
        tried.append((trial.params, fold.figures(catalog.fit(kind, fold.data, trial.params, SEED))))
        study.tell(trial, tried[-1][1][METRIC])
    return {name: max(tried, key=lambda one: one[1][name])[0] for name in (METRIC, NEW_METRIC)}


def own_rankers(model: TwoStage, data: TrainingData) -> dict[str, TwoStage]:
    """Return two variants of the model, whose rankers learned only from new or only from own items (decision 38)."""
    learned = build_examples(data, TwoStageConfig.of(model.config), SEED).examples
    names = model.rows.names(tuple(model.candidates.retrievers))
    own = np.isfinite(learned.rows[:, names.index("days_since_last")])
    chosen, variants = dict.fromkeys(POLICIES, RANKER), {}
    for kind, some in (("new", ~own), ("own", own)):
        if learned.labels[some].any():
            part = learned.at(some)
            ranker = model.learner.fit(part.rows, part.labels, part.weights, model.config, SEED)
            variants[f"two_stage of {kind} items"] = replace(model, ranker=ranker, chosen=chosen)
    return variants


class Measured(NamedTuple):
    """A shop's models on the test weeks."""

    evaluations: dict[str, Evaluation]
    """`two_stage`, the ladder, plain cosines, and the oracle of a simulated shop."""
    untuned: dict[str, float]
    """By model of the ladder that ranks new items: their NDCG@10 by default settings, as a share of the best found.

    `two_stage` takes those settings for its retrievers.
    """
    season: float
    """See `season_ratio`."""


def measured(dataset: Dataset, trials: int, shop: Shop | None) -> Measured:
    """Choose settings on the validation weeks, and measure on the test weeks."""
    data = dataset.training_data(dataset.cuts.test_from)
    targets, popular = dataset.holdout(data, dataset.cuts.as_of), popularity(data)
    singles = [kind for kind in DEFAULTS if kind != "two_stage"]
    validation = FoldData.of(dataset, search_folds(dataset, 1)[0])
    different = dataset.interactions.group_by([USER_KEY, ITEM_ID]).aggregate([]).num_rows
    repeats = 1 - different / dataset.interactions.num_rows
    usual = {kind: asdict(catalog.defaults(kind, repeats)) for kind in DEFAULTS}
    tried = {kind: settings_found(kind, validation, usual[kind], trials) for kind in singles}
    found, own = {kind: best[METRIC] for kind, best in tried.items()}, usual["two_stage"]
    sources = {kind: best[NEW_METRIC] for kind, best in tried.items() if kind in own["retrievers"]}
    sources["own_frequency"] = found["own_frequency"]
    fitted: dict[str, Any] = {"two_stage": catalog.fit("two_stage", data, own | {"sources": sources}, SEED)}
    print("heads:", fitted["two_stage"].chosen)
    fitted |= own_rankers(fitted["two_stage"], data)
    fitted |= {kind: catalog.fit(kind, data, settings, SEED) for kind, settings in found.items()}
    fitted["item cosines"] = catalog.fit("item_knn", data, _COSINES, SEED)
    fitted |= {} if shop is None else {"oracle": Oracle(shop, data)}
    evaluations = {name: evaluate(model, data, targets, popular) for name, model in fitted.items()}
    untuned: dict[str, float] = {}
    for kind in singles:
        by_settings = [catalog.fit(kind, data, some, SEED) for some in (usual[kind], tried[kind][NEW_METRIC])]
        brief = [evaluate(model, data, targets, popular, brief=True).summary[NEW_METRIC] for model in by_settings]
        untuned |= {kind: brief[0] / brief[1]} if brief[1] > 0 else {}
    return Measured(evaluations, untuned, season_ratio(evaluations["two_stage"], data, targets))


def season_ratio(evaluation: Evaluation, data: TrainingData, targets: sparse.csr_array) -> float:
    """Return the share of places over the share of purchases, of the categories that sell twice as well as in a year.

    NaN if there is no such category.
    """
    paths, category = np.unique(data.item_categories, return_inverse=True)

    def share(items: NDArray[np.int32]) -> NDArray[np.float64]:
        shares: NDArray[np.float64] = np.bincount(category[items], minlength=len(paths)) / len(items)
        return shares

    bought = share(targets.indices)
    doubled = bought >= 2 * share(data.item[data.age_days() < _YEAR_DAYS])
    shown = share(data.item_index(pc.list_flatten(evaluation.per_user["items_at_10"])))
    return float(shown[doubled].sum() / bought[doubled].sum()) if doubled.any() else float("nan")


def gains(evaluations: Mapping[str, Evaluation]) -> dict[tuple[str, str], tuple[float, float, float]]:
    """Return the gain of each head over each other model with its interval, which holds for all of them together.

    The bootstrap is of the largest deviation in units of its own error (max-t, Romano and Wolf 2005).
    """
    others = [name for name in evaluations if name != "oracle" and not name.startswith("two_stage")]
    columns = {
        (head, name): figures(evaluations["two_stage"], prefix + METRIC) - figures(evaluations[name], prefix + METRIC)
        for head, prefix in HEADS.items()
        for name in others
    }
    columns = {key: values for key, values in columns.items() if np.isfinite(values).sum() >= _FEWEST}
    values = np.column_stack([*columns.values()])
    known = np.isfinite(values)
    filled, mean = np.where(known, values, 0.0), np.nanmean(values, axis=0)
    sampled = np.concatenate([(drawn @ filled) / (drawn @ known) for drawn in draws(len(values), SEED)])
    error = np.maximum(sampled.std(axis=0), 1e-12)
    width = np.quantile(np.abs((sampled - mean) / error).max(axis=1), LEVEL) * error
    bounds = zip(columns, mean.tolist(), (mean - width).tolist(), (mean + width).tolist(), strict=True)
    return {key: tuple(row) for key, *row in bounds}


def scored(name: str, shop: Measured) -> Iterator[tuple[str, float]]:
    """Print a shop's table, and yield its figures."""
    evaluations = shop.evaluations
    rows = (
        (model, *(f"{evaluation.summary.get(prefix + METRIC, np.nan):.4f}" for prefix in HEADS.values()))
        for model, evaluation in evaluations.items()
    )
    show(f"NDCG@10 on {name}", ("model", *HEADS), rows)
    for head, variant in (("discover", "two_stage of new items"), ("repurchase", "two_stage of own items")):
        if variant in evaluations:
            difference = gained(evaluations[variant], evaluations["two_stage"], HEADS[head] + METRIC, SEED)
            print(f"{name}, {head}: {variant} {difference or 'not compared'} against one ranker")
    compared = gains(evaluations)
    for head, prefix in HEADS.items():
        own = {model: row for (policy, model), row in compared.items() if policy == head}
        if own:
            worst = min(own, key=lambda model: own[model][2])
            mean, low, high = own[worst]
            print(f"{name}, {head}: {mean:+.4f} ({low:+.4f} to {high:+.4f}) against {worst}")
            yield f"{name}_{head}_worst_gain_upper", high
        if "oracle" in evaluations:
            best = evaluations["oracle"].summary.get(prefix + METRIC, np.nan)
            yield f"{name}_{head}_share_of_oracle", evaluations["two_stage"].summary.get(prefix + METRIC, np.nan) / best
    print(f"{name}: default settings reach", {kind: round(share, 2) for kind, share in shop.untuned.items()})
    yield f"{name}_untuned_share", min(shop.untuned.values())
    if np.isfinite(shop.season):
        yield f"{name}_season_ratio", shop.season


def main() -> None:
    """Measure, print and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1])
    parser.add_argument("--shapes", nargs="*", default=["diy", "collections"])
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--demo", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    result: dict[str, float] = {}
    for seed in options.seeds:
        for shape in options.shapes:
            shop = simulate(drawn_shape(shape, seed), seed)
            dataset = shop.dataset(shop.shape.days + HORIZON)
            result |= scored(f"{shape}_{seed}", measured(dataset, options.trials, shop))
    if options.demo:
        with journey() as dataset:
            result |= scored("demo", measured(dataset, options.trials, None))
    for figure in ("worst_gain_upper", "untuned_share"):
        result[figure] = min(value for name, value in result.items() if name.endswith(f"_{figure}"))
    publish("heads", result, SEED)


if __name__ == "__main__":
    main()
