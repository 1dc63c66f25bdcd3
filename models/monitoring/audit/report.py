"""Computes an audit, as values that can be stored.

Groups are compared with all other users, with intervals that hold for all groups at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.evaluation.metrics.bootstrap import LEVEL, Estimate, Floats, draws
from models.gate.fairness_checks import UNKNOWN, Group
from models.gate.thresholds import GateThresholds
from models.monitoring.audit.figures import (
    AuditData,
    GroupFigures,
    PopularityTenth,
    ProviderShare,
    figures_by_group,
    popularity_tenths,
    providers,
    spread,
)
from models.primitives.json_types import JsonObject

Status = Literal["within margin", "beyond margin", "not judged"]
BEYOND_MARGIN: Final = "beyond margin"


class GroupComparison(NamedTuple):
    """A group compared with all other users in realised NDCG@10."""

    trait: str
    value: str
    people: int
    """Users of the group who bought something."""
    mean: float
    others: float
    """The mean of all other users."""
    difference: float
    low: float
    high: float
    control: float
    """The same difference for the control list of best sellers, which does not depend on the model."""
    margin: float
    """The allowed difference, below 0."""
    judged: bool
    passed: bool


def compare_groups(data: AuditData, limits: GateThresholds, seed: int) -> list[GroupComparison]:
    """Compare every group with the users outside it, among users who bought something.

    A group without other users is left out. The intervals hold for all judged groups together in 95 of 100 audits:
    users are resampled, and the width in standard errors is set by the group that deviates most (Westfall and Young
    1993, maximum statistic).
    """
    outcome = data.outcome
    if outcome is None:
        return []
    active = outcome.acted > 0
    present = [g._replace(members=g.members[active]) for g in data.groups]
    groups = [group for group in present if 0 < group.members.sum() < active.sum()]
    if not groups:
        return []
    members = np.column_stack([group.members for group in groups])
    few = np.minimum(members.sum(axis=0), (~members).sum(axis=0))
    # Users with an unknown trait are shown, not judged: the model cannot treat them as a group.
    judged = (few >= limits.group_users) & np.array([group.value != UNKNOWN for group in groups])
    estimates = _estimates(outcome.ndcg[active], members, judged, seed)
    control = _apart(np.ones((1, len(members))), outcome.control_ndcg[active], members)[0].tolist()
    rows = zip(groups, estimates, control, judged.tolist(), strict=True)
    return [
        _beside(group, outcome.ndcg[active], figure, control_difference, is_judged, limits)
        for group, figure, control_difference, is_judged in rows
    ]


def _beside(
    group: Group, ndcg: Floats, estimates: Estimate, control: float, judged: bool, limits: GateThresholds
) -> GroupComparison:
    mean, others = float(ndcg[group.members].mean()), float(ndcg[~group.members].mean())
    margin = -limits.group_margin * others
    passed = not judged or estimates.high >= margin
    people = int(group.members.sum())
    return GroupComparison(group.trait, group.value, people, mean, others, *estimates, control, margin, judged, passed)


def _estimates(values: Floats, members: NDArray[np.bool_], judged: NDArray[np.bool_], seed: int) -> list[Estimate]:
    """Return the difference of each group with its simultaneous interval."""
    value = _apart(np.ones((1, len(values))), values, members)[0]
    drawn = np.concatenate([_apart(counts, values, members) for counts in draws(len(values), seed)])
    error = np.nanstd(drawn, axis=0)
    of_interest = judged if judged.any() else np.ones_like(judged)
    with np.errstate(invalid="ignore", divide="ignore"):
        strays = np.abs(drawn - value)[:, of_interest] / error[of_interest]
    width = float(np.quantile(np.nan_to_num(strays, posinf=0.0).max(axis=1), LEVEL)) * error
    return [Estimate(*row) for row in np.column_stack([value, value - width, value + width]).tolist()]


def _apart(counts: Floats, values: Floats, members: NDArray[np.bool_]) -> Floats:
    """Return [s, groups] the mean of each group less that of the others, for user weights [s, m]."""
    inside, weighted = members.astype(np.float64), counts * values
    n, total = counts @ inside, weighted @ inside
    with np.errstate(invalid="ignore", divide="ignore"):
        estimates: Floats = total / n - (weighted.sum(axis=1, keepdims=True) - total) / (
            counts.sum(axis=1, keepdims=True) - n
        )
    return estimates


def status(estimates: Sequence[GroupComparison]) -> Status:
    """Return the status of all groups together."""
    if any(not group.passed for group in estimates):
        return "beyond margin"
    return "within margin" if any(group.judged for group in estimates) else "not judged"


def sentence(estimates: Sequence[GroupComparison], limits: GateThresholds) -> str:
    """Return the verdict in a sentence, with the worst group."""
    judged = [group for group in estimates if group.judged]
    if not estimates:
        return "Nobody bought anything while lists were shown, or nothing is known of people that makes groups."
    if not judged:
        return f"No group has {limits.group_users} people who bought something to judge by."
    worst = min(judged, key=lambda group: group.high - group.margin)
    detail = (
        f"Worst off: {worst.trait} {worst.value} ({worst.people:,} people), NDCG@10 {worst.mean:.4f}, everybody else "
        f"{worst.others:.4f}, difference {worst.difference:+.4f} ({worst.low:+.4f} to {worst.high:+.4f}), margin "
        f"{worst.margin:+.4f}"
    )
    beyond = sum(not group.passed for group in judged)
    if beyond:
        return f"{beyond} of {len(judged)} groups are served worse than everybody else beyond the margin. {detail}."
    return f"No group of {len(judged)} is served worse than everybody else beyond the margin. {detail}."


@dataclass(frozen=True)
class Audit:
    """The findings of an audit."""

    status: Status
    verdict: str
    """One or two sentences."""
    users: int
    """Users of the sample who were shown lists."""
    acted: int
    """Users among them who bought something meanwhile."""
    groups: list[GroupFigures]
    """All users first."""
    comparisons: list[GroupComparison]
    """Each group compared with all other users."""
    tenths: list[PopularityTenth]
    spread: dict[str, Estimate]
    categories: list[ProviderShare]
    brands: list[ProviderShare]

    @property
    def summary(self) -> dict[str, float]:
        """The figures of all users, without those that are unknown."""
        figures = self.groups[0].figures | self.spread
        return {name: figure.value for name, figure in figures.items() if figure is not None}

    def as_dict(self) -> JsonObject:
        """Return plain values, as `audit_reports.figures` stores them; None for values that are not finite."""
        stored = ("verdict", "users", "acted", "groups", "comparisons", "tenths", "categories", "brands", "spread")
        figures: JsonObject = _plain({name: getattr(self, name) for name in stored})
        return figures | {"beside": figures.pop("comparisons")}


def run_audit(data: AuditData, limits: GateThresholds, seed: int) -> Audit:
    """Compute all figures of an audit; the same seed gives the same intervals."""
    groups, comparisons = figures_by_group(data, seed), compare_groups(data, limits, seed)
    return Audit(
        status(comparisons),
        sentence(comparisons, limits),
        data.users,
        groups[0].acted,
        groups,
        comparisons,
        popularity_tenths(data),
        spread(data, seed),
        providers(data, data.items.category),
        providers(data, data.items.brand),
    )


def _plain(value: Any) -> Any:
    """Return a figure, or a structure of them, as JSON can hold it."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, GroupFigures | GroupComparison | Estimate):
        value = value._asdict()
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list) else value
