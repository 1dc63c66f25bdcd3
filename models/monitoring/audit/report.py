"""Everything that an audit finds, as values that can be stored."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from models.evaluation.metrics.bootstrap import Estimate
from models.gate.thresholds import GateThresholds
from models.monitoring.audit.group_metrics import GroupFigures, figures_by_group
from models.monitoring.audit.popularity_bias import popularity_tenths, providers, spread
from models.monitoring.audit.served_data import AuditData
from models.monitoring.audit.significance import GroupComparison, Status, compare_groups, sentence, status


@dataclass(frozen=True)
class Audit:
    """What was found."""

    status: Status
    verdict: str
    """In a sentence or two."""
    users: int
    """Of the sample who were shown lists."""
    acted: int
    """Of them, who bought something then."""
    groups: list[GroupFigures]
    """Everybody first."""
    comparisons: list[GroupComparison]
    """Each group beside everybody else."""
    tenths: list[dict[str, Any]]
    spread: dict[str, Estimate]
    categories: list[dict[str, Any]]
    brands: list[dict[str, Any]]

    @property
    def summary(self) -> dict[str, float]:
        """Everybody's figures, where there are any."""
        figures = self.groups[0].figures | self.spread
        return {name: figure.value for name, figure in figures.items() if figure is not None}

    def as_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold: figures with `value`, `low` and `high`, None for what there is not."""
        groups = [group._asdict() | {"figures": _plain(group.figures)} for group in self.groups]
        beside = [{name: _finite(value) for name, value in asdict(group).items()} for group in self.comparisons]
        kept = {"verdict": self.verdict, "users": self.users, "acted": self.acted, "groups": groups, "beside": beside}
        shelf = {"tenths": self.tenths, "categories": self.categories, "brands": self.brands}
        return kept | shelf | {"spread": _plain(self.spread)}


def run_audit(material: AuditData, limits: GateThresholds, seed: int) -> Audit:
    """Look at all of it; the same seed gives the same intervals."""
    groups, beside = figures_by_group(material, seed), compare_groups(material, limits, seed)
    return Audit(
        status(beside),
        sentence(beside, limits),
        material.users,
        groups[0].acted,
        groups,
        beside,
        popularity_tenths(material),
        spread(material, seed),
        providers(material, material.items.category),
        providers(material, material.items.brand),
    )


def _plain(figures: Mapping[str, Estimate | None]) -> dict[str, Any]:
    return {name: figure and {k: _finite(v) for k, v in figure._asdict().items()} for name, figure in figures.items()}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not isfinite(value) else value
