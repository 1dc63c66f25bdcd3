"""Checks exposure: coverage, evenness, overlap with the champion's lists, and lists of users with little history."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.columns import USER_KEY
from models.evaluation.comparison import figures
from models.evaluation.metrics.beyond_accuracy import CANDIDATES
from models.evaluation.metrics.bootstrap import COLD_BASKETS
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.offline import LISTS, Evaluation
from models.gate.results import Check, Outcome, at_least, not_applicable
from models.gate.thresholds import GateThresholds
from models.primitives.vocabulary import index_of, words

_FEWEST: Final = 10
"""Users with little history that a share needs."""
_K: Final = 10
FALLBACK: Final = "fallback_at_10"
_BOUGHT: Final = ("bought", "unbought")


class ExposureReference(NamedTuple):
    """The figures that exposure is compared with."""

    when: str
    """Origin of the figures, as the end of a sentence."""
    figures: Mapping[str, float]
    refuses: bool
    """Whether a figure beyond its limit refuses the candidate; otherwise it warns."""


class _ExposureRule(NamedTuple):
    """One exposure metric with its limit."""

    figure: str
    title: str
    least: bool
    """Whether the limit is a minimum; otherwise it is a maximum."""


_RULES: Final = (
    _ExposureRule("coverage_at_10", "covers the catalogue", True),
    _ExposureRule("long_tail_at_10", "shows the long tail", True),
    _ExposureRule("gini_at_10", "shows items evenly", False),
)
FIGURES: Final = frozenset(rule.figure for rule in _RULES)


def exposure(candidate: Evaluation, standard: ExposureReference | None, limits: GateThresholds) -> list[Check]:
    """Check coverage, long tail and evenness against the reference."""
    if standard is None:
        return [not_applicable(rule.title, "There is no model to compare with.") for rule in _RULES]
    return [_exposed(rule, candidate, standard, limits) for rule in _RULES]


def _exposed(rule: _ExposureRule, candidate: Evaluation, standard: ExposureReference, limits: GateThresholds) -> Check:
    value, before = (figures.get(rule.figure, np.nan) for figures in (candidate.summary, standard.figures))
    if not np.isfinite(before):
        return not_applicable(rule.title, f"This figure {standard.when} was not stored.")
    limit = _limit(rule, before, candidate.summary, standard.figures, limits)
    passed = bool(value >= limit if rule.least else value <= limit)
    sentence = f"{value:.2%}, {standard.when} {before:.2%}."
    if not rule.least:
        sentence = f"Gini index {value:.3f}, {standard.when} {before:.3f}: 1 is a few items in all places."
    if passed:
        return Check(rule.title, value, limit, Outcome.PASSED, sentence)
    detail = f"{sentence} {_trade_off(rule, candidate, limit)}"
    return Check(rule.title, value, limit, Outcome.REFUSED if standard.refuses else Outcome.WARNING, detail)


def _limit(
    rule: _ExposureRule, before: float, now: Mapping[str, float], then: Mapping[str, float], limits: GateThresholds
) -> float:
    """Return the limit. Fewer places than `then` show fewer items and less evenly, by chance alone."""
    if rule.figure == "long_tail_at_10":
        return limits.long_tail_share * before
    places = [_places_per_item(figures) for figures in (now, then)]
    if rule.least:
        covered, covered_then = -np.expm1(-np.array(places))
        return limits.coverage_share * before * min(1.0, float(covered / covered_then))
    from scipy.special import ive

    even, even_then = 1 - ive(0, 2 * np.array(places)) - ive(1, 2 * np.array(places))
    return min(1.0, 1 - (1 - before) * min(1.0, float(even / even_then)) + limits.gini_rise)


def _places_per_item(figures: Mapping[str, float]) -> float:
    """Return the expected number of places x per item if ten places per measured user were filled at random.

    The number of places is then Poisson distributed: a share of exp(-x) is never shown, and the Gini index is exp(-2x)
    (I0(2x) + I1(2x)). Returns 1,000 if it is not known.
    """
    users, items = figures.get("users", np.nan), _items(figures)
    return max(1e-9, _K * users / items) if np.isfinite(users) and items > 0 else 1e3


def _items(figures: Mapping[str, float]) -> float:
    """Return the number of items of the catalogue, from the sum of the confusion matrix."""
    pairs = [figures.get(f"{shown}_{bought}", np.nan) for shown in ("shown", "unshown") for bought in _BOUGHT]
    return sum(pairs) / max(1.0, figures.get("users", np.nan))


def _trade_off(rule: _ExposureRule, candidate: Evaluation, limit: float) -> str:
    """State the accuracy that keeping the limit costs, by the smallest exposure penalty that keeps it."""
    before = candidate.summary.get(METRIC, np.nan)
    if not candidate.reranked or not before > 0:
        return "The cost of the limit in accuracy was not measured."
    for lists in candidate.reranked:
        value = getattr(lists, rule.figure)
        if value >= limit if rule.least else value <= limit:
            cost = f"NDCG@10 {lists.ndcg_at_10:.4f} instead of {before:.4f} ({lists.ndcg_at_10 / before - 1:+.1%})"
            return f"Re-ranking its {CANDIDATES} best candidates per user to keep the limit leaves {cost}."
    return f"No re-ranking of its {CANDIDATES} best candidates per user keeps the limit."


def shows_enough(candidate: Evaluation, limits: GateThresholds) -> Check:
    """Refuse minimal coverage, relative to the items that all places together could show."""
    title, items = "shows more than a few items", _items(candidate.summary)
    if not items > 0:
        return not_applicable(title, "The size of the catalogue was not stored.")
    room = min(1.0, _places_per_item(candidate.summary))
    value, limit = candidate.summary.get("coverage_at_10", np.nan), limits.least_coverage * room
    detail = f"{value * items:,.0f} items of the {room * items:,.0f} that the places of all people could show."
    return at_least(title, value, limit, detail)


def overlap(candidate: Evaluation, champion: Evaluation, limits: GateThresholds) -> Check:
    """Check how much of the champion's lists the candidate keeps."""
    title = "keeps some of the champion's lists"
    if LISTS not in champion.per_user.column_names:
        return not_applicable(title, "The champion's lists were not stored with its evaluation.")
    share = float(np.nanmean(list_overlap(candidate, champion)))
    detail = f"{share:.0%} of the champion's items stay on a user's list, on average."
    return at_least(title, share, limits.overlap, detail)


