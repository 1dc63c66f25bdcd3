"""Computes an audit, as values that can be stored."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

from models.evaluation.metrics.bootstrap import Estimate
from models.gate.thresholds import GateThresholds
from models.monitoring.audit.figures import (
    GroupFigures,
    PopularityTenth,
    ProviderShare,
    figures_by_group,
    popularity_tenths,
    providers,
    spread,
)
from models.monitoring.audit.served_data import AuditData
from models.monitoring.audit.significance import GroupComparison, Status, compare_groups, sentence, status
from models.primitives.json_types import JsonObject


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
