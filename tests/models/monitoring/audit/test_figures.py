import math

import numpy as np
import pytest
from scipy import sparse

from models.gate.thresholds import GateThresholds
from models.monitoring.audit.figures import (
    OTHERS,
    UNKNOWN,
    AuditData,
    AuditItems,
    exposure_shares,
    figures_by_group,
    miscalibration,
    popularity_tenths,
    providers,
    spread,
)
from models.monitoring.audit.report import compare_groups, run_audit, sentence, status
from models.monitoring.realised_accuracy import UserOutcomes

BUYERS = [100.0, 50.0, 10.0, 10.0, 0.0]
LIMITS = GateThresholds()


def goods(buyers: list[float] = BUYERS, category: list[str] | None = None) -> AuditItems:
    words = np.array(category or ["A"] * len(buyers))
    return AuditItems(np.array(buyers), np.array(buyers) * 2, words, words)


def material(
    shown: list[list[float]], bought: list[list[float]], age: list[str], about: AuditItems | None = None
) -> AuditData:
    pairs = sparse.csr_array(np.array(bought) > 0)
    return AuditData({"age": np.array(age)}, sparse.csr_array(np.array(shown)), pairs, about or goods(), None)


def test_a_place_counts_for_as_long_as_it_was_shown() -> None:
    result = exposure_shares(
        np.array([0, 0, 1]), np.array([[0, 1], [1, 2], [2, -1]]), np.array([30.0, 10.0, 5.0]), (2, 4)
    ).toarray()
    assert result.tolist() == [[30 / 80, 40 / 80, 10 / 80, 0], [0, 0, 1, 0]]


def test_the_percentile_is_the_share_of_items_that_are_bought_less() -> None:
    assert goods().percentile.tolist() == [0.9, 0.7, 0.4, 0.4, 0.1]


def test_tenths_are_equal_parts_of_the_items_from_the_most_bought_on() -> None:
    twenty = goods([float(n) for n in range(20)])
    assert twenty.tenth.tolist() == [9 - n // 2 for n in range(20)]
    shown = [[0.0] * 18 + [0.5, 0.5], [1.0] + [0.0] * 19]
    rows = popularity_tenths(material(shown, shown, ["old", "young"], twenty))
    assert [row["shown"] for row in rows] == [0.5, *[0.0] * 8, 0.5]
    assert [row["items"] for row in rows] == [2] * 10
    assert rows[0]["bought"] == pytest.approx((18 + 19) / 190)


def test_lift_is_how_much_more_popular_what_is_shown_is_than_what_the_group_buys() -> None:
    result = figures_by_group(
        material(
            [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0.5, 0.5, 0], [1, 0, 0, 0, 0]],
            [[0, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 0]],
            ["old", "old", "young", "young"],
        ),
        7,
    )
    lift = {(group.trait, group.value): group.figures["lift"] for group in result}
    old = lift["age", "old"]
    assert old is not None
    assert old.value == pytest.approx(((100 + 50) - (50 + 30)) / (50 + 30))
    assert lift["age", "young"] == (0, 0, 0)  # who has bought nothing has nothing to be beside
    assert lift["", "everybody"] is not None


def test_a_group_of_whom_nobody_has_a_figure_has_none() -> None:
    result = figures_by_group(material([[1, 0, 0, 0, 0]] * 2, [[0] * 5, [1, 0, 0, 0, 0]], ["old", "young"]), 7)
    assert [group.figures["lift"] for group in result] == [(0, 0, 0), None, (0, 0, 0)]
    assert [(group.users, group.acted) for group in result] == [(2, 0), (1, 0), (1, 0)]
    assert "ndcg" not in result[0].figures


def test_accuracy_of_groups_is_the_ratio_of_their_sums_with_an_interval_around_it() -> None:
    random = np.random.default_rng(7)
    n = 400
    targets = random.integers(0, 5, n).astype(float)
    hits = np.floor(targets * random.random(n))
    zero = np.zeros(n)
    came = UserOutcomes(targets, (targets > 0) * 1.0, hits, (hits > 0) * 1.0, hits / 5, zero, zero, zero)
    age = random.choice(["old", "young"], n)
    pairs = sparse.csr_array(np.eye(n, 5))
    window = AuditData({"age": age}, sparse.csr_array(np.tile([1.0, 0, 0, 0, 0], (n, 1))), pairs, goods(), came)
    for group in figures_by_group(window, 7)[1:]:
        own, result = age == group.value, group.figures["recall"]
        assert result is not None
        assert result.value == pytest.approx(hits[own].sum() / targets[own].sum())
        assert result.low < result.value < result.high < result.low + 0.15
        assert group.figures["control_recall"] == (0, 0, 0)
        assert group.acted == (targets[own] > 0).sum()


