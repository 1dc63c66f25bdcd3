import numpy as np
import pyarrow as pa
import pytest

from models.evaluation.metrics.beyond_accuracy import Reranked, concentration, coverage
from models.evaluation.metrics.bootstrap import Estimate
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.offline import Evaluation
from models.gate.decision import decide
from models.gate.exposure_checks import ExposureReference, exposure, list_overlap, shows_enough
from models.gate.fairness_checks import UNKNOWN, demographics, dropped_traits, groups_of, results
from models.gate.results import Check, GateResult, Outcome, stored_outcome
from models.gate.thresholds import GateThresholds

USERS = 400


SOUND = {"nan_scores": 0.0, "distinct_lists": 99.0, "score_ms": 0.1, "artifact_mb": 1.0, "overfit_gap": 0.0}
SOUND |= {"coverage_at_10": 0.2, "gini_at_10": 0.9, "long_tail_at_10": 0.3}
OWN = {"coverage_at_10": 0.50, "long_tail_at_10": 0.23, "gini_at_10": 0.792}
LEARNED = {"coverage_at_10": 0.30, "long_tail_at_10": 0.11, "gini_at_10": 0.892, "ndcg_at_10": 0.401}
COSTS = (
    Reranked(0.1, 0.395, 0.32, 0.13, 0.87),
    Reranked(0.5, 0.371, 0.4, 0.2, 0.83),
    Reranked(1.0, 0.3, 0.5, 0.3, 0.7),
)


def measured(values: np.ndarray, first: int = 0, **summary: float) -> Evaluation:
    keys = [f"u{user:04}" for user in range(first, first + len(values))]
    columns = {"user_key": pa.array(keys, pa.string()), METRIC: pa.array(values, pa.float64())}
    columns |= {"baskets": pa.array([9] * len(values)), "fallback_at_10": pa.array([0.0] * len(values))}
    columns["items_at_10"] = pa.array([["i1", f"i{user % 7}"] for user in range(len(values))], pa.list_(pa.string()))
    mean = {METRIC: float(np.mean(values)) if len(values) else np.nan}
    return Evaluation(pa.table(columns), SOUND | mean | summary)


def around(mean: float, seed: int) -> Evaluation:
    return measured(np.random.default_rng(seed).normal(mean, 0.1, USERS))


def failed(gate: GateResult) -> list[str]:
    return [check.name for check in gate.checks if check.refused]


def check(gate: GateResult, name: str) -> Check:
    return next(result for result in gate.checks if result.name == name)


def test_a_better_candidate_passes_with_an_interval_above_zero() -> None:
    gate = decide(around(0.40, 1), {"most_popular": around(0.2, 2)}, around(0.35, 3), seed=0)
    assert gate.passed
    against = check(gate, "better than the champion")
    assert 0 < against.low < against.value < against.high
    assert "better than the champion" in against.detail


def test_without_a_champion_not_being_worse_than_the_baselines_is_enough() -> None:
    own = around(0.4, 1)
    assert decide(own, {"own_frequency": own, "most_popular": around(0.2, 2)}, None, seed=0).passed


def test_a_candidate_significantly_worse_than_a_baseline_is_refused() -> None:
    gate = decide(around(0.2, 1), {"own_frequency": around(0.4, 2)}, None, seed=0)
    assert failed(gate) == ["not worse than own_frequency"]
    against = check(gate, "not worse than own_frequency")
    assert against.high < 0
    assert "significantly worse than own_frequency" in against.detail


def test_a_candidate_equal_to_the_champion_is_not_better() -> None:
    same = around(0.4, 1)
    gate = decide(same, {}, same, seed=0)
    assert failed(gate) == ["better than the champion"]
    against = check(gate, "better than the champion")
    assert against.low == against.high == 0


@pytest.mark.parametrize("damaged", [np.full(USERS, np.nan), np.append(np.full(USERS - 1, 0.9), np.nan), np.array([])])
def test_figures_that_are_missing_refuse_the_candidate(damaged: np.ndarray) -> None:
    gate = decide(measured(damaged), {"most_popular": around(0.1, 1)}, None, seed=0)
    assert failed(gate) == ["has figures"]
    assert len(gate.checks) == 3


def test_a_decision_does_not_rest_on_a_handful_of_people() -> None:
    few = measured(np.linspace(0.8, 0.9, 29))
    gate = decide(few, {"most_popular": measured(np.zeros(29))}, None, seed=0)
    assert failed(gate) == ["has figures"]
    assert "It takes 30 to decide" in gate.checks[0].detail
    assert decide(few, {"most_popular": measured(np.zeros(29))}, None, seed=0, limits=GateThresholds(users=2)).passed


