"""Reads experiments: computes, stores and publishes what each has shown, and stops one that violates a guardrail."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from math import inf, isfinite
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert

from infra.database.engine import database_now
from infra.database.experiment_rows import StartedExperiment, all_experiments, experiment_named, stop_experiment
from infra.database.schema.experiment_schema import experiment_readouts
from infra.installation import Installation, current
from infra.prefect_api import events
from infra.registry.client import NOTE, Registry
from models.experiments.checks import Check, assignment, sample_ratio, single_users
from models.experiments.definition import ExperimentError, own_placement
from models.experiments.metrics import METRICS, WORDS, moments
from models.experiments.readout import Readout, Service, harm, read
from models.experiments.sequential import ALPHA
from models.lists.rules.placement_config import BEST_SELLERS
from models.primitives.json_types import JsonObject
from tasks.experiments.people import People, people_of
from tasks.experiments.start_experiment import withdraw_ended
from tasks.monitoring.serving_metrics import addresses, fetched
from tasks.orchestration.guards import hold_pseudonym_key
from tasks.orchestration.run_artifacts import PREFECT_RUN, flow_run_page, key_of, log_info, warn
from tasks.reports.experiment_page import markdown, plot_days, render

_DAY: Final = 86_400.0
_LEAST_PEOPLE: Final = 10
"""Of each variant; with fewer, nothing is computed."""
_GUARDRAILS: Final = "the guardrails"
REPORT: Final = "experiment.html"
_SINGLE: Final = ("impressions", "clicks", "revenue")
_ANSWERS: Final = text("""
    SELECT split_part(variant, '/', 2) AS variant, count(*) AS answers,
        count(*) FILTER (WHERE source IN ('last_good', 'segment', 'popular')) AS fallbacks
    FROM served_answers WHERE starts_with(variant, :name || '/') GROUP BY 1""")
_COVERAGE: Final = text("""
    SELECT placements.placement, (summary ->> 'coverage')::float8 AS coverage
    FROM placements JOIN recommendation_batches USING (batch_id)""")
_SECONDS: Final = "tailorbird_variant_duration_seconds"
_SHARE: Final = 0.95


@task(description="Compute what an experiment has shown so far, and publish it.")
@hold_pseudonym_key
def read_experiment(name: str) -> JsonObject:
    """Return what an experiment has shown, which is stored and published too.

    The result has a row for each metric and variant, the checks and a `claim` for each variant, the address of the
    `page`, and `stopped` with the reason if a guardrail stopped the experiment. Raises ExperimentError.
    """
    installation = current()
    with installation.engine.connect() as connection:
        experiment, now = experiment_named(connection, name), database_now(connection)
    if experiment.started_at is None:
        raise ExperimentError(f"The experiment {name!r} assigns nobody yet. `tailorbird experiments start {name}`")
    until = min(now, experiment.ends_at, experiment.stopped_at or now)
    people = people_of(installation, experiment, until.timestamp())
    checks = _checks(experiment, people)
    readouts = _readouts(experiment, people, checks, looks_at(experiment, until))
    stopped = "" if experiment.state(now) != "running" else _stop_for_harm(installation, experiment, readouts)
    content = _content(experiment, people, checks, readouts, until) | {"stopped": stopped}
    content["page"] = _published(installation, experiment, content, [*_earlier(installation, experiment), content])
    _store(installation, experiment, until, content)
    log_info(" ".join(content["claims"].values()))
    return content


@task(description="Withdraw the lists of ended experiments; return the names of those to be read.")
def experiments_to_read() -> list[str]:
    """Return the names of running experiments and of those that ended within a day."""
    installation = current()
    withdraw_ended(installation)
    with installation.engine.connect() as connection:
        now = database_now(connection)
        return [
            experiment.name
            for experiment in all_experiments(connection)
            if experiment.started_at is not None
            and (now - min(experiment.ends_at, experiment.stopped_at or now)).total_seconds() < _DAY
        ]


def looks_at(experiment: StartedExperiment, until: datetime) -> list[float]:
    """Return the shares of the planned time at the end of each day so far, and at `until`.

    In the first hour after the end of a day, `until` takes its place.
    """
    assert experiment.started_at is not None
    planned = (experiment.ends_at - experiment.started_at).total_seconds()
    passed = (until - experiment.started_at).total_seconds()
    days = [day * _DAY for day in range(1, int(passed // _DAY) + 1)]
    ended = days[:-1] if days and passed - days[-1] <= _DAY / 24 else days
    return [max(seconds / planned, 1e-6) for seconds in (*ended, passed)]


def _checks(experiment: StartedExperiment, people: People) -> list[Check]:
    users = {name: people.users(name) for name in experiment.variants}
    amounts = [
        (f"{name} of {variant}", people.of(variant)[name])
        for name in _SINGLE
        for variant in experiment.variants
        if users[variant] >= _LEAST_PEOPLE
    ]
    return [
        sample_ratio(users, experiment.shares),
        assignment(people.seen[:, 0], people.seen[:, 1], len(people.variant)),
        single_users(dict(amounts)),
    ]


def _readouts(
    experiment: StartedExperiment, people: People, checks: Sequence[Check], looks: Sequence[float]
) -> list[Readout]:
    """Return a readout for each variant but the control; none while a variant has too few people."""
    if min(people.users(name) for name in experiment.variants) < _LEAST_PEOPLE:
        return []
    control, *others = experiment.variants
    names = [experiment.primary_metric, *(name for name in METRICS if name != experiment.primary_metric)]
    sums = {name: people.of(name) for name in experiment.variants}
    return [
        read(
            control,
            variant,
            {name: (moments(sums[control], name), moments(sums[variant], name)) for name in names},
            looks,
            checks,
            ALPHA / len(others),
        )
        for variant in others
    ]


def _stop_for_harm(installation: Installation, experiment: StartedExperiment, readouts: Sequence[Readout]) -> str:
    """Stop the experiment and alert if a variant violates a guardrail; return the reason, empty for none."""
    services = _services(installation, experiment)
    for readout in readouts:
        reason = harm(readout, services[readout.control], services[readout.variant])
        if reason:
            with installation.engine.begin() as connection:
                stop_experiment(connection, experiment, _GUARDRAILS, reason)
            withdraw_ended(installation)
            payload = {"reason": f"The experiment {experiment.name} was stopped. {reason}"}
            resource = f"tailorbird.experiment.{experiment.name}"
            events.try_emit(installation.endpoints, events.EXPERIMENT_STOPPED, resource, payload)
            warn(str(payload["reason"]))
            return reason
    return ""


def _services(installation: Installation, experiment: StartedExperiment) -> dict[str, Service]:
    """Return how each variant was served so far. Servers that cannot be reached are left out."""
    with installation.engine.connect() as connection:
        rows = {row.variant: row for row in connection.execute(_ANSWERS, {"name": experiment.name})}
        coverage = {row.placement: row.coverage for row in connection.execute(_COVERAGE)}
    within, failed = _measured(installation)
    found: dict[str, Service] = {}
    for variant in experiment.variants:
        name, row = f"{experiment.name}/{variant}", rows.get(variant)
        answers, fallbacks = (row.answers, row.fallbacks) if row else (0, 0)
        own = {
            own_placement(placement, experiment.name, variant) if variant in experiment.changed else placement
            for placement in experiment.placements
        }
        simple = any(experiment.served[one].model in BEST_SELLERS for one in own if one in experiment.served)
        shown = [coverage[one] for one in own if coverage.get(one) is not None]
        found[variant] = Service(
            answers,
            0 if simple else fallbacks,
            failed[name],
            _slowest(within[name]),
            None if simple or not shown else min(shown),
        )
    return found


def _measured(installation: Installation) -> tuple[dict[str, Counter[float]], Counter[str]]:
    """Return by variant the answers within each bound of seconds, and those that failed."""
    within: dict[str, Counter[float]] = defaultdict(Counter)
    failed: Counter[str] = Counter()
    for address in addresses(installation):
        try:
            families = list(text_string_to_metric_families(fetched(installation.settings, address)))
        except OSError:
            continue
        for sample in (sample for family in families for sample in family.samples):
            if sample.name == f"{_SECONDS}_bucket" and sample.labels["outcome"] == "answered":
                within[sample.labels["variant"]][float(sample.labels["le"])] += int(sample.value)
            elif sample.name == f"{_SECONDS}_count" and sample.labels["outcome"] == "failed":
                failed[sample.labels["variant"]] += int(sample.value)
    return within, failed


def _slowest(within: Counter[float]) -> float | None:
    """Return the bound that 95 of 100 answers were within."""
    total = within[inf]
    return next((bound for bound in sorted(within) if within[bound] >= _SHARE * total), None) if total else None


def _content(
    experiment: StartedExperiment,
    people: People,
    checks: Sequence[Check],
    readouts: Sequence[Readout],
    until: datetime,
) -> JsonObject:
    few = f"Nothing can be said yet: a variant has fewer than {_LEAST_PEOPLE} people."
    claims = {readout.variant: readout.claim for readout in readouts}
    return {
        "experiment": experiment.name,
        "until": until.isoformat(timespec="minutes"),
        "people": {name: people.users(name) for name in experiment.variants},
        "checks": [{"check": one.name, "passed": one.passed, "detail": one.detail} for one in checks],
        "claims": claims or dict.fromkeys(experiment.variants[1:], few),
        "metrics": [_row(readout, change) for readout in readouts for change in readout.changes],
    }


def _row(readout: Readout, change: Any) -> JsonObject:
    estimate, bounds = change.difference, change.interval
    figures = {
        "control": estimate.control,
        "value": estimate.variant,
        "change": bounds.change,
        "low": bounds.low,
        "high": bounds.high,
        "variance_cut": estimate.variance_cut,
    }
    rounded = {name: round(float(value), 5) if isfinite(value) else None for name, value in figures.items()}
    return {"variant": readout.variant, "metric": change.metric, "about": WORDS[change.metric], **rounded} | {
        "verdict": change.verdict
    }


def _earlier(installation: Installation, experiment: StartedExperiment) -> list[JsonObject]:
    """Return the earlier readouts, the latest last."""
    own = experiment_readouts.c.experiment_id == experiment.experiment_id
    with installation.engine.connect() as connection:
        kept = select(experiment_readouts.c.content).where(own).order_by(experiment_readouts.c.until)
        return list(connection.execute(kept).scalars())


def _store(installation: Installation, experiment: StartedExperiment, until: datetime, content: JsonObject) -> None:
    """Store a readout in place of one of the same moment."""
    added = insert(experiment_readouts).values(experiment_id=experiment.experiment_id, until=until, content=content)
    newest = added.on_conflict_do_update(index_elements=["experiment_id", "until"], set_={"content": content})
    with installation.engine.begin() as connection:
        connection.execute(newest)


def _published(
    installation: Installation, experiment: StartedExperiment, content: JsonObject, days: Sequence[JsonObject]
) -> str:
    """Store the page in the experiment's run in MLflow; return its address. Without MLflow there is none."""
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    if not registry.is_available:
        return ""
    claim, flow_run = " ".join(content["claims"].values()), flow_run_page(installation)
    tags = {"stage": "experiment", NOTE: claim} | ({PREFECT_RUN: flow_run} if flow_run else {})
    settings = {"placements": ", ".join(experiment.placements), "ends": str(experiment.ends_at.date())}
    key = f"experiment {experiment.experiment_id} {content['until']}"
    with (
        registry.active_run(f"experiment {experiment.name}", key, settings, tags) as run_id,
        TemporaryDirectory() as scratch,
    ):
        folder = Path(scratch)
        plot_days(days, experiment.primary_metric, folder / "days.png")
        about = experiment.row(datetime.fromisoformat(content["until"]))
        (folder / REPORT).write_text(render(about, content, folder / "days.png"), encoding="utf-8")
        registry.log_folder(run_id, folder, "experiment")
        changes = {f"{row['variant']}/{row['metric']}": row["change"] for row in content["metrics"]}
        registry.log(run_id, {name: change for name, change in changes.items() if change is not None})
    address = registry.artifact_page(run_id, f"experiment/{REPORT}")
    if FlowRunContext.get() is not None:
        title = f"The experiment {experiment.name}"
        create_markdown_artifact(markdown(content, address), key=key_of(title), description=title)
    return address
