"""A reviewed version beside the champion and the best sellers, with figures that tests can read."""

from collections.abc import Mapping

import pyarrow as pa

from models.evaluation.offline import Evaluation
from models.gate.model_card import ReviewSummary
from models.gate.results import Check, GateResult, GroupResult, Outcome

CHECKS = (
    Check("has figures", 900.0, 900.0, Outcome.PASSED, "ndcg_at_10 is a number for 900 of 900 users."),
    Check("better than the champion", 0.018, 0.0, Outcome.PASSED, "+0.0180 a user: better.", 0.0144, 0.0215),
)
GROUPS = (
    GroupResult("age", "65+", 1200, 0.40, 0.41, 0.01, -0.01, 0.03, True, True),
    GroupResult("age", "19-24", 80, 0.40, 0.39, -0.01, -0.03, 0.01, True, True),
    GroupResult("income", "unknown", 9, 0.40, 0.10, -0.30, -0.50, -0.1, False, True),
)


def measured(mean: float, low: float, high: float, more: Mapping[str, float] | None = None) -> Evaluation:
    """Return an evaluation in which every user has the mean."""
    table = pa.table({"user_key": ["u1", "u2", "u3"], "baskets": [7, 8, 9], "ndcg_at_10": [mean] * 3})
    return Evaluation(table, {"ndcg_at_10": mean, "ndcg_at_10_low": low, "ndcg_at_10_high": high, **(more or {})})


EVALUATIONS = {
    "r1": measured(
        *(0.4393, 0.4255, 0.4526),
        {"new_ndcg_at_10": 0.05, "diversity_at_10": 0.7, "cold_users": 120.0, "cold_ndcg_at_10": 0.1}
        | {"score_ms": 1.3, "score_ms_low": 1.25, "score_ms_high": 1.5},
    ),
    "r2": measured(0.4213, 0.4075, 0.435),
    "r3": measured(0.1796, 0.1702, 0.1891),
}
KINDS = {"r1": "two_stage", "r2": "als", "r3": "most_popular"}
VERSION = ReviewSummary(3, "r1", "r2", KINDS, EVALUATIONS, "v5-2018", GateResult(True, CHECKS, GROUPS))
ALONE = ReviewSummary(3, "r1", None, KINDS, {"r1": EVALUATIONS["r1"]}, "v5-2018", GateResult(True, CHECKS))
