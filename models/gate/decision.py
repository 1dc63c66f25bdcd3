"""May a candidate answer shoppers? Only for what it beats, user by user on the same held-out weeks."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.evaluation.comparison.paired import paired
from models.evaluation.metrics.bootstrap import Estimate, estimates
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.metrics.user_averages import NEW
from models.evaluation.offline import Evaluation
from models.gate import fairness_checks as by_group
from models.gate.cost_checks import costs, overfit
from models.gate.exposure_checks import FIGURES, ExposureReference, exposure, overlap, serves_cold_users, shows_enough
from models.gate.fairness_checks import Group, Traits
from models.gate.results import BETTER, Check, GateResult, Outcome, compared, gate_result, not_applicable
from models.gate.sanity_checks import sanity_checks, serves_all_users
from models.gate.thresholds import GateThresholds

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
    limits: GateThresholds = GateThresholds(),  # noqa: B008 -- a frozen value
    metric: str = METRIC,
    promoted: Mapping[str, float] | None = None,
    dropped: Mapping[str, str] | None = None,
) -> GateResult:
    """Refuse a broken candidate; else hold it against every baseline and the champion, and against the `limits`.

    It must be better than the champion (the whole interval above zero) and not significantly worse than any baseline
    (not the whole interval below zero); before the first champion, the best baseline stands for it in all else.
    Baselines are named by their model kind, the candidate may be among them. `traits` are of the candidate's users.

    `promoted` are the champion's figures as stored at its promotion. Exposure is held against them, so that the
    champion's own recipe, learned again, is held against the champion too. They are None when there is no champion.
    `left_out` are the traits that make no groups, and why.
    """
    checks = sanity_checks(candidate, metric, limits)
    others = {name: evaluation for name, evaluation in baselines.items() if evaluation is not candidate}
    if any(check.refused for check in checks):
        return gate_result(checks)
    name, reference = _reference(others, champion, metric)
    groups = by_group.groups_of(traits or {})
    questions = _questions(candidate, others, champion, (name, reference), metric)
    compared_by = paired(candidate, reference, metric) if reference else None
    estimates_by_name = _estimates(questions, groups if compared_by else [], compared_by, seed)
    checks += [_answer(question, estimates_by_name.get(question.name)) for question in questions]
    checks += _unanswerable(candidate, others, metric)
    group_differences = [estimates_by_name[_title(group)] for group in groups] if compared_by else []
    results = by_group.results(traits or {}, *compared_by, group_differences, limits) if compared_by else []
    checks += by_group.checks(results, name, limits) + by_group.inapplicable_checks(
        traits or {}, results, dropped or {}
    )
    checks += [serves_all_users(candidate, groups, limits)]
    checks += [serves_cold_users(candidate, others.get("most_popular"), limits)]
    standard = _standard(champion, promoted, (name, reference))
    checks += exposure(candidate, standard, limits)
    checks += [] if standard and standard.refuses else [shows_enough(candidate, limits)]
    checks += [overlap(candidate, champion, limits)] if champion else []
    checks += [overfit(candidate, baselines, limits), *costs(candidate, limits)]
    return gate_result(checks, results)


def _standard(
    champion: Evaluation | None, promoted: Mapping[str, float] | None, reference: tuple[str, Evaluation | None]
) -> ExposureReference | None:
    """Return what exposure is held against: the champion as it was promoted, before the first the best baseline."""
    if promoted and not FIGURES.isdisjoint(promoted):
        return ExposureReference("at the champion's promotion", promoted, True)
    if champion is not None:
        return ExposureReference("with the champion", champion.summary, True)
    if promoted is not None:
        return ExposureReference("at the champion's promotion", {}, True)
    name, evaluation = reference
    return ExposureReference(f"with {name}", evaluation.summary, False) if evaluation else None


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
    questions = [
        _Question(f"not worse than {name}", name, paired(candidate, other, metric), False)
        for name, other in baselines.items()
    ]
    if champion is not None:
        both = paired(candidate, champion, metric)
        questions.append(_Question(BETTER, CHAMPION, both, True))
    name, other = reference
    if other is not None and _bought_new(candidate, metric):
        title = f"not worse than {name} on new items"
        questions.append(_Question(title, name, paired(candidate, other, NEW + metric), False))
    return questions


def _bought_new(candidate: Evaluation, metric: str) -> bool:
    return NEW + metric in candidate.per_user.column_names and bool(candidate.summary.get(f"{NEW}users"))


def _unanswerable(candidate: Evaluation, baselines: Mapping[str, Evaluation], metric: str) -> list[Check]:
    """Return the comparisons that the data do not allow."""
    checks = [] if baselines else [not_applicable("not worse than a baseline", "No other baseline was trained.")]
    if not _bought_new(candidate, metric):
        checks.append(not_applicable("not worse on new items", "Nobody bought an item that was new to them."))
    return checks


def _estimates(
    questions: Sequence[_Question], groups: Sequence[Group], both: tuple[Floats, Floats] | None, seed: int
) -> dict[str, Estimate]:
    """The mean differences and their intervals, all from the same draws of users."""
    columns = {question.name: question.both[0] - question.both[1] for question in questions if question.both}
    if both is not None:
        columns |= {_title(group): np.where(group.members, both[0] - both[1], np.nan) for group in groups}
    return estimates(columns, seed)


def _title(group: Group) -> str:
    return f"{group.trait}={group.value}"


def _answer(question: _Question, difference: Estimate | None) -> Check:
    name, opponent = question.name, question.against
    if difference is None:
        how = "was not measured on all of the candidate's users: evaluate both on the same held-out weeks."
        return Check(name, float("nan"), 0.0, Outcome.REFUSED, f"{opponent} {how}")
    passed = difference.low > 0 if question.better else difference.high >= 0
    good, bad = ("better than", "not proven better than") if question.better else (
        "not significantly worse than", "significantly worse than"
    )  # fmt: skip
    return compared(name, difference, 0.0, passed, f"{good if passed else bad} {opponent}")
