"""Runs a backtest: lives the past once for each policy, compares their lists, and publishes the report."""

import hashlib
import json
import shutil
import time
from base64 import b64encode
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext

from infra.configuration import placements
from infra.configuration.settings import Settings
from infra.configuration.version import git_commit
from infra.installation import Installation, current
from infra.keys.credentials import FOLDER
from infra.locks import locked
from infra.registry.client import NOTE, Registry
from infra.supervisor.startup import BACKTESTS
from models.errors import TailorbirdError
from models.evaluation.metrics.bootstrap import Estimate
from models.monitoring.backtest import FIGURES, compare_policies
from models.monitoring.retraining_policies import day_of, publication_days
from models.primitives.json_types import JsonObject
from tasks.monitoring.backtest.child_installation import ChildInstallation
from tasks.monitoring.backtest.list_outcomes import measure_lists
from tasks.monitoring.backtest.live_periods import Lived, NoFirstModelError, live_periods
from tasks.monitoring.backtest.past_events import PURCHASES, write_past
from tasks.orchestration.progress import progress
from tasks.orchestration.run_artifacts import PREFECT_RUN, flow_run_page, log_info, markdown_table, show
from tasks.reports.evaluation_plots import drawn

PLOT: Final = "backtest.png"
_KNOWN_S: Final = 1.0
"""A period that takes less was lived before a stop, and says nothing about the others."""
_COMPLETE: Final = "past-complete"


@task(description="Live the past once for each policy of retraining, and compare the lists.")
def run_backtest(
    begin: str, end: str, step_days: int, policies: Sequence[str], models: Sequence[str], placement: str
) -> JsonObject:
    """Return the report of a backtest; the same call goes on with one that was stopped.

    Each policy has an installation of its own below `var`, which is deleted at the end. Raises TailorbirdError for
    days without purchases, and for an unknown placement or one with lists about items.
    """
    installation = current()
    days = publication_days(day_of(begin), day_of(end), step_days)
    if placements.one(installation.settings, placement).subject != "user":
        raise TailorbirdError(f"Lists of {placement!r} are about items; only lists for users can be compared.")
    names = list(dict.fromkeys(policies))
    plan = hashlib.sha256(json.dumps([step_days, placement, sorted(models)]).encode()).hexdigest()[:8]
    folder = installation.settings.var / BACKTESTS / f"{days[0]}-{days[-1]}-{plan}"
    with locked(installation.engine, "backtest"):
        if not (folder / _COMPLETE).exists():
            write_past(installation, folder, days)
            (folder / _COMPLETE).touch()
        try:
            lived = _live(installation, folder, names, days, models, placement)
        except NoFirstModelError:
            delete_backtests(installation.settings, folder.name)
            raise
        lists = {name: one.lists for name, one in lived.items()}
        outcomes = measure_lists(lists, folder / PURCHASES, days[:-1])
        retrainings = {name: one.retrainings for name, one in lived.items()}
        requests = [period for one in lived.values() for period in one.requests]
        report = compare_policies(outcomes, days[:-1], retrainings, requests)
        settings = {"from": days[0], "to": days[-1], "step_days": step_days, "placement": placement}
        report |= {name: str(value) for name, value in settings.items()} | {"models": list(models)}
        report |= {"table": _policy_rows(report), "requests_table": _request_rows(report)}
        report["page"] = _publish(installation, report)
        shutil.rmtree(folder)
    return report


def delete_backtests(settings: Settings, name: str = "*") -> None:
    """Delete backtests that have not ended, with their installations and the data of people in them."""
    for folder in (settings.var / BACKTESTS).glob(f"{name}/*/{FOLDER}"):
        ChildInstallation(folder.parent, settings).delete()
    for folder in (settings.var / BACKTESTS).glob(name):
        shutil.rmtree(folder)


def _live(
    installation: Installation,
    folder: Path,
    policies: Sequence[str],
    days: Sequence[date],
    models: Sequence[str],
    placement: str,
) -> dict[str, Lived]:
    left, last, spent = len(policies) * (len(days) - 1), time.monotonic(), list[float]()
    with progress("backtest", left) as show_progress:

        def advance(note: str) -> None:
            nonlocal left, last
            left, now = left - 1, time.monotonic()
            spent.extend([now - last] if now - last > _KNOWN_S else [])
            last = now
            minutes = f"about {sum(spent) / len(spent) * left / 60:.0f} min left" if spent else ""
            show_progress(note=f"{note}: {minutes}")

        settings = installation.settings
        return {name: live_periods(settings, folder, name, days, models, placement, advance) for name in policies}