def test_figures_on_other_users_cannot_be_compared() -> None:
    other = measured(np.full(USERS, 0.1), first=1)
    gate = decide(around(0.4, 1), {"most_popular": other}, other, seed=0)
    others = ["not worse than most_popular", "not worse than the champion"]
    assert failed(gate) == [*others, "better than the champion"]
    assert "same held-out weeks" in check(gate, "better than the champion").detail


def test_a_reference_without_a_figure_for_a_user_cannot_be_compared() -> None:
    gap = measured(np.append(np.full(USERS - 1, 0.1), np.nan))
    assert failed(decide(around(0.4, 1), {"most_popular": gap}, None, seed=0)) == ["not worse than most_popular"]


def test_users_are_paired_by_key_not_by_row() -> None:
    values = np.linspace(0, 1, USERS)
    turned = Evaluation(measured(values).per_user.take(list(range(USERS))[::-1]), SOUND)
    gate = decide(measured(values + 0.001), {}, turned, seed=0)
    assert gate.passed
    assert check(gate, "better than the champion").value == pytest.approx(0.001)


def test_a_candidate_as_good_as_the_champion_is_rarely_called_better() -> None:
    passed = [decide(around(0.4, 2 * i), {}, around(0.4, 2 * i + 1), seed=i).passed for i in range(200)]
    assert np.mean(passed) <= 0.06


def with_new(values: np.ndarray, new: np.ndarray) -> Evaluation:
    made = measured(values, new_users=float(np.isfinite(new).sum()))
    return Evaluation(made.per_user.append_column(f"new_{METRIC}", pa.array(new, from_pandas=True)), made.summary)


def test_a_gain_by_repeats_alone_does_not_excuse_a_loss_on_new_items() -> None:
    random, some = np.random.default_rng(0), np.arange(USERS) % 2 == 0
    champion = with_new(random.normal(0.3, 0.1, USERS), np.where(some, random.normal(0.10, 0.02, USERS), np.nan))
    worse = with_new(random.normal(0.4, 0.1, USERS), np.where(some, random.normal(0.08, 0.02, USERS), np.nan))
    gate = decide(worse, {}, champion, seed=0)
    assert failed(gate) == ["not worse than the champion on new items"]
    assert decide(champion, {"most_popular": worse}, None, seed=0).passed is False
    assert "not worse than most_popular on new items" not in failed(decide(champion, {"most_popular": worse}, None, 0))


def on_kinds(seed: int, **gains: float) -> Evaluation:
    random = np.random.default_rng(seed)
    made = measured(random.normal(0.3 + gains.get("all", 0.0), 0.1, USERS))
    table = made.per_user
    for prefix in ("new_", "repeat_"):
        values = random.normal(0.2 + gains.get(prefix, 0.0), 0.1, USERS)
        table = table.append_column(prefix + METRIC, pa.array(values))
    return Evaluation(table, made.summary)


@pytest.mark.parametrize(("kind", "items"), [("new_", "on new items"), ("repeat_", "on repeat purchases")])
def test_a_gain_on_one_kind_of_items_is_enough_and_a_loss_on_one_is_too_much(kind: str, items: str) -> None:
    better = decide(on_kinds(1, **{kind: 0.05}), {}, on_kinds(2), seed=0)
    assert better.passed
    assert f"better than the champion {items}" in check(better, "better than the champion").detail
    worse = decide(on_kinds(1, **{"all": 0.05, kind: -0.05}), {}, on_kinds(2), seed=0)
    assert failed(worse) == [f"not worse than the champion {items}"]


def test_every_trained_model_is_an_opponent_on_every_kind_of_items() -> None:
    gate = decide(on_kinds(1), {"als": on_kinds(2, new_=0.05), "most_popular": on_kinds(3)}, None, seed=0)
    assert failed(gate) == ["not worse than als on new items"]


def test_several_kinds_of_items_promote_an_equal_model_no_more_often_than_one() -> None:
    passed = [decide(on_kinds(2 * i), {}, on_kinds(2 * i + 1), seed=i).passed for i in range(200)]
    assert np.mean(passed) <= 0.05


