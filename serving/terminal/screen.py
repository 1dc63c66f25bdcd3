"""Prints the results of commands."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from shutil import which
from typing import TYPE_CHECKING, Any

from models.recommenders.kinds import options
from serving.shop.config import PORT
from serving.terminal.console import line, table
from serving.terminal.dataset import dataset
from serving.terminal.decisions import decision, rollback
from serving.terminal.ledger import batch, batches, quarantine
from serving.terminal.ledger.ingested import print_ingested
from serving.terminal.monitoring import print_audit, print_drift
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
