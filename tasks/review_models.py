"""Compares candidates on the same held-out weeks and asks for a decision: nothing is promoted here."""

from dataclasses import asdict
from typing import Any

from prefect import task
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from infra.installation import Installation, current
from infra.registry import Registry
from infra.schema import reviews
from models import promotion
from models.errors import TailorbirdError
from models.evaluation.evaluate import Evaluation
from models.promotion import METRIC, Check, Gate
from tasks.champion import CHALLENGER, Champion, champion, follow
from tasks.train_model import evaluation_of, train_model

BASELINES = ("most_popular", "own_frequency")
Review = dict[str, Any]


def _candidates(registry: Registry, run_ids: list[str]) -> dict[str, Evaluation]:
    return {run_id: evaluation_of(registry, run_id) for run_id in run_ids}


def _kind(registry: Registry, run_id: str) -> str:
    return str(registry.run(run_id).data.tags["kind"])


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
    evaluations = _candidates(registry, [*run_ids, *([rival] if rival and rival not in run_ids else [])])
    kinds = {run_id: _kind(registry, run_id) for run_id in evaluations}
    best = best_of(evaluations)
    table = {kinds[run_id]: evaluation.summary for run_id, evaluation in evaluations.items()}
    if holder and best == rival and holder["dataset_version"] == version:
        stays = {"status": "the champion stays", "model_version": holder["model_version"], "passed": True}
        return {**stays, "models": table, "checks": []}
    gate = judge(best, rival, evaluations, kinds)
    model_version = registry.register(best, {"dataset_version": version, "kind": kinds[best]})
    _request(here, version, model_version, gate)
    _announce(registry, model_version, gate)
    stored = review_of(here, model_version)
    return {**stored, "status": stored["decision"] or "waits for a decision", "models": table, "checks": _plain(gate)}


def _plain(gate: Gate) -> list[dict[str, Any]]:
    return [asdict(check) for check in gate.checks]


def _request(here: Installation, version: str, model_version: int, gate: Gate) -> None:
    request = insert(reviews).values(
        dataset_version=version, model_version=model_version, passed=gate.passed, gate=_plain(gate)
    )
    with here.engine.begin() as connection:
        connection.execute(request.on_conflict_do_nothing())


def _announce(registry: Registry, model_version: int, gate: Gate) -> None:
    """Tell it where reviewers look: alias, tag and description in MLflow."""
    if gate.passed:
        registry.set_alias(CHALLENGER, model_version)
    registry.tag_version(model_version, {"validation_status": "passed" if gate.passed else "refused"})
    verdict = "passed the gate and waits for a person's decision" if gate.passed else "was refused by the gate"
    lines = [f"- {'✓' if check.passed else '✗'} **{check.name}**: {check.detail}" for check in gate.checks]
    registry.describe(model_version, "\n".join([f"Version {model_version} {verdict}.", "", *lines]))


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
    names = ("review_id", "dataset_version", "model_version", "passed", "decision", "reviewer", "reason")
    return {name: row[name] for name in names}