def _publish(installation: Installation, report: JsonObject) -> str:
    """Store the report in an MLflow run, show its tables in Prefect, and return the address of the run."""
    registry = Registry(installation.endpoints.mlflow_tracking_uri)
    title = f"Policies of retraining at {report['placement']}, {report['from']} to {report['to']}"
    note = f"{report['recommendation']}\n\n{markdown_table(report['table'])}"
    tags = {"stage": "backtest", "git_commit": git_commit(), NOTE: note}
    tags |= {PREFECT_RUN: page} if (page := flow_run_page(installation)) else {}
    parameters = {name: report[name] for name in ("from", "to", "step_days", "placement", "models")}
    with (
        registry.active_run("backtest", f"backtest {parameters}", parameters, tags) as run_id,
        TemporaryDirectory() as at,
    ):
        steps: dict[int, dict[str, float]] = {}
        starts = list(dict.fromkeys(row["from"] for row in report["periods"]))
        for row in report["periods"]:
            named = {f"{row['policy'].replace(' ', '_')}/{figure}": row[figure]["value"] for figure in FIGURES}
            steps.setdefault(starts.index(row["from"]), {}).update(named)
        registry.log_steps(run_id, steps)
        _plot(report, starts, Path(at) / PLOT)
        (Path(at) / "backtest.json").write_text(json.dumps(report, indent=1))
        registry.log_folder(run_id, Path(at), "backtest")
        if FlowRunContext.get() is not None:  # the picture itself, as a browser has no login of MLflow's there
            picture = f"data:image/png;base64,{b64encode((Path(at) / PLOT).read_bytes()).decode()}"
            text = f"{report['recommendation']}\n\n![{title}]({picture})"
            create_markdown_artifact(text, key="backtest-plot", description=title)
    show("backtest", title, report["table"])
    show("backtest-requests", "What drift asked for", report["requests_table"])
    log_info(report["recommendation"])
    return registry.artifact_page(run_id, f"backtest/{PLOT}")


def _policy_rows(report: JsonObject) -> list[dict[str, Any]]:
    """Return the table of policies for people."""
    figures = {"hit_rate": "hit rate@10", "ndcg": "NDCG@10", "revenue_share": "share of revenue"}
    return [
        {"policy": row["policy"]}
        | {label: _interval(row[name]) for name, label in figures.items()}
        | {"NDCG gained": _interval(row["gain"], "+"), "retrainings": row.get("retrainings", "")}
        | {"minutes of training": f"{row['seconds'] / 60:.1f}" if "seconds" in row else ""}
        for row in report["policies"]
    ]


def _request_rows(report: JsonObject) -> list[dict[str, Any]]:
    """Return the table of what drift asked for, for people."""
    return [
        {"lists from": row["from"], "review": row["outcome"], "NDCG gained until the next": _interval(row["gain"], "+")}
        | {"verdict": row["verdict"]}
        for row in report["requests"]
    ]


def _interval(figure: JsonObject | None, sign: str = "") -> str:
    if not figure:
        return ""
    return f"{figure['value']:{sign}.4f} ({figure['low']:{sign}.4f}, {figure['high']:{sign}.4f})"


def _plot(report: JsonObject, starts: Sequence[str], path: Path) -> None:
    """Plot the NDCG of each policy and reference by period; a mark shows where a new model was promoted."""
    with drawn(path, f"Lists of {report['placement']} by policy of retraining", ylabel="NDCG@10") as axes:
        for name in dict.fromkeys(row["policy"] for row in report["periods"]):
            rows = [row for row in report["periods"] if row["policy"] == name]
            known = [Estimate(**row["ndcg"]) for row in rows]
            (curve,) = axes.plot(starts, [one.value for one in known], label=name, lw=1.5)
            axes.fill_between(starts, [one.low for one in known], [one.high for one in known], alpha=0.1)
            promoted = [place for place, row in enumerate(rows) if row["retrained"] == "promoted"]
            axes.plot(promoted, [known[place].value for place in promoted], "o", color=curve.get_color())
        axes.tick_params(axis="x", rotation=60, labelsize=7)
        axes.legend(fontsize="small")
