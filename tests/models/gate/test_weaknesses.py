from models.gate.results import GateResult, GroupResult
from models.gate.weaknesses import weaknesses

FIGURES = {"ndcg_at_10": 0.4, "users": 900.0, "coverage_at_10": 0.08, "long_tail_at_10": 0.07, "new_ndcg_at_10": 0.05}
GATE = GateResult(True, ())


def group(value: str, users: int, judged: bool) -> GroupResult:
    return GroupResult("age", value, users, 0.4, 0.4, 0.0, -0.1, 0.1, judged, True)


def sentences(gate: GateResult = GATE, **more: float) -> str:
    return "\n".join(weaknesses(FIGURES | more, gate))


def test_people_with_little_history_are_named_with_their_own_figure() -> None:
    text = sentences(cold_users=120.0, cold_ndcg_at_10=0.1138)
    assert "For the 120 people with fewer than 5 baskets NDCG@10 is 0.1138, for all users 0.4000." in text
    assert "prove little" not in text
    assert "prove little" in sentences(cold_users=12.0, cold_ndcg_at_10=0.1138)


def test_groups_without_users_are_not_passed_over() -> None:
    text = sentences()
    assert "to measure it on" in text
    assert "Newcomers were not measured" in text
    assert "How single groups are served is not known." in text


def test_newcomers_and_rare_items_are_named() -> None:
    text = sentences(newcomer_users=30.0, newcomer_ndcg_at_10=0.21)
    assert "For the 30 newcomers, who have no earlier purchase, NDCG@10 is 0.2100." in text
    assert "NDCG@10 is 0.0500. Most of its hits are items bought before." in text
    assert "92% of the catalogue is never shown; 7% of the places" in text
    assert "is not known" in sentences(new_ndcg_at_10=float("nan"))


def test_broken_scores_and_filled_places_are_named_when_there_are_any() -> None:
    assert "are NaN" not in sentences(nan_scores=0.0, fallback_share=0.0)
    assert "filled with" not in sentences(nan_scores=0.0, fallback_share=0.0)
    assert "Broken: 1,204 of its scores are NaN." in sentences(nan_scores=1204.0)
    assert "2.5% of the places are filled with best sellers." in sentences(fallback_share=0.025)


def test_groups_that_are_too_small_are_named_and_soon_only_counted() -> None:
    small = tuple(group(f"{n}0s", n, False) for n in range(2, 8))
    text = sentences(GateResult(True, (), (group("all", 400, True), *small)))
    assert "6 groups are too small to be judged: age 20s (2), age 30s (3), age 40s (4), age 50s (5) and 2 more." in text


def test_a_limit_of_all_figures_is_always_stated() -> None:
    assert weaknesses(FIGURES, GATE)[-1].startswith("Intervals cover the choice of users, not the choice of weeks.")


def test_figures_of_nobody_are_no_reason_to_fail() -> None:
    assert weaknesses({"users": 0.0, "ndcg_at_10": float("nan"), "new_ndcg_at_10": 0.0}, GATE)
