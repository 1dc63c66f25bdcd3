"""Configuration of a search of settings: method, objectives, trial limits and budget."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Final, Literal

from models.errors import TailorbirdError
from models.evaluation.metrics.bootstrap import NEW
from models.evaluation.metrics.ranking import COVERAGE, METRIC
from models.recommenders.search_space import Parameter

Method = Literal["tpe", "grid", "random"]
NEW_METRIC: Final = NEW + METRIC
"""Accuracy on items new to the user, by which settings of retrievers are chosen."""
TOLERANCE: Final = 0.01
"""Share of the best accuracy that may be traded for coverage, if coverage is an objective."""
_MEASURE: Final = "NDCG@10, weeks before the test"
"""The metric of every row of the table, on the same weeks."""
_FAR_BELOW: Final = 0.5
"""Share of the best metric below which a model gets a note."""


class SearchError(TailorbirdError):
    """A search cannot begin, or has no result."""


class OutOfTimeError(SearchError):
    """The time of a search was over before any trial was complete."""


@dataclass(frozen=True)
class TrialLimits:
    """Largest costs of a trial; None means no limit. A trial beyond a limit is never the best."""

    fit_seconds: float | None = None
    """Seconds of the longest fit. A fit is stopped at twice the limit."""
    memory_mb: float | None = None
    """Memory of the process that fits and measures, with the data set. It is stopped beyond the limit."""
    artifact_mb: float | None = None
    """Size of the fitted model's arrays."""

    def __post_init__(self) -> None:
        """Raise SearchError for a limit that no trial can keep."""
        if any(limit is not None and not limit > 0 for limit in asdict(self).values()):
            raise SearchError("Limits must be above 0; leave out what may cost anything.")

    def excess(self, fit_seconds: float, memory_mb: float, artifact_mb: float) -> dict[str, float]:
        """Return by how much each limit is exceeded, as a share of it; at most 0 if it is kept."""
        spent = {"fit_seconds": fit_seconds, "memory_mb": memory_mb, "artifact_mb": artifact_mb}
        return {name: spent[name] / limit - 1 for name, limit in asdict(self).items() if limit is not None}


@dataclass(frozen=True)
class SearchPlan:
    """The plan of a search. Searches with the same plan on the same data set share one study."""

    method: Method = "tpe"
    """`tpe` learns from earlier trials (Bergstra et al. 2011), `grid` tries evenly spaced values, `random` any."""
    folds: int = 2
    """Number of folds before the test weeks, each as long as the validation weeks, which are the last fold."""
    coverage: bool = False
    """Whether coverage is an objective too, worth up to 1 % of the accuracy."""
    limits: TrialLimits = TrialLimits()
    seed: int = 7

    def __post_init__(self) -> None:
        """Raise SearchError without a fold."""
        if self.folds < 1:
            raise SearchError("A search needs at least one fold to measure settings on.")

    @property
    def objectives(self) -> tuple[str, ...]:
        """The maximised metrics, the deciding one first."""
        return (METRIC, COVERAGE) if self.coverage else (METRIC,)

    def digest(self, space: Mapping[str, Parameter], points: int) -> str:
        """Return a short digest of the plan, the search space, and the size of a grid."""
        parameters = {name: [type(parameter).__name__, asdict(parameter)] for name, parameter in space.items()}
        question = [asdict(self), parameters, points if self.method == "grid" else 0]
        return sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:8]

    def best(self, values: Sequence[Sequence[float]]) -> int:
        """Return the position of the most accurate trial; the first of equals.

        With `coverage` it is the trial with the most coverage among those within `TOLERANCE` of the best accuracy.
        """
        accurate = max(value[0] for value in values)
        near = [place for place, value in enumerate(values) if value[0] >= accurate * (1 - TOLERANCE * self.coverage)]
        return max(near, key=lambda place: (values[place][-1], -place))


@dataclass(frozen=True)
class Budget:
    """Limits of a search; the first one reached ends it."""

    trials: int | None = 20
    """Trials of the study, including those of other workers and earlier runs."""
    minutes: float | None = None
    """Minutes of this run."""
    patience: int = 30
    """Trials since the last improvement."""

    def __post_init__(self) -> None:
        """Raise SearchError without an end, or without a trial."""
        if self.trials is None and self.minutes is None:
            raise SearchError("A search needs an end: give it trials, minutes or both.")
        if min(self.trials or 1, self.minutes or 1, self.patience) <= 0 or self.trials == 0 or self.minutes == 0:
            raise SearchError("trials, minutes and patience of a search must be above 0.")


def same_shape(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether the settings of one data set suit another, by their manifests.

    Both need the same label, and at most twice as many purchases, users or items as the other.
    """
    pairs = [(one["rows"][name], other["rows"][name]) for name in ("interactions", "users", "items")]
    return one["label"] == other["label"] and all(max(pair) <= 2 * min(pair) for pair in pairs)


def search_table(results: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """Return a row per model: its best settings, and the gain over its defaults."""
    lines: list[dict[str, object]] = []
    for row in results:
        first = row["defaults"]
        gain = f"{row['ndcg_10'] / first - 1:+.1%}" if first else ""
        shown = {name: f"{one:.3g}" if isinstance(one, float) else one for name, one in row["best"].items()}
        settings = ", ".join(f"{name} {value}" for name, value in shown.items())
        figures = {_MEASURE: f"{row['ndcg_10']:.4f}", "on the defaults": gain, "tried": row["trials"]}
        lines.append({"model": row["model"], **figures, "settings": settings})
    return lines


def search_notes(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a note on each model that is far below the best model."""
    best = max(results, key=lambda row: row["ndcg_10"])
    low = [row["model"] for row in results if row["ndcg_10"] < _FAR_BELOW * best["ndcg_10"]]
    return [
        f"{model} reaches less than half of {best['model']} on the same weeks. It may need more history than there is "
        "before them; `train` measures it in the test weeks, with more."
        for model in low
    ]
