"""Prints the results of commands."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from shutil import which
from typing import TYPE_CHECKING, Any, Final

from models.datasets.acceptance import WARNED
from models.primitives.time import moment
from models.recommenders.kinds import options
from serving.shop.config import PORT
from serving.terminal.console import line, table
from serving.terminal.ledger import batch, batches, quarantine
from serving.terminal.ledger.ingested import print_ingested
from serving.terminal.recommendations import print_user_list
from serving.terminal.training import (
    print_batches,
    print_folds,
    print_leaderboard,
    print_retrain,
    print_review,
    print_review_summary,
    print_search,
)

if TYPE_CHECKING:
    from infra.services.endpoints import Endpoints


_MOMENTS: Final = {"validation_from": "validation from", "test_from": "test from", "as_of": "events before"}


def print_audit(report: Mapping[str, Any]) -> None:
    """Print the groups without their intervals, the verdict, and the address of the whole report."""
    if report["groups"]:
        title = f"Served lists of {report['placement']}, {report['window']}"
        rows = [{name: str(cell).split(" (")[0] for name, cell in row.items()} for row in report["groups"]]
        table(title, rows, {name: name for name in rows[0]})
    line(f"{report['status']}: {report['verdict']}" if report["groups"] else report["verdict"])
    if report.get("page"):
        line(f"The whole audit: {report['page']}", wrap=False)


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
    lines = [row | {"days": f"{row['window_from'][:10]} to {row['window_to'][:10]}"} for row in windows]
    lines = [row | {"drivers": ", ".join(row["drivers"])} for row in lines]
    shown = ("days", "verdict", "joint", "joint_threshold", "drivers", "decision", "request_id")
    names = {name: name.replace("_", " ") for name in shown}
    table("Windows, the latest first", lines, names)
    for reason in windows[0]["reasons"]:
        line(reason)
    if windows[0]["page"]:
        line(f"The report: {windows[0]['page']}", wrap=False)


def decision(value: Mapping[str, Any]) -> None:
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


def rollback(value: Mapping[str, Any]) -> None:
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


def dataset(manifest: Mapping[str, Any]) -> None:
    """Print the manifest of a data set, or its comparison with a rebuilt one."""
    if "rows" not in manifest:
        line(", ".join(f"{name}: {value}" for name, value in manifest.items() if value is not None))
        return
    moments = (f"{title} {moment(manifest[name])} UTC" for name, title in _MOMENTS.items())
    line(", ".join([f"Data set {manifest['version']}", *moments]))
    rows = [{"table": name, "rows": f"{count:,}"} for name, count in manifest["rows"].items()]
    table("Rows", rows, {"table": "table", "rows": "rows"})
    refunds = manifest.get("refunds", {"matched": 0, "unmatched": 0})
    if any(refunds.values()):
        line(f"Refunds: {refunds['matched']:,} found their purchase, {refunds['unmatched']:,} did not.")
    for note in manifest.get("traits", []):
        line(note)
    for accepted in manifest.get("accepted", []):
        line(f"Accepted by {accepted['accepted_by']}: {accepted['detail']}. The reason: {accepted['reason']}")
    warnings = manifest.get("warnings", [])
    for warning in warnings:
        line(f"Warning: {warning}.", "yellow")
    if warnings:
        line(WARNED)


def outcome(result: Mapping[str, Any], endpoints: "Endpoints") -> None:
    """Print the result of a demo: ledger, leaderboard, batches, one user's list, and the next commands."""
    from infra.database.engine import engine
    from serving.queries.user_recommendations import example_users, user_list
    from serving.terminal.api_answers import print_api_answers

    print_ingested(result["ledger"])
    print_review(result["review"])
    if result["batches"]:
        print_batches(result["batches"])
        database = engine(endpoints.database_url)
        for user in example_users(database):
            rows = user_list(database, user)[:10]
            print_user_list(user, rows)
            if endpoints.api_page and rows:
                print_api_answers(database, endpoints.api_page, user, rows[0])
    pages(endpoints)
    _next_commands()


