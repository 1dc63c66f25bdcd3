"""Prints the results of commands."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from shutil import which
from typing import TYPE_CHECKING, Any

from models.ingest.check.file_names import some_names
from models.monitoring.guidance.next_step import Stage, Step
from models.recommenders.kinds import options
from serving.queries.list_counts import lacking_words
from serving.shop.config import PORT
from serving.terminal import ledger
from serving.terminal import ledger_batch as batch_screen
from serving.terminal.console import formatted, line, table
from serving.terminal.dataset import dataset
from serving.terminal.decisions import decision, rollback
from serving.terminal.ingested import print_ingested
from serving.terminal.recommendations import print_user_list

if TYPE_CHECKING:
    from infra.services.endpoints import Endpoints

_FIGURES = {
    "ndcg_at_10": "NDCG@10",
    "recall_at_10": "recall@10",
    "hit_rate_at_10": "hit rate@10",
    "new_ndcg_at_10": "NDCG@10, new items",
    "coverage_at_10": "coverage",
}


def outcome(result: Mapping[str, Any], endpoints: "Endpoints") -> None:
    """Print the result of a demo: ledger, leaderboard, batches, one user's list, and the next commands."""
    from infra.database.engine import engine
    from serving.queries.user_recommendations import example_users, user_list
    from serving.terminal.api_answers import print_api_answers

    print_ingested(result["ledger"])
    _review(result["review"])
    if result["batches"]:
        _batches(result["batches"])
        database = engine(endpoints.database_url)
        for user in example_users(database):
            rows = user_list(database, user)[:10]
            print_user_list(user, rows)
            if endpoints.api_page and rows:
                print_api_answers(database, endpoints.api_page, user, rows[0])
    pages(endpoints)
    _next_commands()


def _leaderboard(rows: Iterable[Mapping[str, Any]], limit: int | None = None) -> None:
    from models.evaluation.comparison.leaderboard_tables import tables

    for title, lines in list(tables(rows).items())[:limit]:
        table(title, lines, {name: name for name in lines[0]})


def _review_summary(review: Mapping[str, Any]) -> None:
    """Print a review; only the first table for models that `train` has printed already."""
    _review(review, tables=None if review["trained"] else 1)


def _review(review: Mapping[str, Any], tables: int | None = None) -> None:
    """Print the checks and the verdict, then all tables or the first ones."""
    from models.gate.results import stored_outcome

    for check in review["gate"]:
        result_ = stored_outcome(check)
        line(f"{result_.mark} {check['name']}: {result_.heading}{check['detail']}")
    line(f"Version {review['model_version']}: {review['status']}.")
    if review.get("report"):
        line(f"Its report: {review['report']}", wrap=False)
    _leaderboard(review["ladder"], tables)


