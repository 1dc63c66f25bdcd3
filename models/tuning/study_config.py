"""What a search of a model's settings is asked: how it looks, what it measures, what a setting may cost, its end."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Final, Literal

from models.errors import TailorbirdError
from models.evaluation.metrics.ranking import METRIC
from models.recommenders.search_space import Parameter

Method = Literal["tpe", "grid", "random"]
COVERAGE: Final = "coverage_at_10"
TOLERANCE: Final = 0.01
"""Part of the best accuracy that may be given for coverage, where coverage is asked for too."""
_MEASURE: Final = "NDCG@10, weeks before the test"
"""What every row of the table is measured by, on the same weeks."""
_FAR_BELOW: Final = 0.5
"""Part of the best figure below which a model gets a note."""


class SearchError(TailorbirdError):
    """A search that cannot begin, or that found nothing."""


class OutOfTimeError(SearchError):
    """A search whose time was over before any setting was measured."""


@dataclass(frozen=True)
class TrialLimits:
    """What a setting may cost; None where it may cost anything. One that costs more is never the best."""

    fit_seconds: float | None = None
    """Of the longest fit. A fit that takes twice as long is not waited for."""
    memory_mb: float | None = None
    """Of the process that fits and measures, with the data set. One that takes more is ended."""
    artifact_mb: float | None = None
    """Of the fitted model's arrays."""

    def __post_init__(self) -> None:
        """Raises SearchError when nothing could keep a limit."""
        if any(limit is not None and not limit > 0 for limit in asdict(self).values()):
            raise SearchError("Limits must be above 0; leave out what may cost anything.")

    def excess(self, fit_seconds: float, memory_mb: float, artifact_mb: float) -> dict[str, float]:
        """How far each limit is exceeded, as a part of it; 0 or below where it is kept."""
        spent = {"fit_seconds": fit_seconds, "memory_mb": memory_mb, "artifact_mb": artifact_mb}
        return {name: spent[name] / limit - 1 for name, limit in asdict(self).items() if limit is not None}


@dataclass(frozen=True)
class SearchPlan:
    """The question of a search. Searches of the same question on the same data set share one study."""

    method: Method = "tpe"
    """`tpe` learns from the trials before (Bergstra et al. 2011), `grid` tries evenly spaced values, `random` any."""
    folds: int = 2
    """Stretches of time before the test weeks that settings are measured on, each as long as the validation weeks,
    which are the last of them."""
    coverage: bool = False
    """Whether more of the catalogue shown is worth a hundredth of the accuracy: then both are objectives."""
    limits: TrialLimits = TrialLimits()
    seed: int = 7

    def __post_init__(self) -> None:
        """Raises SearchError when there would be nothing to measure on."""
        if self.folds < 1:
            raise SearchError("A search needs at least one fold to measure settings on.")

    @property
    def objectives(self) -> tuple[str, ...]:
        """What is maximised, the figure that decides first."""
        return (METRIC, COVERAGE) if self.coverage else (METRIC,)

    def digest(self, space: Mapping[str, Parameter], points: int) -> str:
        """A short name of the question: with another space, or a grid of other size, it is another one."""
        parameters = {name: [type(parameter).__name__, asdict(parameter)] for name, parameter in space.items()}
        question = [asdict(self), parameters, points if self.method == "grid" else 0]
        return sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:8]

    def best(self, values: Sequence[Sequence[float]]) -> int:
        """The place of the most accurate by their objectives; with `coverage`, of those within `TOLERANCE` of it the
        one that shows most. The first of equals."""
        accurate = max(value[0] for value in values)
        near = [place for place, value in enumerate(values) if value[0] >= accurate * (1 - TOLERANCE * self.coverage)]
        return max(near, key=lambda place: (values[place][-1], -place))


@dataclass(frozen=True)
class Budget:
    """When a search ends; whichever comes first."""

    trials: int | None = 20
    """Settings of the study that were tried, those of other workers and of earlier runs included."""
    minutes: float | None = None
    """Of this run."""
    patience: int = 30
    """Settings tried since the last that was better than all before."""

    def __post_init__(self) -> None:
        """Raises SearchError when nothing would end the search, or nothing could be tried."""
        if self.trials is None and self.minutes is None:
            raise SearchError("A search needs an end: give it trials, minutes or both.")
        if min(self.trials or 1, self.minutes or 1, self.patience) <= 0 or self.trials == 0 or self.minutes == 0:
            raise SearchError("trials, minutes and patience of a search must be above 0.")


def same_shape(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether settings found on one data set are good for another, by their manifests: the same label is foretold, and
    of neither are there more than twice as many purchases, users or items as of the other."""
    pairs = [(one["rows"][name], other["rows"][name]) for name in ("interactions", "users", "items")]
    return one["label"] == other["label"] and all(max(pair) <= 2 * min(pair) for pair in pairs)


def search_table(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A line for the best settings of each model, with what its defaults reached."""
    lines = []
    for row in results:
        first = row["defaults"]
        gain = f"{row['ndcg_10'] / first - 1:+.1%}" if first else ""
        settings = ", ".join(f"{name} {_said(value)}" for name, value in row["best"].items())
        figures = {_MEASURE: f"{row['ndcg_10']:.4f}", "on the defaults": gain, "tried": row["trials"]}
        lines.append({"model": row["model"], **figures, "settings": settings})
    return lines


def search_notes(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a note on each model that is far below the best one."""
    best = max(results, key=lambda row: row["ndcg_10"])
    low = [row["model"] for row in results if row["ndcg_10"] < _FAR_BELOW * best["ndcg_10"]]
    return [
        f"{model} reaches less than half of {best['model']} on the same weeks. It may need more history than there is "
        "before them; `train` measures it in the test weeks, with more."
        for model in low
    ]


def _said(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
