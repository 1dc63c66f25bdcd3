"""Computes an audit, as values that can be stored."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import TypedDict

from models.evaluation.metrics.bootstrap import Estimate
from models.gate.thresholds import GateThresholds
from models.monitoring.audit.group_metrics import GroupFigures, figures_by_group
from models.monitoring.audit.popularity_bias import (
    PopularityTenth,
    ProviderShare,
    popularity_tenths,
    providers,
    spread,
)
from models.monitoring.audit.served_data import AuditData
from models.monitoring.audit.significance import GroupComparison, Status, compare_groups, sentence, status


class FigureJson(TypedDict):
    """A figure with its interval; None for values that are not finite."""

    value: float | None
    low: float | None
    high: float | None


class GroupJson(TypedDict):
    """The figures of a group as they are stored."""

    trait: str
    value: str
    users: int
    acted: int
    figures: dict[str, FigureJson | None]


class AuditJson(TypedDict):
    """An audit as `audit_reports.figures` stores it."""

    verdict: str
    users: int
    acted: int
    groups: list[GroupJson]
    beside: list[dict[str, str | float | None]]
    """The comparison of each group with all other users."""
    tenths: list[PopularityTenth]
    categories: list[ProviderShare]
    brands: list[ProviderShare]
    spread: dict[str, FigureJson | None]


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

    def as_dict(self) -> AuditJson:
        """Return plain values that JSON can hold."""
        return AuditJson(
            verdict=self.verdict,
            users=self.users,
            acted=self.acted,
            groups=[_group_json(group) for group in self.groups],
            beside=[_comparison_json(comparison) for comparison in self.comparisons],
            tenths=self.tenths,
            categories=self.categories,
            brands=self.brands,
            spread=_figures_json(self.spread),
        )


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


def _group_json(group: GroupFigures) -> GroupJson:
    figures = _figures_json(group.figures)
    return GroupJson(trait=group.trait, value=group.value, users=group.users, acted=group.acted, figures=figures)


def _comparison_json(comparison: GroupComparison) -> dict[str, str | float | None]:
    return {name: _finite(value) if isinstance(value, float) else value for name, value in asdict(comparison).items()}


def _figures_json(figures: Mapping[str, Estimate | None]) -> dict[str, FigureJson | None]:
    return {name: _figure_json(figure) if figure else None for name, figure in figures.items()}


def _figure_json(figure: Estimate) -> FigureJson:
    return FigureJson(value=_finite(figure.value), low=_finite(figure.low), high=_finite(figure.high))


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