TRAITS = {"age": np.array(["young", "old"] * (USERS // 2)), "income": np.array(["high"] * 30 + ["low"] * (USERS - 30))}


def grouped(harm: float, whom: np.ndarray) -> GateResult:
    champion = np.random.default_rng(1).normal(0.4, 0.02, USERS)
    candidate = champion + 0.05 - harm * whom + np.random.default_rng(2).normal(0, 0.01, USERS)
    return decide(measured(candidate), {}, measured(champion), seed=0, traits=TRAITS)


def test_a_better_model_that_serves_one_group_worse_is_refused_and_the_group_is_named() -> None:
    gate = grouped(0.09, TRAITS["age"] == "old")
    assert failed(gate) == ["no group worse by age"]
    detail = check(gate, "no group worse by age").detail
    assert "old (200 people) fares worst" in detail
    assert "significantly worse than with the champion" in detail
    result = {(result.trait, result.value): result for result in gate.groups}
    assert not result["age", "old"].passed
    assert result["age", "young"].passed
    assert result["age", "old"].candidate - result["age", "old"].reference == pytest.approx(
        result["age", "old"].difference
    )


def test_a_group_may_lose_as_much_as_the_margin() -> None:
    assert grouped(0.06, TRAITS["age"] == "old").passed  # a loss of 0.01 of 0.40, and a margin of 0.02


def test_a_small_group_is_shown_and_not_judged() -> None:
    gate = grouped(0.3, TRAITS["income"] == "high")
    assert gate.passed
    (small,) = [result for result in gate.groups if result.value == "high"]
    assert (small.users, small.judged) == (30, False)
    assert small.high < 0
    assert "1 groups of fewer than 50 people are shown" in check(gate, "no group worse by income").detail


def test_before_the_first_champion_groups_are_held_against_the_best_baseline() -> None:
    best = measured(np.random.default_rng(1).normal(0.4, 0.02, USERS))
    harm = np.where(TRAITS["age"] == "old", 0.09, 0)
    candidate = measured(np.asarray(best.per_user[METRIC]) + 0.05 - harm)
    gate = decide(candidate, {"most_popular": around(0.1, 5), "own_frequency": best}, None, seed=0, traits=TRAITS)
    assert failed(gate) == ["no group worse by age"]
    assert "with own_frequency" in check(gate, "no group worse by age").detail


@pytest.mark.parametrize(
    ("summary", "refused"),
    [
        ({"coverage_at_10": 0.09}, "covers the catalogue"),
        ({"long_tail_at_10": 0.14}, "shows the long tail"),
        ({"gini_at_10": 0.96}, "shows items evenly"),
        ({"overfit_gap": 0.11}, "is not over-fit"),
        ({"score_ms": 51.0}, "is fast enough"),
        ({"score_ms": 60.0, "score_ms_low": 50.1, "score_ms_high": 80.0}, "is fast enough"),
        ({"artifact_mb": 2001.0}, "is small enough"),
    ],
)
def test_a_better_model_beyond_a_limit_is_refused_by_that_limit_alone(summary: dict[str, float], refused: str) -> None:
    better = measured(np.random.default_rng(1).normal(0.4, 0.1, USERS), **summary)
    gate = decide(better, {}, around(0.35, 3), seed=0)
    assert failed(gate) == [refused]


def test_a_model_is_fast_enough_when_its_interval_reaches_the_limit() -> None:
    unsure = {"score_ms": 60.0, "score_ms_low": 49.9, "score_ms_high": 80.0}
    gate = decide(measured(np.random.default_rng(1).normal(0.4, 0.1, USERS), **unsure), {}, around(0.35, 3), seed=0)
    assert gate.passed
    assert "60.00 ms of one thread for a user's list, interval 49.90 to 80.00 ms." in [c.detail for c in gate.checks]


def test_limits_can_be_set() -> None:
    slow = measured(np.random.default_rng(1).normal(0.4, 0.1, USERS), score_ms=51.0)
    assert decide(slow, {}, around(0.35, 3), seed=0, limits=GateThresholds(score_ms=100)).passed
    with pytest.raises(ValueError, match="overlap is a share"):
        GateThresholds(overlap=1.5)
    with pytest.raises(ValueError, match="score_ms has to be above 0"):
        GateThresholds(score_ms=0)


def test_lists_that_have_nothing_in_common_with_the_champions_are_refused() -> None:
    better = around(0.4, 1)
    other = pa.array([["x", "y"]] * USERS, pa.list_(pa.string()))
    strange = Evaluation(better.per_user.set_column(4, "items_at_10", other), better.summary)
    assert failed(decide(strange, {}, around(0.35, 3), seed=0)) == ["keeps some of the champion's lists"]


def test_a_champion_that_was_measured_before_lists_were_kept_is_compared_all_the_same() -> None:
    old = around(0.35, 3)
    known = Evaluation(old.per_user.select(["user_key", METRIC]), {METRIC: 0.35, "distinct_lists": 99.0})
    assert decide(around(0.4, 1), {}, known, seed=0).passed


def test_people_with_little_history_need_lists_of_their_own() -> None:
    better = around(0.4, 1)
    cold = pa.array([3] * 40 + [9] * (USERS - 40))
    table = better.per_user.set_column(2, "baskets", cold)
    unscored = Evaluation(table.set_column(3, "fallback_at_10", pa.array([1.0] * 40 + [0.0] * (USERS - 40))), SOUND)
    assert failed(decide(unscored, {}, around(0.35, 3), seed=0)) == ["answers cold users personally"]
    personal = Evaluation(table, SOUND)
    popular = Evaluation(around(0.1, 4).per_user.set_column(4, "items_at_10", table["items_at_10"]), SOUND)
    assert decide(personal, {}, around(0.35, 3), seed=0).passed
    assert failed(decide(personal, {"most_popular": popular}, around(0.35, 3), 0)) == ["answers cold users personally"]


UNEVEN = {"gini_at_10": 0.896, "long_tail_at_10": 0.11}
EVEN = {"gini_at_10": 0.792, "long_tail_at_10": 0.23}


def test_a_better_first_champion_that_shows_items_less_evenly_than_own_frequency_passes_with_warnings() -> None:
    better = measured(np.asarray(around(0.4, 1).per_user[METRIC]), **UNEVEN)
    own = measured(np.asarray(around(0.32, 2).per_user[METRIC]), **EVEN)
    gate = decide(better, {"own_frequency": own}, None, seed=0)
    assert gate.passed
    warned = [result.name for result in gate.checks if result.outcome is Outcome.WARNING]
    assert warned == ["shows the long tail", "shows items evenly"]


def test_a_renewal_is_held_against_the_champions_exposure_and_not_against_own_frequencys() -> None:
    renewal = measured(np.asarray(around(0.4, 1).per_user[METRIC]), **UNEVEN)
    own = measured(np.asarray(around(0.32, 2).per_user[METRIC]), **EVEN)
    assert decide(renewal, {"own_frequency": own}, None, seed=0, promoted=SOUND | UNEVEN | {"gini_at_10": 0.894}).passed
    gate = decide(renewal, {"own_frequency": own}, None, seed=0, promoted=SOUND | EVEN)
    assert failed(gate) == ["shows the long tail", "shows items evenly"]


def test_a_check_that_does_not_apply_states_its_reason_and_refuses_nothing() -> None:
    better, old = around(0.4, 1), around(0.35, 3)
    better.summary.pop("overfit_gap")
    champion = Evaluation(old.per_user.select(["user_key", METRIC]), old.summary)
    gate = decide(better, {}, champion, seed=0)
    reasons = {result.name: result.detail for result in gate.checks if result.outcome is Outcome.NOT_APPLICABLE}
    assert gate.passed
    assert set(reasons) == {
        "not worse than a baseline",
        "not worse on new items",
        "not worse on repeat purchases",
        "no group worse",
        "answers cold users personally",
        "keeps some of the champion's lists",
        "is not over-fit",
    }
    assert all(reasons.values())
    assert reasons["answers cold users personally"] == "Only 0 people have little history."


def test_a_trait_that_makes_no_groups_is_not_asked_about_with_the_reason() -> None:
    users = pa.table({"user_key": ["a", "b"], "club": ["x", "x"], "name": ["Ann", "Ben"], "age": ["young", "old"]})
    dropped = dropped_traits(users)
    assert set(dropped) == {"club"}
    same = {"team": np.array(["A"] * USERS)}
    gate = decide(around(0.4, 1), {}, around(0.35, 3), seed=0, traits=same, dropped=dropped)
    assert check(gate, "no group worse by club").detail == "club is left out: it has one value for all users."
    assert {check(gate, f"no group worse by {trait}").outcome for trait in ("club", "team")} == {Outcome.NOT_APPLICABLE}


@pytest.mark.parametrize(
    ("stored", "result"),
    [
        ({"outcome": "not asked"}, Outcome.NOT_APPLICABLE),
        ({"outcome": "warning"}, Outcome.WARNING),
        ({"passed": True}, Outcome.PASSED),
        ({"passed": False}, Outcome.REFUSED),
    ],
)
def test_stored_checks_are_read_also_from_before_there_were_warnings(
    stored: dict[str, object], result: Outcome
) -> None:
    assert stored_outcome(stored) is result


def test_people_are_grouped_by_the_traits_that_differ() -> None:
    users = pa.table(
        {
            "user_key": ["a", "b", "c", "d"],
            "age": ["young", "old", None, "young"],
            "income": [10.0, 20.0, 30.0, 40.0],
            "country": ["DE"] * 4,
        }
    )
    values = demographics(users, pa.array(["d", "c", "stranger"]))
    assert set(values) == {"age", "income"}
    assert values["age"].tolist() == ["young", UNKNOWN, UNKNOWN]
    assert values["income"][0].endswith("to 40")
    assert values["income"][2] == UNKNOWN


def test_groups_are_all_values_of_every_trait_and_none_of_a_trait_that_all_share() -> None:
    result = groups_of({"age": np.array(["old", "young", "old"]), "city": np.array(["X", "X", "X"])})
    assert [(group.trait, group.value, group.members.tolist()) for group in result] == [
        ("age", "old", [True, False, True]),
        ("age", "young", [False, True, False]),
    ]


@pytest.mark.parametrize(("high", "passed"), [(-0.021, False), (-0.019, True), (0.1, True)])
def test_a_group_is_refused_when_all_of_its_interval_lies_beyond_the_margin(high: float, passed: bool) -> None:
    traits = {"age": np.array(["old"] * 60 + ["young"] * 60)}
    candidate, reference = np.full(120, 0.3), np.full(120, 0.4)
    result = [Estimate(-0.1, -0.2, high), Estimate(0.0, -0.1, 0.1)]
    old, young = results(traits, candidate, reference, result, GateThresholds(group_margin=0.05))
    assert (old.users, old.reference, old.candidate, old.judged) == (60, pytest.approx(0.4), pytest.approx(0.3), True)
    assert (old.passed, young.passed) == (passed, True)


def exposure_of(figures: dict[str, float], standard: ExposureReference | None, *costs: Reranked) -> dict[str, Check]:
    return {
        check.name: check
        for check in exposure(Evaluation(pa.table({}), figures, None, costs), standard, GateThresholds())
    }


def promotion(figures: dict[str, float]) -> ExposureReference:
    return ExposureReference("at the champion's promotion", figures, refuses=True)


def outcomes(checks: dict[str, Check]) -> list[str]:
    return [str(check.outcome) for check in checks.values()]


def pairs(users: int, items: int) -> dict[str, float]:
    """Return the parts of a summary that determine the size of the catalogue."""
    matrix = dict.fromkeys(("shown_bought", "shown_unbought", "unshown_bought"), 0.0)
    return matrix | {"users": float(users), "unshown_unbought": float(users * items)}


def test_exposure_beyond_the_champions_at_its_promotion_is_refused() -> None:
    checks = exposure_of(LEARNED, promotion(OWN))
    assert outcomes(checks) == ["passed", "refused", "refused"]
    assert "at the champion's promotion 0.792" in checks["shows items evenly"].detail


def test_a_refusal_shows_the_accuracy_that_the_smallest_sufficient_penalty_leaves() -> None:
    checks = exposure_of(LEARNED, promotion(OWN), *COSTS)
    assert "leaves NDCG@10 0.3710 instead of 0.4010 (-7.5%)" in checks["shows items evenly"].detail
    assert "leaves NDCG@10 0.3950 instead of 0.4010 (-1.5%)" in checks["shows the long tail"].detail
    beyond = exposure_of(LEARNED, promotion(OWN | {"gini_at_10": 0.5}), *COSTS)
    assert "No re-ranking of its 50 best candidates" in beyond["shows items evenly"].detail


def test_a_figure_that_the_champions_promotion_does_not_have_is_not_asked() -> None:
    checks = exposure_of(LEARNED, promotion({"coverage_at_10": 0.3}))
    assert outcomes(checks) == ["passed", "not asked", "not asked"]
    assert outcomes(exposure_of(LEARNED, None)) == ["not asked"] * 3


def test_fewer_people_in_the_test_weeks_are_no_reason_to_refuse() -> None:
    promoted = {"coverage_at_10": 0.5, "long_tail_at_10": 0.2, "gini_at_10": 0.6} | pairs(500, 10_000)
    quiet = {"coverage_at_10": 0.13, "long_tail_at_10": 0.2, "gini_at_10": 0.88} | pairs(125, 10_000)
    assert outcomes(exposure_of(quiet, promotion(promoted))) == ["passed"] * 3
    busy = quiet | pairs(500, 10_000)
    checks = exposure_of(busy, promotion(promoted))
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
