"""Compares candidates on the same held-out weeks and asks for a decision: nothing is promoted here."""

from dataclasses import asdict
from typing import Any

from prefect import task
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from infra.installation import Installation, current
from infra.registry import Registry
from infra.schema import reviews
from infra.version import git_commit
from models import promotion
from models.errors import TailorbirdError
from models.evaluation.evaluate import Evaluation
from models.evaluation.ladder import BASELINES, ladder
from models.promotion import METRIC, Check, Gate
from tasks.champion import CHALLENGER, Champion, champion, follow
from tasks.store_evaluation import evaluation_of
from tasks.train_model import train_model

WAITS, REFUSED, STAYS = "waits for a decision", "refused by the gate", "the champion stays"
Review = dict[str, Any]


def _rival(registry: Registry, version: str, holder: Champion | None) -> str | None:
    """The run that stands for the champion on this data set: its own, or its settings learned on the same weeks."""
    if holder is None:
        return None
    run_id = registry.version(holder["model_version"]).run_id
    if holder["dataset_version"] == version:
        return str(run_id)
    settings = registry.settings(str(run_id))
    return str(train_model.fn(version, holder["kind"], settings))


def best_of(evaluations: dict[str, Evaluation]) -> str:
    """The run with the highest mean NDCG at 10 among those that do not give everybody the same list."""
    personal = {r: e for r, e in evaluations.items() if e.summary["distinct_lists"] > 1} or evaluations
    return max(sorted(personal), key=lambda run_id: personal[run_id].summary[METRIC])


def judge(best: str, rival: str | None, evaluations: dict[str, Evaluation], kinds: dict[str, str]) -> Gate:
    """The gate's verdict on the best candidate. A champion's own recipe on newer data is not set against itself."""
    baselines = {kinds[r]: e for r, e in evaluations.items() if kinds[r] in BASELINES and r != best}
    opponent = evaluations[rival] if rival and rival != best else None
    gate = promotion.decide(evaluations[best], baselines, opponent, seed=7)
    if rival == best:
        detail = "The champion's own recipe, learned again from newer data."
        gate = Gate(gate.passed, (*gate.checks, Check("renews the champion", 0.0, 0.0, True, detail)))
    return gate


@task(description="Choose the best candidate, put it through the gate, ask for a decision.")
def review_models(version: str, run_ids: list[str]) -> Review:
    """Review the training runs of a data set; returns the review, or the champion's when nothing is better.

    The best candidate that passes becomes `@challenger`. The reasons are stored either way.
    """
    here = current()
    registry = Registry(here.endpoints.mlflow_tracking_uri)
    follow(here.engine, registry)
    with here.engine.connect() as connection:
        holder = champion(connection)
    rival = _rival(registry, version, holder)
    compared = list(dict.fromkeys([*run_ids, *([rival] if rival else [])]))
    evaluations = {run_id: evaluation_of(registry, run_id) for run_id in compared}
    kinds = {run_id: str(registry.run(run_id).data.tags["kind"]) for run_id in compared}
    names = {run_id: kinds[run_id] if run_id in run_ids else f"champion ({kinds[run_id]})" for run_id in compared}
    rows = ladder({names[run_id]: evaluation for run_id, evaluation in evaluations.items()})
    renewing = holder is not None and holder["dataset_version"] != version
    best, gate = _choose(rival, renewing, evaluations, kinds)
    if holder and best == rival and not renewing:
        return {"status": STAYS, "model_version": holder["model_version"], "ladder": rows, "gate": []}
    tags = {"dataset_version": version, "kind": kinds[best], "git_commit": git_commit()}
    review = _request(here, version, registry.register(best, tags), gate)
    if review["passed"] and not review["decision"]:
        registry.set_alias(CHALLENGER, review["model_version"])
    announce(registry, review)
    status = review["decision"] or (WAITS if review["passed"] else REFUSED)
    return {**review, "status": status, "ladder": rows}


def _choose(
    rival: str | None, renewing: bool, evaluations: dict[str, Evaluation], kinds: dict[str, str]
) -> tuple[str, Gate]:
    """The best run and its verdict; on newer data a champion that is not beaten is at least renewed."""
    best = best_of(evaluations)
    gate = judge(best, rival, evaluations, kinds)
    if rival and renewing and not gate.passed:
        return rival, judge(rival, rival, evaluations, kinds)
    return best, gate


def _request(here: Installation, version: str, model_version: int, gate: Gate) -> Review:
    """Write the request for a decision down, once per version; returns it as it stands."""
    checks = [asdict(check) for check in gate.checks]
    request = insert(reviews).values(
        dataset_version=version, model_version=model_version, passed=gate.passed, gate=checks
    )
    with here.engine.begin() as connection:
        connection.execute(request.on_conflict_do_nothing())
    return review_of(here, model_version)


def announce(registry: Registry, review: Review) -> None:
    """Tell it where reviewers look: tags, and the gate's reasons with the decision as the version's description."""
    version, decision = review["model_version"], review["decision"]
    verdict = "passed the gate and waits for a person's decision." if review["passed"] else "was refused by the gate."
    if decision:
        verdict = f"was {decision} by {review['reviewer']}: {review['reason']}"
    checks = [f"- {'✓' if check['passed'] else '✗'} **{check['name']}**: {check['detail']}" for check in review["gate"]]
    registry.describe(version, "\n".join([f"Version {version} {verdict}", "", *checks]))
    tags = {"validation_status": "passed" if review["passed"] else "refused"}
    registry.tag_version(version, tags | ({"review": decision, "reviewer": review["reviewer"]} if decision else {}))


def review_of(here: Installation, model_version: int | None = None) -> Review:
    """The review of a version, or the newest; says what to do when there is none."""
    found = select(reviews).order_by(reviews.c.review_id.desc()).limit(1)
    if model_version is not None:
        found = found.where(reviews.c.model_version == model_version)
    with here.engine.connect() as connection:
        row = connection.execute(found).mappings().first()
    if row is None:
        wanted = f"review of version {model_version}" if model_version else "review yet"
        raise TailorbirdError(f"There is no {wanted}: run `tailorbird review` first.")
    names = ("review_id", "dataset_version", "model_version", "passed", "gate", "decision", "reviewer", "reason")
    return {name: row[name] for name in names}