def test_coverage_and_evenness_are_of_all_items() -> None:
    result = spread(material([[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]], [[1, 0, 0, 0, 0]] * 2, ["old", "young"]), 7)
    assert result["coverage"].value == pytest.approx(2 / 5)
    assert result["gini"].value == pytest.approx(0.6)
    assert result["coverage"].low <= 2 / 5 <= result["coverage"].high


def test_providers_are_listed_by_their_share_of_places_and_of_purchases() -> None:
    window = material(
        [[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]],
        [[1, 0, 0, 0, 0]] * 2,
        ["old", "young"],
        goods(BUYERS, ["A", "A", "B", "", "B"]),
    )
    rows = providers(window, window.items.category)
    assert rows == [
        {"name": "A", "shown": 0.5, "bought": pytest.approx(150 / 170)},
        {"name": "B", "shown": 0.5, "bought": pytest.approx(10 / 170)},
        {"name": UNKNOWN, "shown": 0.0, "bought": pytest.approx(10 / 170)},
    ]


def test_beyond_fifteen_the_others_are_listed_together() -> None:
    many = goods([1.0] * 40, [f"brand {n}" for n in range(40)])
    rows = providers(material([[1 / 40] * 40], [[1.0] * 40], ["old"], many), many.brand)
    assert len(rows) == 16
    assert rows[-1]["name"] == OTHERS
    assert sum(row["shown"] for row in rows) == pytest.approx(1)


CATEGORY = np.array(["A", "A", "B", "B", ""])


def divergence(bought: list[float], shown: list[float]) -> float:
    pairs = [sparse.csr_array(np.array([row])) for row in (bought, shown)]
    return float(miscalibration(pairs[0], pairs[1], CATEGORY)[0])


def test_a_list_with_the_categories_of_the_history_is_calibrated() -> None:
    assert divergence([1, 1, 1, 1, 0], [0.5, 0, 0, 0.5, 0]) == pytest.approx(0)
    assert divergence([1, 0, 0, 0, 1], [0.2, 0.2, 0, 0, 0.6]) == pytest.approx(0)


def test_it_is_stecks_divergence_with_a_hundredth_of_the_history_in_the_list() -> None:
    p, q = (3 / 4, 1 / 4), (1 / 3, 2 / 3)
    by_hand = sum(a * math.log(a / (0.99 * b + 0.01 * a)) for a, b in zip(p, q, strict=True))
    assert divergence([2, 1, 1, 0, 0], [1 / 3, 0, 1 / 3, 1 / 3, 0]) == pytest.approx(by_hand)


@pytest.mark.parametrize(("bought", "shown"), [([0] * 5, [1, 0, 0, 0, 0]), ([1, 0, 0, 0, 0], [0, 0, 0, 0, 1])])
def test_without_a_history_or_a_category_there_is_no_figure(bought: list[float], shown: list[float]) -> None:
    assert math.isnan(divergence(bought, shown))


def audit_data(ndcg: np.ndarray, traits: dict[str, np.ndarray], acted: np.ndarray | None = None) -> AuditData:
    n = len(ndcg)
    bought, zero = np.ones(n) if acted is None else acted, np.zeros(n)
    came = UserOutcomes(bought, bought, ndcg * bought, bought, ndcg * bought, zero, zero, zero)
    goods = AuditItems(np.array([2.0, 1.0]), np.array([2.0, 1.0]), np.array(["A", "B"]), np.array(["", ""]))
    pairs = sparse.csr_array(np.tile([0.5, 0.5], (n, 1)))
    return AuditData(traits, pairs, pairs > 0, goods, came)


def accurate(random: np.random.Generator, n: int) -> np.ndarray:
    """Return values with many zeros, as NDCG has."""
    return np.where(random.random(n) < 0.5, 0.0, random.random(n))


