"""What a review has compared and found, as reviewers are told it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from models.evaluation.comparison import Line, by_history, comparison, costs, told
from models.evaluation.evaluate import SEED, Evaluation
from models.evaluation.ladder import BASELINES
from models.evaluation.metrics import METRIC
from models.evaluation.paired import gain
from models.evaluation.summary import NEW
from models.gate.check import Gate

THIS: Final = "this version"
"""The candidate among the compared."""
ALL_ITEMS, NEW_ITEMS = "All items", "Items that are new to the person"


@dataclass(frozen=True)
class Reviewed:
    """A version, the models that it was compared with on the same people, and the gate's answer."""

    version: int
    run_id: str
    reference_run_id: str | None
    """Of whom it was held against; None before a first champion, when the best baseline stands for one."""
    names: Mapping[str, str]
    """By run, what each compared model is called; baselines by their kind."""
    evaluations: Mapping[str, Evaluation]
    """By run."""
    dataset_version: str
    gate: Gate

    @property
    def candidate(self) -> Evaluation:
        """What was measured of the version."""
        return self.evaluations[self.run_id]

    @cached_property
    def reference(self) -> str | None:
        """The name of whom it is held against; None when there is nobody."""
        if self.reference_run_id and self.reference_run_id != self.run_id:
            return self.names[self.reference_run_id]
        baselines = {name: figure for name, figure in self._others().items() if name in BASELINES}
        return max(sorted(baselines), key=lambda name: baselines[name], default=None)

    @property
    def against(self) -> str:
        """The same in a sentence."""
        if self.reference is None:
            return "There is nobody to hold it against."
        best = "" if self.reference_run_id else ", the best of the baselines, since there is no champion yet"
        return f"This version is held against {self.reference}{best}."

    @cached_property
    def compared(self) -> dict[str, Evaluation]:
        """By name, in the order of columns: the version, whom it is held against, the baselines."""
        first = [self.reference] if self.reference else []
        names = [*first, *(name for name in BASELINES if name in self._others() and name not in first)]
        others = {self.names[run]: found for run, found in self.evaluations.items() if run != self.run_id}
        return {THIS: self.candidate, **{name: others[name] for name in names}}

    @cached_property
    def tables(self) -> dict[str, list[Line]]:
        """All comparisons by title."""
        asked = (THIS, self.reference, self.compared, SEED)
        return {
            ALL_ITEMS: comparison(*asked),
            NEW_ITEMS: comparison(*asked, NEW),
            "NDCG@10 by how long people are known": by_history(*asked),
            "What it costs": costs(self.compared),
        }

    def gains(self) -> dict[str, str]:
        """By baseline, what the version gains over it in the figure that decides."""
        baselines = {name: other for name, other in self.compared.items() if name in BASELINES}
        return {name: told(gain(self.candidate, other, METRIC, SEED), "+") for name, other in baselines.items()}

    def _others(self) -> dict[str, float]:
        others = {self.names[run]: found for run, found in self.evaluations.items() if run != self.run_id}
        return {name: found.summary.get(METRIC, 0.0) for name, found in others.items()}
