"""The figures of everybody and of each group of people, with intervals."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np

from models.evaluation.metrics.bootstrap import Estimate, Floats, intervals_of_ratios
from models.gate.fairness_checks import Group
from models.monitoring.audit.miscalibration import miscalibration
from models.monitoring.audit.popularity_bias import mean_buyers
from models.monitoring.audit.served_data import AuditData

ALL_USERS: Final = Group("", "everybody", np.empty(0, dtype=bool))


class Ratio(NamedTuple):
    """A figure as the sum over users of what is above by that of what is below, [m] each."""

    above: Floats
    below: Floats


class GroupFigures(NamedTuple):
    """How a group fares."""

    trait: str
    """Empty for everybody."""
    value: str
    users: int
    acted: int
    """Who bought something while lists were shown."""
    figures: dict[str, Estimate | None]
    """By name; None where nobody has one."""


def ratios(material: AuditData) -> dict[str, Ratio]:
    """What is told of groups, of all users.

    `recall`, `hit_rate`, `ndcg` and the same of the `control`, if there is an outcome. `percentile`: how popular what
    is shown is. `lift`: by which share the mean number of buyers of what is shown is above that of what the user has
    bought (Abdollahpouri et al. 2020: means over the group first). `miscalibration`: see
    `models.monitoring.audit.miscalibration`.
    """
    goods, all_users = material.items, np.ones(material.users)
    shown, had = (mean_buyers(pairs, goods.buyers) for pairs in (material.shown, material.bought))
    both = np.isfinite(shown) & np.isfinite(had)
    divergence = miscalibration(material.bought, material.shown, goods.category)
    known = np.isfinite(divergence)
    return _outcomes(material) | {
        "percentile": Ratio(material.shown @ goods.percentile, all_users),
        "lift": Ratio(np.where(both, shown - had, 0.0), np.where(both, had, 0.0)),
        "miscalibration": Ratio(np.where(known, divergence, 0.0), known.astype(np.float64)),
    }


def _outcomes(material: AuditData) -> dict[str, Ratio]:
    came = material.outcome
    if came is None:
        return {}
    return {
        "recall": Ratio(came.hits, came.targets),
        "hit_rate": Ratio(came.hit, came.acted),
        "ndcg": Ratio(came.ndcg, came.acted),
        "control_recall": Ratio(came.control_hits, came.targets),
        "control_hit_rate": Ratio(came.control_hit, came.acted),
        "control_ndcg": Ratio(came.control_ndcg, came.acted),
    }


def figures_by_group(material: AuditData, seed: int) -> list[GroupFigures]:
    """Everybody first, then the groups by trait and value; 95 % intervals by drawing users anew (Efron 1979)."""
    by_metric, all_users = ratios(material), np.ones(material.users, dtype=bool)
    groups = [ALL_USERS._replace(members=all_users), *material.groups]
    members = np.column_stack([group.members for group in groups]).astype(np.float64)
    above, below = (
        np.concatenate([members * part[:, None] for part in parts], axis=1)
        for parts in zip(*by_metric.values(), strict=True)
    )
    low, high = intervals_of_ratios(above, below, seed)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = above.sum(axis=0) / below.sum(axis=0)
    bounds = np.stack([value, low, high], axis=1).reshape(len(by_metric), len(groups), 3)
    acted = np.zeros(material.users) if material.outcome is None else material.outcome.acted
    return [
        _of_group(group, acted, dict(zip(by_metric, bounds[:, place], strict=True)))
        for place, group in enumerate(groups)
    ]


def _of_group(group: Group, acted: Floats, found: Mapping[str, Floats]) -> GroupFigures:
    figures = {name: Estimate(*row.tolist()) if np.isfinite(row).all() else None for name, row in found.items()}
    return GroupFigures(group.trait, group.value, int(group.members.sum()), int(acted[group.members].sum()), figures)
