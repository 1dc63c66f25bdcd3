"""Prints data sets, searches, trainings and reviews, the lists that followed, and their monitoring."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from models.datasets.acceptance import WARNED
from models.primitives.time import moment
from models.recommenders.kinds import options
from serving.terminal.console import line, table

_READOUT: Final = ("variant", "metric", "control", "value", "change", "low", "high", "verdict")
_MOMENTS: Final = {"validation_from": "validation from", "test_from": "test from", "as_of": "events before"}


def print_leaderboard(rows: Iterable[Mapping[str, Any]], limit: int | None = None) -> None:
    """Print the tables of a comparison of models, or the first ones."""
    from models.evaluation.comparison import tables

    for title, lines in list(tables(rows).items())[:limit]:
        table(title, lines)


def print_review_summary(review: Mapping[str, Any]) -> None:
    """Print a review; only the first table for models that `train` has printed already."""
    print_review(review, tables=None if review["trained"] else 1)


def print_review(review: Mapping[str, Any], tables: int | None = None) -> None:
    """Print the checks and the verdict, then all tables or the first ones."""
    from models.gate.results import stored_outcome

    for check in review["gate"]:
        result_ = stored_outcome(check)
        line(f"{result_.mark} {check['name']}: {result_.heading}{check['detail']}")
    line(f"Version {review['model_version']}: {review['status']}.")
    if review.get("report"):
        line(f"Its report: {review['report']}", wrap=False)
    print_leaderboard(review["ladder"], tables)


def print_folds(models: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Print the figures of each fold of a validation."""
    from models.evaluation.cross_validation import folds_table, folds_title

    table(folds_title(models), folds_table(models))


def print_search(results: Sequence[Mapping[str, Any]]) -> None:
    """Print the best settings of each model, and where all trials are."""
    from models.tuning.study_config import search_notes, search_table

    table("Best settings found", search_table(results))
    for note in search_notes(results):
        line(note)
    for row in results:
        line(f"{row['model']}: all trials are in {row['page']}", wrap=False)


def print_retrain(value: Mapping[str, Any]) -> None:
    """Print the searches that were due, the review, and the lists that were published."""
    for model, reason in value["due"].items():
        line(f"A search of {model} was due: {reason}. {value['searches'][model]}")
    if value["review"]:
        print_review(value["review"])
    line(value["says"], wrap=False)
    if value["batches"]:
        print_batches(value["batches"])


def print_batches(batches: Sequence[Mapping[str, Any]]) -> None:
    """Print the published batches, the reasons for short lists, and remarks on the rules of placements."""
    names = {"placement": "placement", "batch_id": "batch", "model_version": "version", "users": "lists"}
    names |= {"recommendations": "entries", "coverage": "coverage", "kept_from_before": "kept", "status": "status"}
    table("Published lists", [{**batch, **batch["summary"]} for batch in batches], names)
    for batch in batches:
        for why, count in batch["summary"].get("short", {}).items():
            line(f"{batch['placement']}: {count:,} lists are shorter than asked for; {why}.")
        for note in batch["summary"].get("notes", []):
            line(f"{batch['placement']}: {note}")


def print_runs(value: Mapping[str, Any]) -> None:
    """Print the figures of trained models, and the command that compares them."""
    print_leaderboard(value["ladder"])
    command = f"tailorbird review{options(row['model'] for row in value['ladder'])}"
    line(f"{len(value['runs'])} runs in MLflow; compare them with `{command}`.")


def print_audit(report: Mapping[str, Any]) -> None:
    """Print the groups without their intervals, the verdict, and the address of the whole report."""
    if report["groups"]:
        title = f"Served lists of {report['placement']}, {report['window']}"
        rows = [{name: str(cell).split(" (")[0] for name, cell in row.items()} for row in report["groups"]]
        table(title, rows)
    line(f"{report['status']}: {report['verdict']}" if report["groups"] else report["verdict"])
    if report.get("page"):
        line(f"The whole audit: {report['page']}", wrap=False)


def print_backtest(report: Mapping[str, Any]) -> None:
    """Print the tables of policies and of what drift asked for, the recommendation, and the address of the plot."""
    table(f"{report['from']} to {report['to']}, lists of {report['placement']}", report["table"])
    if report["requests_table"]:
        table("What drift asked for", report["requests_table"])
    line(report["recommendation"])
    line(f"The plot: {report['page']}", wrap=False)