_TABLE_LAYOUTS = {
    "api_keys": (
        "API keys",
        ("key_id", "name", "scopes", "requests_per_second", "state", "last_used_at", "expires_at", "revoked_at"),
    ),
    "dead_letters": (
        "Dead letters",
        ("letter_id", "source", "reason", "detail", "times", "first_at", "replayed_at"),
    ),
    "replayed_letters": ("Replayed letters", ("letter_id", "source", "outcome")),
    "keys": ("Keys", ("kind", "generation", "fingerprint", "state", "since", "actor", "reason")),
    "lake": ("The lake's events by month", ("month", "files", "rows", "bytes")),
    "schedules": (
        "Schedules",
        ("slug", "deployment", "cron", "zone", "set_by", "parameters", "next_run", "active"),
    ),
}


_LEDGER_SCREENS: dict[str, Callable[[Sequence[Mapping[str, Any]]], None]] = {
    "ledger_batches": batches.print_batches,
    "quarantine": quarantine.waiting,
    "rows": quarantine.waiting_rows,
}


def print_table(kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows of the ledger, the quarantine or another table."""
    if kind in _LEDGER_SCREENS:
        _LEDGER_SCREENS[kind](rows)
        return
    title, names = _TABLE_LAYOUTS[kind]
    if rows:
        table(title, rows, dict(zip(names, names, strict=True)))
    else:
        line("Nothing is there.")


def pages(endpoints: "Endpoints") -> None:
    """Print the addresses of the pages, and the command that shows their logins."""
    line()
    line(f"Prefect   {endpoints.prefect_page}", wrap=False)
    line(f"MLflow    {endpoints.mlflow_page}", wrap=False)
    if endpoints.docs_page:
        line(f"Data Docs {endpoints.docs_page}/", wrap=False)
    if endpoints.api_page:
        line(f"API       {endpoints.api_page}/openapi.json", wrap=False)
    if endpoints.prefect_login or endpoints.mlflow_login or endpoints.docs_login:
        line(f"`{_program()} logins` shows what to type there.")


def _next_commands() -> None:
    program = _program()
    line()
    line("What to look at", "bold")
    line(f"  {program} recommend USER    one user's list, by your own id")
    line(f"  {program} status            ledger, champion, live batch, services")
    line(f"  {program} shop              a shop with these lists, in a browser: http://127.0.0.1:{PORT}")
    line(f"  {program} psql              SQL: SELECT * FROM recommendations_by_user_id WHERE user_id = '1'")
    line(f"  {program} down              stop the services; the data stays in ./var")


def _program() -> str:
    """Return the command that runs this program."""
    return "tailorbird" if which("tailorbird") else min(os.path.relpath(sys.argv[0]), sys.argv[0], key=len)


def result(kind: str, value: Any) -> None:
    """Print the result of a single command."""
    if kind in _RESULTS:
        _RESULTS[kind](value)
    elif kind == "validation":
        print_folds(value["models"])
    elif kind == "runs":
        print_leaderboard(value["ladder"])
        command = f"tailorbird review{options(row['model'] for row in value['ladder'])}"
        line(f"{len(value['runs'])} runs in MLflow; compare them with `{command}`.")
    else:
        for row in value if isinstance(value, list) else [value]:
            line(", ".join(f"{name}: {text}" for name, text in row.items() if text is not None))


_RESULTS: dict[str, Callable[[Any], None]] = {
    "ledger": print_ingested,
    "review": print_review_summary,
    "batches": print_batches,
    "search": print_search,
    "retrain": print_retrain,
    "audit": print_audit,
    "drift": print_drift,
    "dataset": dataset,
    "ledger_entry": batch.entry,
    "undo_preview": batches.preview,
    "undo": batches.undone,
    "decision": decision,
    "rollback": rollback,
}
