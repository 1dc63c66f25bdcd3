"""What is shown to whom: how much of the catalogue, how evenly, how much of it new to the people who saw it before."""

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.columns import USER_KEY
from models.evaluation.evaluate import LISTS, Evaluation
from models.evaluation.paired import figures
from models.evaluation.summary import COLD_BASKETS
from models.gate.check import Check, at_least, at_most
from models.gate.limits import Limits
from models.gate.soundness import FALLBACK
from models.training_data import index_of, words

_FEWEST: Final = 10
"""A share of fewer people with little history says nothing."""


def exposure(candidate: Evaluation, reference: Evaluation, against: str, limits: Limits) -> list[Check]:
    """Coverage, long tail and evenness beside the reference."""
    mine, its = candidate.summary, reference.summary
    made = []
    for name, title, share in (
        ("coverage_at_10", "covers the catalogue", limits.coverage_share),
        ("long_tail_at_10", "shows the long tail", limits.long_tail_share),
    ):
        value, before = mine.get(name, np.nan), its.get(name, np.nan)
        detail = f"{value:.2%}, under {against} {before:.2%}."
        # What was measured before there was this figure asks for nothing.
        made.append(at_least(title, value, share * before if before == before else 0.0, detail))
    gini, before = mine.get("gini_at_10", np.nan), its.get("gini_at_10", np.nan)
    detail = f"Gini index {gini:.3f}, under {against} {before:.3f}: 1 is a few items in all places."
    made.append(at_most("shows items evenly", gini, min(1.0, before + limits.gini_rise), detail))
    return made


def overlap(candidate: Evaluation, champion: Evaluation, limits: Limits) -> Check:
    """How much of the lists that people know stays."""
    title = "keeps some of the champion's lists"
    if LISTS not in champion.per_user.column_names:
        return Check(title, 0.0, 0.0, True, "The champion's lists were not kept when it was measured.")
    share = float(np.nanmean(shared(candidate, champion)))
    detail = f"{share:.0%} of the champion's items stay on a user's list, on average."
    return at_least(title, share, limits.overlap, detail)


def shared(one: Evaluation, other: Evaluation) -> NDArray[np.float64]:
    """[n_users] the share of each user's list by `other` that is on the one by `one` too; NaN for an empty list."""
    at = index_of(words(other.per_user[USER_KEY]), one.per_user[USER_KEY])
    theirs = other.per_user[LISTS].combine_chunks().take(pa.array(at, mask=at < 0))
    ours = one.per_user[LISTS].combine_chunks()
    known = pc.unique(pa.concat_arrays([ours.flatten(), theirs.flatten()]))
    mine, its = _pairs(ours, known), _pairs(theirs, known)
    user = its // max(1, len(known))
    length = np.bincount(user, minlength=len(at))
    with np.errstate(invalid="ignore"):
        found: NDArray[np.float64] = np.bincount(user, np.isin(its, mine), minlength=len(at)) / length
    return found


def _pairs(lists: pa.ListArray, known: pa.Array) -> NDArray[np.int64]:
    """A number for each pair of user and item."""
    item = np.asarray(pc.index_in(lists.flatten(), value_set=known), dtype=np.int64)
    user = np.asarray(pc.list_parent_indices(lists), dtype=np.int64)
    return user * len(known) + item


def answers_the_cold(candidate: Evaluation, best_sellers: Evaluation | None, limits: Limits) -> Check:
    """Do people with little history get lists of their own, and not just the best sellers?"""
    title = "answers cold users personally"
    cold = figures(candidate, "baskets") < COLD_BASKETS
    if cold.sum() < _FEWEST:
        return Check(title, 0.0, 0.0, True, f"Only {cold.sum()} people have little history: shown, not judged.")
    own = figures(candidate, FALLBACK) < 1
    if best_sellers is not None and LISTS in best_sellers.per_user.column_names:
        own &= ~(shared(candidate, best_sellers) >= 1)
    share = float(own[cold].mean())
    detail = (
        f"{share:.0%} of {int(cold.sum()):,} people with fewer than {COLD_BASKETS} baskets get a list of their own."
    )
    return at_least(title, share, limits.cold_share, detail)