def print_drift(value: Mapping[str, Any]) -> None:
    """Print the calibration, the latest windows, and the reasons of the newest decision."""
    usual, windows = value["usual"], value["windows"]
    if usual is None:
        line(value["note"] or "There is no calibration yet: `tailorbird monitor` makes one.")
        return
    length, until = usual["window_days"], usual["reference_to"][:10]
    if not windows:
        line(f"Nothing to judge yet: the first {length} whole days (UTC) since {until} are not over.")
        return
    line(
        f"Usual is what {usual['windows']} windows of {length} days up to {until} were like ({usual['reason']}). "
        f"Version {usual['model_version']} is watched."
    )
    lines = [
        {**row, "days": f"{row['window_from'][:10]} to {row['window_to'][:10]}", "drivers": ", ".join(row["drivers"])}
        for row in windows
    ]
    shown = ("days", "verdict", "joint", "joint_threshold", "drivers", "decision", "request_id")
    table("Windows, the latest first", lines, {name: name.replace("_", " ") for name in shown})
    for reason in windows[0]["reasons"]:
        line(reason)
    if windows[0]["page"]:
        line(f"The report: {windows[0]['page']}", wrap=False)


def print_decision(value: Mapping[str, Any]) -> None:
    """Print the decision about a version, with reviewer and reason, and the present champion."""
    if value.get("remark"):
        line(value["remark"])
    against = " against the gate" if value.get("overridden") else ""
    line(f"Version {value['model_version']} was {value['decision']} by {value['reviewer']}{against}: {value['reason']}")
    version = value.get("champion")
    line(f"Version {version} is the champion." if version else "No version is the champion.")


def _again(batch: int | None, lists: Mapping[str, int]) -> str:
    if batch is None:
        return f"no lists of it are kept, so the {lists['now']:,} lists shown before stay"
    return (
        f"batch {batch} is shown again, with {lists['now']:,} lists; before the rollback there were {lists['before']:,}"
    )


def print_rollback(value: Mapping[str, Any]) -> None:
    """Print the batches that are shown again, and those that they replace."""
    if "batches" in value:
        line(f"Version {value['to']} is the champion again, in place of version {value['from']}.")
        for placement, batch in value["batches"].items():
            line(f"{placement}: {_again(batch, value['lists'][placement])}")
        command = f'tailorbird decide {value["from"]} --approve --reason "…"'
        line(f"To take this rollback back: {command}", wrap=False)
    else:
        line(f"Batch {value['batch_id']} is shown again, in place of batch {value['from']}.")
        counts = f"It has {value['users']:,} lists of version {value['model_version']}"
        line(f"{counts}; before the rollback there were {value['users_before']:,}.")
    if value.get("next"):
        line(value["next"])


def print_dataset(manifest: Mapping[str, Any]) -> None:
    """Print the manifest of a data set, or its comparison with a rebuilt one."""
    if "rows" not in manifest:
        line(", ".join(f"{name}: {value}" for name, value in manifest.items() if value is not None))
        return
    moments = (f"{title} {moment(manifest[name])} UTC" for name, title in _MOMENTS.items())
    line(", ".join([f"Data set {manifest['version']}", *moments]))
    table("Rows", [{"table": name, "rows": count} for name, count in manifest["rows"].items()])
    refunds = manifest.get("refunds", {"matched": 0, "unmatched": 0})
    if any(refunds.values()):
        nothing = " and change nothing: their order is not stored, or came back before" if refunds["unmatched"] else ""
        line(f"Refunds: {refunds['matched']:,} found their purchase, {refunds['unmatched']:,} did not{nothing}.")
    for note in manifest.get("traits", []):
        line(note)
    for accepted in manifest.get("accepted", []):
        line(f"Accepted by {accepted['accepted_by']}: {accepted['detail']}. The reason: {accepted['reason']}")
    warnings = manifest.get("warnings", [])
    for warning in warnings:
        line(f"Warning: {warning}.", "yellow")
    if warnings:
        line(WARNED)


def print_readout(readout: Mapping[str, Any]) -> None:
    """Print what an experiment has shown: its claims, checks and metrics."""
    for claim in readout["claims"].values():
        line(claim)
    if readout["stopped"]:
        line(f"A guardrail stopped the experiment. {readout['stopped']}", "red")
    people = ", ".join(f"{users:,} in {name}" for name, users in readout["people"].items())
    line(f"People until {readout['until']}: {people}.")
    table("Checks", readout["checks"])
    if readout["metrics"]:
        table("Metrics", readout["metrics"], {name: name.replace("_", " ") for name in _READOUT})
    if readout["page"]:
        line(f"The whole report: {readout['page']}", wrap=False)
