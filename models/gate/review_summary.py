"""Summarises a review for reviewers: the compared models, the tables and the gains."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from models.evaluation.comparison.leaderboard import BASELINES
from models.evaluation.comparison.metric_table import Line, by_history, comparison, costs, format_estimate
from models.evaluation.comparison.paired import gain
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.metrics.user_averages import NEW
from models.evaluation.offline import SEED, Evaluation
from models.gate.results import GateResult

THIS: Final = "this version"
"""Name of the candidate among the compared models."""
ALL_ITEMS, NEW_ITEMS = "All items", "Items that are new to the person"


@dataclass(frozen=True)
class ReviewSummary:
    """A version, the models that it was compared with on the same users, and the gate's result."""

    version: int
    run_id: str
    reference_run_id: str | None
    """Run of the champion on this data set, None before the first one. The best baseline is the reference without a
    champion, and if the version has the champion's own settings."""
    kinds: Mapping[str, str]
    """By run, the kind of each compared model."""
    evaluations: Mapping[str, Evaluation]
    """By run."""
    dataset_version: str
    gate: GateResult

    @property
    def candidate(self) -> Evaluation:
        """The evaluation of the version."""
        return self.evaluations[self.run_id]

    @cached_property
    def reference(self) -> str | None:
        """Name of the model that the version is compared with; None without any."""
        champion = self.reference_run_id
        if champion and champion != self.run_id:
            return self._name(champion)
        baselines = {
            name: evaluation.summary.get(METRIC, 0.0)
            for name, evaluation in self._compared_models().items()
            if name in BASELINES
        }
        return max(sorted(baselines), key=lambda name: baselines[name], default=None)

    @property
    def reference_sentence(self) -> str:
        """The reference in a sentence."""
        if self.reference is None:
            return "There is no model to compare it with."
        why = "" if self.reference_run_id else ", the best of the baselines, since there is no champion yet"
        if self.reference_run_id == self.run_id:
            why = ", the best of the baselines, since it is the champion's own recipe, learned from newer data"
        return f"This version is compared with {self.reference}{why}."

    @cached_property
    def compared(self) -> dict[str, Evaluation]:
        """By name, in the order of columns: the version, the reference, the baselines."""
        others, first = self._compared_models(), [self.reference] if self.reference else []
        names = [*first, *(name for name in BASELINES if name in others and name not in first)]
        return {THIS: self.candidate, **{name: others[name] for name in names}}

    @cached_property
    def tables(self) -> dict[str, list[Line]]:
        """All tables by title."""
        arguments = (THIS, self.reference, self.compared, SEED)
        return {
            ALL_ITEMS: comparison(*arguments),
            NEW_ITEMS: comparison(*arguments, NEW),
            "NDCG@10 by how long people are known": by_history(*arguments),
            "What it costs": costs(self.compared),
        }

    def gains(self) -> dict[str, str]:
        """Return by baseline the gain of the version in the deciding metric."""
        baselines = {name: other for name, other in self.compared.items() if name in BASELINES}
        gained_by_baseline = {name: gain(self.candidate, other, METRIC, SEED) for name, other in baselines.items()}
        return {name: format_estimate(gained, "+") for name, gained in gained_by_baseline.items() if gained}

    def _compared_models(self) -> dict[str, Evaluation]:
        return {self._name(run): evaluation for run, evaluation in self.evaluations.items() if run != self.run_id}

    def _name(self, run: str) -> str:
        return f"champion ({self.kinds[run]})" if run == self.reference_run_id else self.kinds[run]


def compared_sentences(
    version: str, requested: Mapping[str, bool], champion: int | None = None, excluded: Iterable[str] = ()
) -> str:
    """Return sentences on the models that are compared, those that are trained first, and those left out.

    `requested` states for each kind whether it is trained already; `excluded` are other trained kinds.
    """
    parts = [(f"{', '.join(kinds)} ({words})") for kinds, words in _by_state(requested) if kinds]
    if champion is not None:
        parts.append(f"the champion, version {champion}")
    sentence = f"Compared on {version}: {'; '.join(parts)}."
    others = ", ".join(excluded)
    return (
        f"{sentence} Left out: {others}, trained but not named; --model names all that are compared."
        if others
        else sentence
    )


def _by_state(requested: Mapping[str, bool]) -> Iterable[tuple[list[str], str]]:
    for state, words in ((True, "trained already"), (False, "trained now")):
        yield [kind for kind, trained in requested.items() if trained is state], words
