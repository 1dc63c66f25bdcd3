"""May a candidate answer shoppers? Only for what it beats, user by user on the same held-out weeks."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.evaluation.bootstrap import Estimate, estimates
from models.evaluation.evaluate import Evaluation
from models.evaluation.metrics import METRIC
from models.evaluation.paired import paired
from models.evaluation.summary import NEW
from models.gate import groups as by_group
from models.gate.check import Check, Gate, compared
from models.gate.costs import costs, overfit
from models.gate.exposure import answers_the_cold, exposure, overlap
from models.gate.groups import Group, Traits
from models.gate.limits import Limits
from models.gate.soundness import answers_everybody, soundness

CHAMPION: Final = "the champion"

Floats = NDArray[np.float64]


class _Question(NamedTuple):
    """A comparison with somebody on a metric."""

    name: str
    against: str
    both: tuple[Floats, Floats] | None
    """Figures per user; None when they cannot be compared."""
    better: bool
    """Has to be better, rather than not worse."""


def decide(
    candidate: Evaluation,
    baselines: Mapping[str, Evaluation],
    champion: Evaluation | None,
    seed: int,
    traits: Traits | None = None,
    limits: Limits = Limits(),  # noqa: B008 -- a frozen value
    metric: str = METRIC,
) -> Gate:
    """Refuse a broken candidate; else hold it against every baseline and the champion, and against the `limits`.

    It must be better than the champion (the whole interval above zero) and not significantly worse than any baseline
    (not the whole interval below zero); before the first champion, the best baseline stands for it in all else.
    Baselines are named by their model kind, the candidate may be among them. `traits` are of the candidate's users.
    """
    checks = soundness(candidate, metric, limits)
    others = {name: evaluation for name, evaluation in baselines.items() if evaluation is not candidate}
    if not all(check.passed for check in checks):
        return Gate(False, tuple(checks))
    name, reference = _reference(others, champion, metric)
    groups = by_group.groups_of(traits or {})
    asked = _questions(candidate, others, champion, (name, reference), metric)
    compared_by = paired(candidate, reference, metric) if reference else None
    found = _estimates(asked, groups if compared_by else [], compared_by, seed)
    checks += [_answer(question, found.get(question.name)) for question in asked]
    of_groups = [found[_title(group)] for group in groups] if compared_by else []
    results = by_group.results(traits or {}, *compared_by, of_groups, limits) if compared_by else []
    checks += by_group.checks(results, name, limits)
    checks += [answers_everybody(candidate, groups, limits)]
    checks += [answers_the_cold(candidate, others.get("most_popular"), limits)]
    checks += exposure(candidate, reference, name, limits) if reference else []
    checks += [overlap(candidate, champion, limits)] if champion else []
    checks += [overfit(candidate, baselines, limits), *costs(candidate, limits)]
    return Gate(all(check.passed for check in checks), tuple(checks), tuple(results))


def _reference(
    baselines: Mapping[str, Evaluation], champion: Evaluation | None, metric: str
) -> tuple[str, Evaluation | None]:
    """Whom people are served by without the candidate, or the best that there is to be had for nothing."""
    if champion is not None:
        return CHAMPION, champion
    best = max(sorted(baselines), key=lambda name: baselines[name].summary.get(metric, -np.inf), default=None)
    return (best, baselines[best]) if best else ("nobody", None)


def _questions(
    candidate: Evaluation,
    baselines: Mapping[str, Evaluation],
    champion: Evaluation | None,
    reference: tuple[str, Evaluation | None],
    metric: str,
) -> list[_Question]:
    asked = [
        _Question(f"not worse than {name}", name, paired(candidate, other, metric), False)
        for name, other in baselines.items()
    ]
    if champion is not None:
        both = paired(candidate, champion, metric)
        asked.append(_Question(f"better than {CHAMPION}", CHAMPION, both, True))
    name, other = reference
    # Where nobody bought anything new, there is nothing to compare.
    if other is not None and NEW + metric in candidate.per_user.column_names and candidate.summary.get(f"{NEW}users"):
        title = f"not worse than {name} on new items"
        asked.append(_Question(title, name, paired(candidate, other, NEW + metric), False))
    return asked


def _estimates(
    asked: Sequence[_Question], groups: Sequence[Group], both: tuple[Floats, Floats] | None, seed: int
) -> dict[str, Estimate]:
    """The mean differences and their intervals, all from the same draws of users."""
    columns = {question.name: question.both[0] - question.both[1] for question in asked if question.both}
    if both is not None:
        columns |= {_title(group): np.where(group.members, both[0] - both[1], np.nan) for group in groups}
    return estimates(columns, seed)


def _title(group: Group) -> str:
    return f"{group.trait}={group.value}"


def _answer(question: _Question, found: Estimate | None) -> Check:
    name, against = question.name, question.against
    if found is None:
        how = "was not measured on all of the candidate's users: evaluate both on the same held-out weeks."
        return Check(name, float("nan"), 0.0, False, f"{against} {how}")
    passed = found.low > 0 if question.better else found.high >= 0
    good, bad = ("better than", "not proven better than") if question.better else (
        "not significantly worse than", "significantly worse than"
    )  # fmt: skip
    return compared(name, found, 0.0, passed, f"{good if passed else bad} {against}")
