"""Checks fairness: whether a demographic group is served significantly worse than before, beyond a margin."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.columns import USER_KEY
from models.evaluation.metrics.bootstrap import Estimate
from models.features.encoding.traits import readable
from models.features.segments import trait_pooling
from models.gate.results import Check, GroupResult, not_applicable, outcome
from models.gate.thresholds import GateThresholds
from models.primitives.vocabulary import index_of, words

if TYPE_CHECKING:
    from fairlearn.metrics import MetricFrame

UNKNOWN: Final = "unknown"
_ONE_GROUP: Final = "All measured users have the same value, or there is no model to compare with."

Floats = NDArray[np.float64]
Traits = Mapping[str, NDArray[np.str_]]
"""By trait, the value of each user [n_users]."""


class Group(NamedTuple):
    """The users with one value of a trait."""

    trait: str
    value: str
    members: NDArray[np.bool_]
    """[n_users]"""


def demographics(users: pa.Table, keys: Any) -> dict[str, NDArray[np.str_]]:
    """Return the traits of the users `keys`: a word or a range of numbers, `unknown` if missing.

    `users` has one row per user: `user_key` and traits as text or numbers.
    """
    groups = readable(trait_pooling.grouped(users, trait_pooling.fit(users)))
    positions = index_of(words(users[USER_KEY]), keys)
    of_keys = {name: np.where(positions < 0, "", words(groups[name])[positions]) for name in groups.column_names}
    return {name: np.where(values == "", UNKNOWN, values) for name, values in of_keys.items()}


def dropped_traits(users: pa.Table) -> dict[str, str]:
    """Return why a trait of `users` makes no groups, by trait."""
    return {name: rule.sentence() for name, rule in trait_pooling.fit(users).items() if rule.treatment == "dropped"}


def groups_of(traits: Traits) -> list[Group]:
    """Return all groups by trait and value; a trait with a single value makes none."""
    values_by_trait = {name: np.unique(values) for name, values in traits.items()}
    return [
        Group(t, str(v), traits[t] == v) for t, values in values_by_trait.items() if len(values) > 1 for v in values
    ]


def results(
    traits: Traits, candidate: Floats, reference: Floats, differences: Sequence[Estimate], limits: GateThresholds
) -> list[GroupResult]:
    """Return the result of each group; `differences` of both metrics [n_users] are in the order of `groups_of`."""
    groups = groups_of(traits)
    means = {trait: _frame(traits[trait], candidate, reference).by_group for trait in {g.trait for g in groups}}
    group_results = []
    for group, (difference, low, high) in zip(groups, differences, strict=True):
        row = means[group.trait].loc[group.value]
        users, before = int(row["users"]), float(row["reference"])
        judged = users >= limits.group_users
        passed = not judged or high >= -limits.group_margin * before
        figures = (users, before, float(row["candidate"]), difference, low, high)
        group_results.append(GroupResult(group.trait, group.value, *figures, judged, passed))
    return group_results


def checks(group_results: Sequence[GroupResult], opponent: str, limits: GateThresholds) -> list[Check]:
    """Return one check per trait, which names its worst group."""
    traits = dict.fromkeys(result.trait for result in group_results)
    return [
        _check(trait, [result for result in group_results if result.trait == trait], opponent, limits)
        for trait in traits
    ]


def inapplicable_checks(
    traits: Traits, group_results: Sequence[GroupResult], dropped: Mapping[str, str]
) -> list[Check]:
    """Return a check per trait without judged groups, with the reason; `dropped` has the reasons known before."""
    judged_traits = {result.trait for result in group_results}
    reasons = {trait: _ONE_GROUP for trait in traits if trait not in judged_traits} | dict(dropped)
    if not judged_traits and not reasons:
        return [not_applicable("no group worse", "No trait of people is known.")]
    return [not_applicable(f"no group worse by {trait}", reason) for trait, reason in reasons.items()]


def _check(trait: str, group_results: Sequence[GroupResult], opponent: str, limits: GateThresholds) -> Check:
    name, small = f"no group worse by {trait}", sum(not result.judged for result in group_results)
    aside = f" {small} groups of fewer than {limits.group_users} people are shown, not judged." if small else ""
    judged = [result for result in group_results if result.judged]
    if not judged:
        return not_applicable(name, f"No group has {limits.group_users} people to judge by.{aside}")
    worst = min(judged, key=lambda result: result.high + limits.group_margin * result.reference)
    margin = -limits.group_margin * worst.reference
    verdict = "within the margin" if worst.passed else f"significantly worse than with {opponent}"
    before, now = (np.ptp([getattr(result, field) for result in judged]) for field in ("reference", "candidate"))
    gap = f" Best to worst served: {now:.4f}; with {opponent} it is {before:.4f}." if len(judged) > 1 else ""
    detail = (
        f"{worst.value} ({worst.users:,} people) fares worst: {worst.difference:+.4f} a user, {worst.low:+.4f} to "
        f"{worst.high:+.4f}, margin {margin:+.4f}: {verdict}.{gap}{aside}"
    )
    passed = all(result.passed for result in judged)
    return Check(name, worst.difference, margin, outcome(passed), detail, worst.low, worst.high)


def _frame(trait_values: NDArray[np.str_], candidate: Floats, reference: Floats) -> "MetricFrame":
    """Return Fairlearn's frame of metrics that were computed per user."""
    from fairlearn.metrics import MetricFrame, count

    metrics = {
        "users": count,
        "candidate": lambda _before, now: float(np.mean(now)),
        "reference": lambda before, _now: float(np.mean(before)),
    }
    return MetricFrame(metrics=metrics, y_true=reference, y_pred=candidate, sensitive_features=trait_values)