def list_overlap(one: Evaluation, other: Evaluation) -> NDArray[np.float64]:
    """Return [n_users] the share of each user's list by `other` that is on the list by `one`; NaN for an empty list."""
    at = index_of(words(other.per_user[USER_KEY]), one.per_user[USER_KEY])
    theirs = other.per_user[LISTS].combine_chunks().take(pa.array(at, mask=at < 0))
    ours = one.per_user[LISTS].combine_chunks()
    known = pc.unique(pa.concat_arrays([ours.flatten(), theirs.flatten()]))
    own_pairs, other_pairs = _pairs(ours, known), _pairs(theirs, known)
    user = other_pairs // max(1, len(known))
    length = np.bincount(user, minlength=len(at))
    with np.errstate(invalid="ignore"):
        share: NDArray[np.float64] = np.bincount(user, np.isin(other_pairs, own_pairs), minlength=len(at)) / length
    return share


def _pairs(lists: pa.ListArray, known: pa.Array) -> NDArray[np.int64]:
    """Return a code for each pair of user and item."""
    item = np.asarray(pc.index_in(lists.flatten(), value_set=known), dtype=np.int64)
    user = np.asarray(pc.list_parent_indices(lists), dtype=np.int64)
    return user * len(known) + item


def serves_cold_users(candidate: Evaluation, best_sellers: Evaluation | None, limits: GateThresholds) -> Check:
    """Check that users with little history get lists of their own, not just the best sellers."""
    title = "answers cold users personally"
    cold = figures(candidate, "baskets") < COLD_BASKETS
    if cold.sum() < _FEWEST:
        return not_applicable(title, f"Only {cold.sum()} people have little history.")
    own = figures(candidate, FALLBACK) < 1
    if best_sellers is not None and LISTS in best_sellers.per_user.column_names:
        own &= ~(list_overlap(candidate, best_sellers) >= 1)
    share = float(own[cold].mean())
    detail = (
        f"{share:.0%} of {int(cold.sum()):,} people with fewer than {COLD_BASKETS} baskets get a list of their own."
    )
    return at_least(title, share, limits.cold_share, detail)
