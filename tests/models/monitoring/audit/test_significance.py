import numpy as np
import pytest
from scipy import sparse

from models.gate.thresholds import GateThresholds
from models.monitoring.audit.report import run_audit
from models.monitoring.audit.served_data import AuditData, AuditItems
from models.monitoring.audit.significance import compare_groups, sentence, status
from models.monitoring.realised_accuracy import UserOutcomes

LIMITS = GateThresholds()


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
