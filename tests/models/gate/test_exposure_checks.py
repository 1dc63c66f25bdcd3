import numpy as np
import pyarrow as pa
import pytest

from models.evaluation.metrics.beyond_accuracy import Reranked, concentration, coverage
from models.evaluation.offline import Evaluation
from models.gate.exposure_checks import ExposureReference, exposure, list_overlap, shows_enough
from models.gate.results import Check, Outcome
from models.gate.thresholds import GateThresholds

OWN = {"coverage_at_10": 0.50, "long_tail_at_10": 0.23, "gini_at_10": 0.792}
LEARNED = {"coverage_at_10": 0.30, "long_tail_at_10": 0.11, "gini_at_10": 0.892, "ndcg_at_10": 0.401}
COSTS = (
    Reranked(0.1, 0.395, 0.32, 0.13, 0.87),
    Reranked(0.5, 0.371, 0.4, 0.2, 0.83),
    Reranked(1.0, 0.3, 0.5, 0.3, 0.7),
)


def exposure_of(figures: dict[str, float], standard: ExposureReference | None, *costs: Reranked) -> dict[str, Check]:
    return {
        check.name: check
        for check in exposure(Evaluation(pa.table({}), figures, None, costs), standard, GateThresholds())
    }


def outcomes(checks: dict[str, Check]) -> list[str]:
    return [str(check.outcome) for check in checks.values()]


def pairs(users: int, items: int) -> dict[str, float]:
    """Return the parts of a summary that determine the size of the catalogue."""
    matrix = dict.fromkeys(("shown_bought", "shown_unbought", "unshown_bought"), 0.0)
    return matrix | {"users": float(users), "unshown_unbought": float(users * items)}


def test_exposure_beyond_the_champions_at_its_promotion_is_refused() -> None:
    checks = exposure_of(LEARNED, ExposureReference("at the champion's promotion", OWN, refuses=True))
    assert outcomes(checks) == ["passed", "refused", "refused"]
    assert "at the champion's promotion 0.792" in checks["shows items evenly"].detail


def test_a_refusal_shows_the_accuracy_that_the_smallest_sufficient_penalty_leaves() -> None:
    checks = exposure_of(LEARNED, ExposureReference("at the champion's promotion", OWN, refuses=True), *COSTS)
    assert "leaves NDCG@10 0.3710 instead of 0.4010 (-7.5%)" in checks["shows items evenly"].detail
    assert "leaves NDCG@10 0.3950 instead of 0.4010 (-1.5%)" in checks["shows the long tail"].detail
    beyond = exposure_of(
        LEARNED, ExposureReference("at the champion's promotion", OWN | {"gini_at_10": 0.5}, refuses=True), *COSTS
    )
    assert "No re-ranking of its 50 best candidates" in beyond["shows items evenly"].detail


def test_a_figure_that_the_champions_promotion_does_not_have_is_not_asked() -> None:
    checks = exposure_of(
        LEARNED, ExposureReference("at the champion's promotion", {"coverage_at_10": 0.3}, refuses=True)
    )
    assert outcomes(checks) == ["passed", "not asked", "not asked"]
    assert outcomes(exposure_of(LEARNED, None)) == ["not asked"] * 3


def test_fewer_people_in_the_test_weeks_are_no_reason_to_refuse() -> None:
    promoted = {"coverage_at_10": 0.5, "long_tail_at_10": 0.2, "gini_at_10": 0.6} | pairs(500, 10_000)
    quiet = {"coverage_at_10": 0.13, "long_tail_at_10": 0.2, "gini_at_10": 0.88} | pairs(125, 10_000)
    assert (
        outcomes(exposure_of(quiet, ExposureReference("at the champion's promotion", promoted, refuses=True)))
        == ["passed"] * 3
    )
    busy = quiet | pairs(500, 10_000)
    checks = exposure_of(busy, ExposureReference("at the champion's promotion", promoted, refuses=True))
    assert outcomes(checks) == ["refused", "passed", "refused"]


def test_the_allowance_for_fewer_people_is_what_chance_does_to_lists_filled_at_random() -> None:
    random, items = np.random.default_rng(0), 600
    lists = {users: random.integers(items, size=(users, 10)).astype(np.int32) for users in (300, 110)}
    spread = {
        users: {
            "coverage_at_10": coverage(shown, items),
            "gini_at_10": float(concentration(np.bincount(shown.ravel(), minlength=items)[None, :], items)[0]),
        }
        | pairs(users, items)
        for users, shown in lists.items()
    }
    strict = GateThresholds(coverage_share=0.97, gini_rise=0.02)
    checks = exposure(
        Evaluation(pa.table({}), spread[110]), ExposureReference("at promotion", spread[300], True), strict
    )
    assert [check.outcome for check in checks if check.name != "shows the long tail"] == [Outcome.PASSED] * 2
    assert spread[110]["gini_at_10"] > spread[300]["gini_at_10"] + 0.05


@pytest.mark.parametrize(
    ("share", "outcome"), [(0.0014, Outcome.REFUSED), (0.0016, Outcome.PASSED), (0.4, Outcome.PASSED)]
)
def test_almost_no_coverage_is_measured_against_what_the_places_could_show(share: float, outcome: Outcome) -> None:
    summary = {"coverage_at_10": share} | pairs(3_000, 100_000)  # 30,000 places: 0.3 of the catalogue
    assert shows_enough(Evaluation(pa.table({}), summary), GateThresholds(least_coverage=0.005)).outcome is outcome


def lists(**shown: list[str] | None) -> Evaluation:
    columns = {"user_key": list(shown), "items_at_10": pa.array(list(shown.values()), pa.list_(pa.string()))}
    return Evaluation(pa.table(columns), {})


def test_the_overlap_of_two_lists_is_counted_user_by_user() -> None:
    one = lists(a=["i1", "i2", "i3"], b=["i1"], c=["i9"], d=["i1"], unanswered=["i1"])
    other = lists(d=["i2"], c=[], b=["i1"], a=["i3", "i4"])
    np.testing.assert_allclose(list_overlap(one, other), [0.5, 1.0, np.nan, 0.0, np.nan])