def noise(random: np.random.Generator, n: int = 600, traits: int = 8, values: int = 5) -> dict[str, np.ndarray]:
    return {f"trait {t}": random.choice([f"v{v}" for v in range(values)], n) for t in range(traits)}


def test_a_group_that_is_served_worse_is_named_with_its_figures() -> None:
    random = np.random.default_rng(3)
    traits = noise(random)
    ndcg = accurate(random, 600)
    bad = traits["trait 4"] == "v2"
    ndcg[bad] *= 0.2
    result = compare_groups(audit_data(ndcg, traits), LIMITS, 7)
    failed = [group for group in result if not group.passed]
    assert [(group.trait, group.value) for group in failed] == [("trait 4", "v2")]
    (group,) = failed
    assert group.people == bad.sum()
    assert group.difference == pytest.approx(ndcg[bad].mean() - ndcg[~bad].mean())
    assert group.low < group.difference < group.high < group.margin < 0
    assert status(result) == "beyond margin"
    assert "trait 4 v2" in sentence(result, LIMITS)
    assert f"{group.difference:+.4f}" in sentence(result, LIMITS)


def test_people_of_whom_nothing_is_known_are_shown_and_not_judged() -> None:
    ndcg = np.append(np.full(300, 0.1), np.full(300, 0.6))
    traits = {"age": np.repeat(["unknown", "old", "young"], [300, 150, 150])}
    result = {group.value: group for group in compare_groups(audit_data(ndcg, traits), LIMITS, 7)}
    assert not result["unknown"].judged
    assert result["unknown"].difference == pytest.approx(-0.5)
    assert status(list(result.values())) == "within margin"


def test_noise_in_forty_groups_is_rarely_taken_for_a_group_that_is_served_worse() -> None:
    alarms = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        result = compare_groups(
            audit_data(accurate(random, 600), noise(random)), GateThresholds(group_margin=0.0), seed
        )
        alarms += status(result) == "beyond margin"
    assert alarms <= 4  # 2.5 % of the audits are expected even without any margin


def test_a_difference_within_the_margin_is_allowed_however_certain_it_is() -> None:
    traits = {"age": np.array(["old"] * 500 + ["young"] * 500)}
    ndcg = np.r_[np.full(500, 0.49), np.full(500, 0.50)] + np.tile([-0.001, 0.001], 500)
    result = compare_groups(audit_data(ndcg, traits), LIMITS, 7)
    assert result[0].high < 0
    assert status(result) == "within margin"
    assert status(compare_groups(audit_data(ndcg, traits), GateThresholds(group_margin=0.01), 7)) == "beyond margin"


def test_small_groups_are_shown_and_not_judged() -> None:
    random = np.random.default_rng(5)
    age = np.array(["old"] * 49 + ["young"] * 551)
    ndcg = accurate(random, 600)
    ndcg[:49] = 0
    result = compare_groups(audit_data(ndcg, {"age": age}), LIMITS, 7)
    assert [(group.judged, group.passed) for group in result] == [(False, True)] * 2
    assert status(result) == "not judged"
    assert "50 people" in sentence(result, LIMITS)


def test_only_who_bought_something_counts() -> None:
    age = np.array(["old", "young"] * 100)
    acted = np.r_[np.ones(120), np.zeros(80)]
    result = compare_groups(audit_data(np.ones(200), {"age": age}, acted), LIMITS, 7)
    assert [(group.people, group.mean, group.others) for group in result] == [(60, 1.0, 1.0)] * 2
    assert [group.passed for group in result] == [True, True]


def test_without_outcomes_nobody_is_judged_and_the_rest_is_there() -> None:
    made = audit_data(np.ones(4), {"age": np.array(["old", "young"] * 2)})
    empty = AuditData(made.traits, made.shown, made.bought, made.items, None)
    result = run_audit(empty, LIMITS, 7)
    assert (result.status, result.comparisons, result.acted, result.users) == ("not judged", [], 0, 4)
    assert set(result.summary) == {"percentile", "lift", "miscalibration", "coverage", "gini"}
    assert [row["value"] for row in result.as_dict()["groups"]] == ["everybody", "old", "young"]
