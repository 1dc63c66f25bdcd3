"""Chooses the best of the compared runs and puts it through the gate."""

from collections.abc import Mapping

from models.columns import USER_KEY
from models.evaluation.comparison.leaderboard import BASELINES
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.offline import Evaluation
from models.gate import decision
from models.gate.fairness_checks import Traits, demographics, dropped_traits
from models.gate.results import Check, GateResult, Outcome, gate_result
from models.gate.thresholds import GateThresholds
from tasks.datasets.load_dataset import open_dataset


def choose_candidate(
    champion_run: str | None,
    renewing: bool,
    evaluations: dict[str, Evaluation],
    kinds: dict[str, str],
    version: str,
    limits: GateThresholds,
    promoted: Mapping[str, float] | None,
) -> tuple[str, GateResult]:
    """Return the best run and its verdict; on newer data an unbeaten champion is reviewed for renewal."""
    best = best_of(evaluations)
    users = open_dataset(version).users
    traits, dropped = demographics(users, evaluations[best].per_user[USER_KEY]), dropped_traits(users)
    gate = judge_candidate(best, champion_run, evaluations, kinds, traits, limits, promoted, dropped)
    if champion_run and renewing and not gate.passed:
        return champion_run, judge_candidate(
            champion_run, champion_run, evaluations, kinds, traits, limits, promoted, dropped
        )
    return best, gate


def best_of(evaluations: dict[str, Evaluation]) -> str:
    """Return the run with the highest mean NDCG@10 among the personalized models, or among all if there are none."""
    personal = {r: e for r, e in evaluations.items() if e.summary["distinct_lists"] > 1} or evaluations
    return max(sorted(personal), key=lambda run_id: personal[run_id].summary[METRIC])


def judge_candidate(
    best: str,
    champion_run: str | None,
    evaluations: dict[str, Evaluation],
    kinds: dict[str, str],
    traits: Traits | None = None,
    limits: GateThresholds = GateThresholds(),  # noqa: B008 -- a frozen value
    promoted: Mapping[str, float] | None = None,
    dropped: Mapping[str, str] | None = None,
) -> GateResult:
    """Return the gate's verdict on the best candidate.

    A candidate with the champion's own settings is not compared with itself. Exposure is compared with `promoted`, the
    champion's figures at its promotion. `dropped` are the traits that form no groups, with the reasons.
    """
    baselines = {kinds[r]: e for r, e in evaluations.items() if kinds[r] in BASELINES}
    opponent = evaluations[champion_run] if champion_run and champion_run != best else None
    known = (promoted or {}) if champion_run else None
    gate = decision.decide(evaluations[best], baselines, opponent, 7, traits, limits, promoted=known, dropped=dropped)
    if champion_run == best:
        detail = "The champion's own recipe, learned again from newer data."
        gate = gate_result((*gate.checks, Check("renews the champion", 0.0, 0.0, Outcome.PASSED, detail)), gate.groups)
    return gate
