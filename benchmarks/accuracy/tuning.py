"""Chooses settings on the validation split, and measures a model on the test split."""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import optuna
from numpy.typing import NDArray

from benchmarks.accuracy.splits import SEED, Layout, Split, sample
from models import catalog
from models.evaluation.metrics.ranking import accuracy
from models.lists.list_builder import lists_of_scores
from models.lists.rules.compiled_rules import CompiledRules
from models.primitives.json_types import JsonObject
from models.recommenders.baselines.most_popular import popularity
from models.recommenders.protocols import Recommender
from tasks.tuning.study import distributions

METRIC: Final[dict[Layout, str]] = {"sequences": "ndcg_10", "pairs": "ndcg_20"}
"""The metric that a search maximises."""
USERS: Final = 6_000
"""Users that a setting is evaluated on, drawn by seed."""
TRIALS: Final = 80
OF_USERS: Final = "ndcg_10_of_users"

_CHUNK: Final = 256

Settings = dict[str, float | int | str]

STARTS: Final[dict[Layout, dict[str, list[Settings]]]] = {
    "sequences": {
        "item_knn": [
            {
                "half_life_days": 1.8,
                "memory_days": 3650.0,
                "window": 30,
                "user_exponent": 0.05,
                "source_exponent": 0.6,
                "popularity_exponent": 0.1,
                "shrinkage": 16.0,
            }
        ],
        "graph_filter": [{"half_life_days": 2.0, "memory_days": 3650.0, "components": 256, "popularity_exponent": 0.1}],
        "sequence": [{"dimensions": 128, "blocks": 1, "dropout": 0.3, "negatives": 2000}],
    },
    "pairs": {
        "item_knn": [{"user_exponent": 0.5, "shrinkage": 1.0}],
        "graph_filter": [
            {"components": 1024, "sharpening": sharpening, "user_exponent": user, "popularity_exponent": popularity}
            for sharpening, user, popularity in ((0.8, 0.3, 0.1), (0.5, 0.4, 0.1), (0.5, 0.5, 0.0))
        ],
    },
}
"""Sensible settings of each model, where a search begins; other settings keep their defaults."""
AS_STEPS: Final[dict[str, Settings]] = {"sequence": {"horizon_days": 0.0}}
"""Defaults where a day is one step back, or there are no times."""
LONG: Final[dict[str, Settings]] = {
    "sequence": {
        "network": "gru", "blocks": 1, "length": 200, "batch": 8, "learning_rate": 0.002, "dropout": 0.3,
    }
}  # fmt: skip
"""Those that come first if users have had `MANY` items in the mean."""
MANY: Final = 30


class SearchedSettings(NamedTuple):
    """The best settings of a search, their validation metric, and the number of trials."""

    settings: Settings
    value: float
    trials: int

    def __str__(self) -> str:
        shown = (f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in self.settings.items())
        return f"{self.value:.4f} on the validation, best of {self.trials}: {', '.join(shown)}"


def parser(description: str | None, models: Sequence[str]) -> argparse.ArgumentParser:
    """Return a parser of the options that both commands have."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--models", type=lambda text: text.split(","), default=list(models), help="names by comma")
    made.add_argument("--minutes", type=float, default=10, help="for choosing settings, shared by the models")
    made.add_argument("--json", type=Path, help="where to write the rows")
    return made


def search(
    kind: str, begin: Sequence[Settings], evaluate: Callable[[Settings], float], minutes: float, certain: int = 1
) -> SearchedSettings:
    """Try settings of the model for that long, at most `TRIALS`; the first `certain` ones even if they run over.

    Those to begin with come first, then suggestions of Optuna's TPE sampler (Bergstra et al. 2011).
    """
    space = catalog.model_type(kind).space
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=SEED, multivariate=True))
    for start in begin:
        study.enqueue_trial(start, skip_if_exists=True)
    end = time.monotonic() + 60 * minutes
    for number in range(TRIALS if space else 1):
        if number >= certain and time.monotonic() >= end:
            break
        trial = study.ask(distributions(space))
        study.tell(trial, evaluate(trial.params))
    tried = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    return SearchedSettings(study.best_params, study.best_value, len(tried))


def search_on(kind: str, layout: Layout, split: Split, minutes: float) -> SearchedSettings:
    """Search on some users of a validation split."""
    split = Split(split.data, sample(split.targets, USERS))

    def evaluate(settings: Settings) -> float:
        fitted = catalog.model_type(kind).fit(split.data, catalog.config(kind, settings), SEED)
        return float(of_users(fitted, split)[METRIC[layout]].mean())

    return search(kind, starts(kind, layout, has_long_histories(split)), evaluate, minutes)


def defaults(kind: str) -> Settings:
    """Return the defaults of the settings that a search of the model varies."""
    space = catalog.model_type(kind).space
    return {name: value for name, value in asdict(catalog.config(kind)).items() if name in space}


def has_long_histories(split: Split) -> bool:
    """Return whether users have had `MANY` items in the mean."""
    return len(split.data.user) >= MANY * len(split.data.users)


def starts(kind: str, layout: Layout, is_long: bool = False) -> list[Settings]:
    """Return complete settings of the model's space to begin with; the defaults come last."""
    default = defaults(kind) | AS_STEPS.get(kind, {})
    first = [LONG[kind]] if is_long and kind in LONG else []
    return [default | start for start in (*first, *STARTS[layout].get(kind, []), {})]


def of_users(model: Recommender, split: Split) -> dict[str, NDArray[np.float64]]:
    """Return hit rate, recall and NDCG at 10 and 20 of each user with targets; popular items fill up."""
    users = np.flatnonzero(np.diff(split.targets.indptr)).astype(np.int32)
    history = split.data.history()
    popular = popularity(split.data)
    rules = CompiledRules.unrestricted(20, len(popular))
    lists = [
        lists_of_scores(model.scores(chunk), rules, popular, history[chunk]).items
        for chunk in np.array_split(users, -(-len(users) // _CHUNK))
    ]
    ranked, targets = np.concatenate(lists), split.targets[users]
    metrics: dict[str, NDArray[np.float64]] = {}
    for k in (10, 20):
        values = accuracy(ranked[:, :k], targets)
        names = {"hr": "hit_rate", "recall": "recall", "ndcg": "ndcg"}
        metrics |= {f"{short}_{k}": values[name] for short, name in names.items()}
    return metrics


def measured(kind: str, settings: Mapping[str, Any], split: Split) -> JsonObject:
    """Fit on everything before the test; return the seconds, the metrics, and the NDCG@10 of each user."""
    started = time.perf_counter()
    model = catalog.model_type(kind).fit(split.data, catalog.config(kind, settings), SEED)
    seconds = time.perf_counter() - started
    values = of_users(model, split)
    means = {name: float(some.mean()) for name, some in values.items()}
    return means | {"fit_s": seconds, OF_USERS: values["ndcg_10"].tolist()}
