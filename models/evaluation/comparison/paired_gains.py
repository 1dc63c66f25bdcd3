"""Computes the gains of a model over another in many metrics."""

from collections.abc import Sequence

import numpy as np

from models.evaluation.comparison.paired import paired
from models.evaluation.metrics.bootstrap import Estimate, estimates
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.metrics.user_averages import COLD, COLD_BASKETS, NEWCOMER, WARM
from models.evaluation.offline import Evaluation


def gains(one: Evaluation, other: Evaluation, names: Sequence[str], seed: int) -> dict[str, Estimate | None]:
    """Return `one` less the other by metric; None if they cannot be compared.

    Metrics per user have paired intervals, all from the same resampled users.
    """
    per_user = [name for name in names if name in one.per_user.column_names and name in other.per_user.column_names]
    both = {name: paired(one, other, name) for name in per_user}
    gained = estimates({name: figures[0] - figures[1] for name, figures in both.items() if figures}, seed)
    return {name: gained.get(name) if name in per_user else _together(one, other, name) for name in names}


def gains_by_history(one: Evaluation, other: Evaluation, seed: int) -> dict[str, Estimate | None]:
    """Return gains in the deciding metric by part of the users: `WARM`, `COLD`, and `NEWCOMER`.

    Newcomers have no interval because only their means are stored. Empty parts are left out.
    """
    gains_by_part = _by_baskets(one, other, seed) if "baskets" in one.per_user.column_names else {}
    if NEWCOMER + METRIC in one.summary:
        gains_by_part[NEWCOMER] = _together(one, other, NEWCOMER + METRIC)
    return gains_by_part


def _by_baskets(one: Evaluation, other: Evaluation, seed: int) -> dict[str, Estimate | None]:
    both = paired(one, other, METRIC)
    if both is None:
        return {}
    few, gained = one.per_user["baskets"].to_numpy() < COLD_BASKETS, both[0] - both[1]
    parts = {WARM: np.where(few, np.nan, gained), COLD: np.where(few, gained, np.nan)}
    return dict(estimates({part: values for part, values in parts.items() if np.isfinite(values).any()}, seed))


def _together(one: Evaluation, other: Evaluation, name: str) -> Estimate | None:
    """Return the difference of two means, without an interval."""
    if name not in other.summary:
        return None
    return Estimate(one.summary[name] - other.summary[name], np.nan, np.nan)
