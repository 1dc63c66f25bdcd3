"""What a model gains over another in many figures at once."""

from collections.abc import Sequence

import numpy as np

from models.evaluation.comparison.paired import paired
from models.evaluation.metrics.bootstrap import Estimate, estimates
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.metrics.user_averages import COLD, COLD_BASKETS, NEWCOMER, WARM
from models.evaluation.offline import Evaluation


def gains(one: Evaluation, other: Evaluation, names: Sequence[str], seed: int) -> dict[str, Estimate | None]:
    """What one has more than the other, by figure; those of single users with intervals, all from the same draws of
    users (paired). None where they cannot be compared."""
    per_user = [name for name in names if name in one.per_user.column_names and name in other.per_user.column_names]
    both = {name: paired(one, other, name) for name in per_user}
    gained = estimates({name: figures[0] - figures[1] for name, figures in both.items() if figures}, seed)
    return {name: gained.get(name) if name in per_user else _together(one, other, name) for name in names}


def gains_by_history(one: Evaluation, other: Evaluation, seed: int) -> dict[str, Estimate | None]:
    """The same in the figure that decides, by part of the users: `WARM`, `COLD`, and `NEWCOMER`, who are kept as means
    alone; nothing of parts without anybody."""
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
    """Of all lists together there is no interval user by user."""
    if name not in other.summary:
        return None
    return Estimate(one.summary[name] - other.summary[name], np.nan, np.nan)