def _folds(models: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    from models.evaluation.diagnostics.cross_validation import folds_table, folds_title

    lines = folds_table(models)
    table(folds_title(models), lines, {name: name for name in lines[0]})


def _search(results: Sequence[Mapping[str, Any]]) -> None:
    from models.tuning.study_config import search_notes, search_table

    lines = search_table(results)
    table("Best settings found", lines, {name: name for name in lines[0]})
    for note in search_notes(results):
        line(note)
    for row in results:
        line(f"{row['model']}: all trials are in {row['page']}", wrap=False)


def _retrain(value: Mapping[str, Any]) -> None:
    for model, reason in value["due"].items():
        line(f"A search of {model} was due: {reason}. {value['searches'][model]}")
    if value["review"]:
        _review(value["review"])
    line(value["says"], wrap=False)
    if value["batches"]:
        _batches(value["batches"])


def _batches(batches: Sequence[Mapping[str, Any]]) -> None:
    """Print the published batches, the reasons for short lists, and remarks on the rules of placements."""
    names = {"placement": "placement", "batch_id": "batch", "model_version": "version", "users": "lists"}
    names |= {
        "recommendations": "entries",
        "coverage": "coverage",
        "kept_from_before": "kept",
        "status": "status",
    }
    table("Published lists", [{**batch, **batch["summary"]} for batch in batches], names)
    for batch in batches:
        for why, count in batch["summary"].get("short", {}).items():
            line(f"{batch['placement']}: {count:,} lists are shorter than asked for; {why}.")
        for note in batch["summary"].get("notes", []):
            line(f"{batch['placement']}: {note}")


def _audit(report: Mapping[str, Any]) -> None:
    """Print the groups without their intervals, the verdict, and the address of the whole report."""
    if report["groups"]:
        title = f"Served lists of {report['placement']}, {report['window']}"
        rows = [{name: str(cell).split(" (")[0] for name, cell in row.items()} for row in report["groups"]]
        table(title, rows, {name: name for name in rows[0]})
    line(f"{report['status']}: {report['verdict']}" if report["groups"] else report["verdict"])
    if report.get("page"):
        line(f"The whole audit: {report['page']}", wrap=False)


_SERVER = ("reachable", "not reachable")
_PROCESS = ("runs", "does not run")
_STARTERS = ("worker", "reconciler")
_MOMENTS = {"requested_at": "asked", "expires_at": "expires"}


def status(report: Mapping[str, Any]) -> None:
    """Print the state of the installation, one line per part."""
    for name, up in report["services"].items():
        running, stopped = _PROCESS if name in _STARTERS else _SERVER
        line(f"{'●' if up else '○'} {name}: {running if up else stopped}")
    if not report["services"]["postgres"]:
        _inbox({}, report.get("spool") or {})
        line("The rest is in PostgreSQL, which does not run. Next: tailorbird up")
        return
    if not all(report["services"].get(name, True) for name in _STARTERS):
        line("Schedules and requests do not start now. Run `tailorbird up`: it starts what is missing.")
    _summary("ledger", report["ledger"])
    _unfinished_work(report)
    _inbox(report.get("inbox") or {}, report.get("spool") or {})
    for name in ("champion", "challenger"):
        _summary(name, report[name])
    if report["champion"]:
        figures = report["champion"]["metrics"]
        line("  " + ", ".join(f"{label} {formatted(figures.get(name))}" for name, label in _FIGURES.items()))
    for placement in report["placements"]:
        line(_placement(placement))
    for run in report.get("running") or ():
        line(f"runs now: {run}")
    for process, keys in (report.get("outdated") or {}).items():
        line(f"The {process} uses other values of {', '.join(keys)} until the next `tailorbird up`.", "yellow")
    if report.get("next"):
        next_step(Step(**report["next"]))


def _inbox(inbox: Mapping[str, Any], spool: Mapping[str, Any]) -> None:
    """Print the messages of applications that wait in PostgreSQL or on disk, and those that were refused."""
    if inbox.get("waiting"):
        line(
            f"  {batch_screen.counted(inbox['waiting'])} in the inbox, the oldest for {inbox['oldest_seconds']:,.0f} s"
        )
    if inbox.get("refused"):
        line(f"  {inbox['refused']:,} messages of refused batches stay in the inbox.", "yellow")
    if spool.get("messages"):
        line(f"  {spool['messages']:,} messages wait on disk until the API reaches PostgreSQL.", "yellow")
    lost = {name: spool[name] for name in ("dropped", "refused") if spool.get(name)}
    if lost:
        line(f"  Of the spool on disk: {', '.join(f'{count:,} {name}' for name, count in lost.items())}.", "yellow")


def _summary(name: str, value: Mapping[str, Any] | None) -> None:
    """Print the figures of one part in a line."""
    shown = {_MOMENTS.get(key, key): _short(key, entry) for key, entry in (value or {}).items() if key != "metrics"}
    line(f"{name}: {', '.join(map(' '.join, shown.items())) or 'none yet'}")


def _unfinished_work(report: Mapping[str, Any]) -> None:
    """Print the rows in quarantine and the unfinished batches, with the next command."""
    if report.get("waiting"):
        line(f"  {batch_screen.counted(report['waiting'])} in quarantine now: tailorbird quarantine list")
    cut_short: dict[str, list[str]] = {}
    for batch in report.get("unfinished") or ():
        name, undone = f"{batch['file']} ({batch['batch_id']})", batch["status"] == "undoing"
        if batch["active"]:
            line(f"  {name} is {'being undone' if undone else 'coming in'} now and counts nowhere yet.")
        elif undone:
            again = f"tailorbird ledger undo {batch['batch_id']}"
            line(f"  The undo of {name} was cut short; nothing of it counts. Next: {again}", "yellow")
        else:
            cut_short.setdefault(batch["source"], []).append(batch["file"])
    for source, files in cut_short.items():
        count = "1 file" if len(files) == 1 else f"{len(files):,} files"
        line(f"  cut short: the ingest of {count} of {source}: {some_names(files)}.", "yellow")


def _short(name: str, value: Any) -> str:
    """Return a value in readable form; times to the minute."""
    return f"{value[:16].replace('T', ' ')} UTC" if name in _MOMENTS else formatted(value)


def next_step(step: Step, *, brief: bool = False) -> None:
    """Print the situation, unless it was just printed (`brief`), and the next command."""
    line()
    if not brief or step.stage is Stage.UNDER_WAY:
        line(step.situation)
    line(f"Next: {step.command}", "bold", wrap=False)
    if step.also:
        line(step.also, "dim")


def _placement(row: Mapping[str, Any]) -> str:
    summary = f"{row['placement']}: {row.get('state', 'not known whether fresh')}"
    if row.get("batch_id") is None:
        return summary
    summary += f", batch {row['batch_id']}, version {row['model_version']}, {row['lists']:,} lists"
    lacking = lacking_words(row)
    summary += f" ({lacking})" if lacking and lacking not in summary else ""
    return f"{summary}; rolled back by {row['moved_by']}" if row["moved_by"] else summary


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
    "ledger_batches": ledger.batches,
    "quarantine": ledger.waiting,
    "rows": ledger.waiting_rows,
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


def _drift(value: Mapping[str, Any]) -> None:
    """Print the calibration, the latest windows, and the reasons of the newest decision."""
    usual, windows = value["usual"], value["windows"]
    if usual is None:
        line(value["note"] or "There is no calibration yet: `tailorbird monitor` makes one.")
        return
    length, until = usual["window_days"], usual["reference_to"][:10]
    if not windows:
        line(f"Nothing to judge yet: no window of {length} days is over since {until}.")
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


def result(kind: str, value: Any) -> None:
    """Print the result of a single command."""
    if kind in _RESULTS:
        _RESULTS[kind](value)
    elif kind == "validation":
        _folds(value["models"])
    elif kind == "runs":
        _leaderboard(value["ladder"])
        command = f"tailorbird review{options(row['model'] for row in value['ladder'])}"
        line(f"{len(value['runs'])} runs in MLflow; compare them with `{command}`.")
    else:
        for row in value if isinstance(value, list) else [value]:
            line(", ".join(f"{name}: {text}" for name, text in row.items() if text is not None))


_RESULTS: dict[str, Callable[[Any], None]] = {
    "ledger": print_ingested,
    "review": _review_summary,
    "batches": _batches,
    "search": _search,
    "retrain": _retrain,
    "audit": _audit,
    "drift": _drift,
    "dataset": dataset,
    "ledger_entry": batch_screen.entry,
    "undo_preview": ledger.preview,
    "undo": ledger.undone,
    "decision": decision,
    "rollback": rollback,
}
