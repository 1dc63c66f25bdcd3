"""Prints the results of commands: each kind as a table of its rows, or by a function of its own."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from shutil import which
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError
from urllib.parse import quote

from infra.services.http_client import request_json
from serving.shop.config import PORT
from serving.terminal import ledger, mapping_check, training
from serving.terminal.console import line, table
from serving.terminal.recommendations import print_user_list
from serving.terminal.status import print_status

if TYPE_CHECKING:
    from infra.database.engine import Engine
    from infra.services.endpoints import Endpoints

_ANSWER: Final = {"rank": "#", "item_id": "item", "title": "product", "reason": "reason"}
_PATIENCE: Final = 20.0
"""Seconds in which a server notices a new champion and its lists, with a margin."""
TABLES: Final[dict[str, tuple[str, str]]] = {
    "experiments": ("Experiments", "name state placements variants layer metric started ends stopped_by stop_reason"),
    "api_keys": ("API keys", "key_id name scopes requests_per_second state last_used_at expires_at revoked_at"),
    "dead_letters": ("Dead letters", "letter_id source reason detail times first_at replayed_at"),
    "replayed_letters": ("Replayed letters", "letter_id source outcome"),
    "keys": ("Keys", "kind generation fingerprint state since actor reason"),
    "privacy_requests": ("Requests of people", "request_id kind state late users actor reason asked_at due_at done_at"),
    "privacy_export": ("The stored data of the user", "part rows"),
    "privacy_retention": ("Data whose period has ended", "store rows bytes"),
    "privacy_places": ("Places that name the user, or were not searched", "place rows about"),
    "lake": ("The lake's events by month", "month files rows bytes"),
    "doctor": ("The installation", "part state finding fix"),
    "backups": ("Backups", "name files bytes lsn version left_out"),
    "backup_faults": ("Missing or changed files", "fault"),
    "test_alerts": ("Test alerts", "receiver error"),
    "schedules": ("Schedules", "slug deployment cron zone set_by parameters next_run active"),
}
"""The title and the columns of each kind of rows."""
_RESULTS: Final[dict[str, Callable[[Any], None]]] = {
    "status": print_status,
    "check": mapping_check.checked,
    "ledger": ledger.print_ingested,
    "ledger_batches": ledger.print_batches,
    "ledger_entry": ledger.entry,
    "undo_preview": ledger.preview,
    "undo": ledger.undone,
    "quarantine": ledger.waiting,
    "rows": ledger.waiting_rows,
    "dataset": training.print_dataset,
    "search": training.print_search,
    "runs": training.print_runs,
    "validation": lambda value: training.print_folds(value["models"]),
    "review": training.print_review_summary,
    "decision": training.print_decision,
    "rollback": training.print_rollback,
    "retrain": training.print_retrain,
    "batches": training.print_batches,
    "audit": training.print_audit,
    "backtest": training.print_backtest,
    "readout": training.print_readout,
    "drift": training.print_drift,
}


def show(kind: str, value: Any) -> None:
    """Print the result of a command: what `--json` has, for people."""
    if kind in _RESULTS:
        _RESULTS[kind](value)
    elif kind in TABLES and value:
        title, columns = TABLES[kind]
        table(title, value, columns.split())
    elif kind in TABLES:
        line("Nothing is there.")
    else:
        for row in value if isinstance(value, list) else [value]:
            line(", ".join(f"{name}: {text}" for name, text in row.items() if text is not None))


def print_outcome(result: Mapping[str, Any], endpoints: "Endpoints") -> None:
    """Print the result of a demo: ledger, leaderboard, batches, one user's list, and the next commands."""
    from infra.database.engine import engine
    from serving.queries.user_recommendations import example_users, user_list

    ledger.print_ingested(result["ledger"])
    training.print_review(result["review"])
    if result["batches"]:
        training.print_batches(result["batches"])
        database = engine(endpoints.database_url)
        for user in example_users(database):
            rows = user_list(database, user)[:10]
            print_user_list(user, rows)
            if endpoints.api_page and rows:
                _api_answers(database, endpoints.api_page, user, rows[0])
    print_pages(endpoints)
    _next_commands()


def _api_answers(database: "Engine", address: str, user: str, in_basket: Mapping[str, Any]) -> None:
    """Print the list of a user, and that of a visitor with one item in the basket. The key is valid for a day."""
    from infra.keys.recorded_api_keys import NewKey, create_key

    key = create_key(database, NewKey("demo", ["read"], valid_for=timedelta(days=1)), "demo")["key"]
    headers = {"Authorization": f"Bearer {key}"}
    household = f"/v1/users/{quote(user, safe='')}/recommendations?k=3"
    visitor = f"/v1/recommendations?k=3&context={quote(in_basket['item_id'], safe='')}"
    if not _published(f"{address}{household}", headers):
        line(f"The API at {address} does not answer from the new lists yet; its log is log/api.log in `var`.", "yellow")
        return
    basket = in_basket["title"] or in_basket["item_id"]
    for title, path in ((f"The API for {user}", household), (f"The API for a visitor with: {basket}", visitor)):
        answer = request_json("GET", f"{address}{path}", headers)
        table(f"{title} (source: {answer['source']})", answer["items"], _ANSWER)
    line(f"curl -H 'Authorization: Bearer {key}' '{address}{visitor}'", wrap=False)


def _published(url: str, headers: Mapping[str, str]) -> bool:
    """Return whether the server answers from published lists, which it may take seconds to notice."""
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        try:
            answer = request_json("GET", url, headers, seconds=5)
            if answer and answer["batch_id"] is not None:
                return True
        except (HTTPError, OSError):
            pass  # it starts, or does not know the key yet
        time.sleep(0.2)
    return False


def print_pages(endpoints: "Endpoints") -> None:
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
