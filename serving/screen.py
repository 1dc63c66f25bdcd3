"""What a person sees in the terminal."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from shutil import which
from typing import Any

from rich.console import Console
from rich.table import Table

_console = Console(width=None if sys.stdout.isatty() else 120)
_FIGURES = {
    "ndcg_at_10": "NDCG@10",
    "recall_at_10": "recall@10",
    "hit_rate_at_10": "hit rate@10",
    "new_ndcg_at_10": "NDCG@10, new items",
    "coverage_at_10": "coverage",
}
_LEDGER = ("dataset", "read", "accepted", "quarantined", "duplicate", "suppressed", "routed", "status")


def outcome(result: Mapping[str, Any], endpoints: Any) -> None:
    """The end of a demo: models against each other, ledger, batch, one shelf, and what to look at next."""
    from infra.database import engine
    from serving.shelf import shelf as look
    from serving.shelf import somebody

    _ledger(result["ledger"])
    _review(result["review"])
    if result["batches"]:
        _batches(result["batches"])
        database = engine(endpoints.database_url)
        user = somebody(database)
        if user:
            shelf(user, look(database, user)[:10])
    pages(endpoints)
    _next(result)


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)


def _table(title: str, rows: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    for label in names.values():
        table.add_column(label, overflow="fold")
    for row in rows:
        table.add_row(*(_number(row.get(name)) for name in names))
    _console.print(table)


def _ledger(batches: Iterable[Mapping[str, Any]]) -> None:
    rows = [{**batch, "file": str(batch.get("file", "")).rpartition("/")[2]} for batch in batches]
    names = _LEDGER if len({row["dataset"] for row in rows}) == len(rows) else ("file", *_LEDGER)
    _table("What became of every row", rows, dict(zip(names, names, strict=True)))
    for consent in sorted({row["consent"] for row in rows}):
        _console.print(f"consent: {consent}", style="dim")


def _ladder(rows: Iterable[Mapping[str, Any]]) -> None:
    from models.evaluation.tables import tables

    for title, table in tables(rows).items():
        _table(title, table, {name: name for name in table[0]})


def _review(review: Mapping[str, Any]) -> None:
    _ladder(review["ladder"])
    for check in review["gate"]:
        _console.print(f"{'✓' if check['passed'] else '✗'} {check['name']}: {check['detail']}")
    _console.print(f"Version {review['model_version']}: {review['status']}.")
    if review.get("report"):
        _console.print(f"Its report: {review['report']}", soft_wrap=True)


def _folds(models: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    from models.evaluation.cross_validation import folds_table, folds_title

    table = folds_table(models)
    _table(folds_title(models), table, {name: name for name in table[0]})


def _search(found: Sequence[Mapping[str, Any]]) -> None:
    from models.search_plan import search_table

    table = search_table(found)
    _table("Best settings found", table, {name: name for name in table[0]})
    for row in found:
        _console.print(f"{row['model']}: all that was tried is in {row['page']}", soft_wrap=True)


def _retrain(value: Mapping[str, Any]) -> None:
    for model, reason in value["due"].items():
        _console.print(f"A search of {model} was due: {reason}.")
    if value["review"]:
        _review(value["review"])
    _console.print(value["says"], soft_wrap=True)
    if value["batches"]:
        _batches(value["batches"])


def _batches(batches: Sequence[Mapping[str, Any]]) -> None:
    """What was published, why lists are shorter than they should be, and what a placement's rules fail to name."""
    names = {"placement": "placement", "batch_id": "batch", "model_version": "version", "users": "lists"}
    names |= {
        "recommendations": "recommendations",
        "coverage": "coverage",
        "kept_from_before": "kept",
        "status": "status",
    }
    _table("Published lists", [{**batch, **batch["summary"]} for batch in batches], names)
    for batch in batches:
        for why, count in batch["summary"].get("short", {}).items():
            _console.print(f"{batch['placement']}: {count:,} lists are shorter than asked for; {why}.")
        for note in batch["summary"].get("notes", []):
            _console.print(f"{batch['placement']}: {note}")


def _audit(found: Mapping[str, Any]) -> None:
    """The groups without their intervals, the verdict, and where the page with everything is."""
    if found["groups"]:
        title = f"What was served at {found['placement']}, {found['window']}"
        rows = [{name: str(said).split(" (")[0] for name, said in row.items()} for row in found["groups"]]
        _table(title, rows, {name: name for name in rows[0]})
    _console.print(f"{found['status']}: {found['verdict']}")
    if found.get("page"):
        _console.print(f"The whole audit: {found['page']}", soft_wrap=True)


def shelf(user: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """One user's recommendations with titles and reasons."""
    if not rows:
        _console.print(f"Nothing is published for {user} here. Run `tailorbird score`, or check the placement's name.")
        return
    _table(f"The shelf of {user}", rows, {"rank": "#", "title": "product", "score": "score", "reason": "reason"})


def together(rows: Sequence[Mapping[str, Any]]) -> None:
    """What goes well with a product or a basket."""
    if not rows:
        _console.print(
            "Nothing is known to go with it: too few baskets have it. Or run `tailorbird score goes-well-with`."
        )
        return
    _table(
        "Goes well with it", rows, {"rank": "#", "item_id": "item", "title": "product", "price": "price", "fit": "fit"}
    )


def explanation(found: Mapping[str, Any], most: int = 12) -> None:
    """Why an item is where it is, and the strongest of what the score is made of."""
    _console.print(f"{found['title'] or found['item']} for {found['user']}: {found['why']}")
    if found.get("reason"):
        _console.print(f"The user is told: {found['reason']}")
    added = [{"feature": name, "adds": value} for name, value in found["contributions"].items()]
    if added:
        title = f"What the score is made of (log-odds, version {found['model_version']})"
        _table(title, added[:most], {"feature": "feature", "adds": "adds"})
        if len(added) > most:
            rest = sum(row["adds"] for row in added[most:])
            _console.print(f"The other {len(added) - most} add {rest:+.4f} together; --json has them all.")


def status(found: Mapping[str, Any]) -> None:
    """Where things stand, one line each."""
    for name, up in found["services"].items():
        _console.print(f"{'●' if up else '○'} {name}: {'reachable' if up else 'not reachable'}")
    if not found["services"]["postgres"]:
        _console.print("Start the services with `tailorbird up` to see the rest.")
        return
    for name in ("ledger", "champion", "challenger"):
        value = found[name]
        said = (
            "none yet" if value is None else ", ".join(f"{k} {_number(v)}" for k, v in value.items() if k != "metrics")
        )
        _console.print(f"{name}: {said}")
    if found["champion"]:
        figures = found["champion"]["metrics"]
        _console.print("  " + ", ".join(f"{label} {_number(figures.get(name))}" for name, label in _FIGURES.items()))
    for shown in found["placements"]:
        _console.print(_placement(shown))


def _placement(shown: Mapping[str, Any]) -> str:
    said = f"{shown['placement']}: {shown.get('state', 'not known whether fresh')}"
    if shown.get("batch_id") is None:
        return said
    said += f", batch {shown['batch_id']}, version {shown['model_version']}, {shown['lists']:,} lists"
    return f"{said}; rolled back by {shown['moved_by']}" if shown["moved_by"] else said


_BOOKS = {
    "books": ("Batches, the newest first", ("batch_id", "status", *_LEDGER[1:-1], "late", "detail")),
    "quarantine": ("Rows that wait in quarantine", ("batch_id", "rule_id", "rows")),
    "rows": ("Rows that wait in quarantine", ("row_number", "rule_ids", "payload")),
    "lake": ("The lake's events by month", ("month", "files", "rows", "bytes")),
    "schedules": (
        "What runs by itself",
        ("slug", "deployment", "cron", "zone", "parameters", "next_run", "active"),
    ),
}


def books(kind: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """The ledger or the quarantine."""
    title, names = _BOOKS[kind]
    if rows:
        _table(title, rows, dict(zip(names, names, strict=True)))
    else:
        _console.print("Nothing is there.")


def pages(endpoints: Any) -> None:
    """Where the pages are, and how to sign in to them."""
    _console.print(f"\nPrefect   {endpoints.prefect_page}", soft_wrap=True)
    _console.print(f"MLflow    {endpoints.mlflow_page}", soft_wrap=True)
    if endpoints.docs_page:
        _console.print(f"Data Docs {endpoints.docs_page}/", soft_wrap=True)
    if endpoints.prefect_login or endpoints.mlflow_login or endpoints.docs_login:
        _console.print(f"Sign in as [bold]tailorbird[/]; `{_program()} logins` shows the passwords.")


def _next(result: Mapping[str, Any]) -> None:
    me = _program()
    _console.print("\nWhat to look at next", style="bold")
    if not result["batches"]:
        version = result["review"]["model_version"]
        _console.print(f"  {me} decide {version} --approve --reason …   then: {me} score")
    _console.print(f"  {me} recommend USER    one user's list, by your own id")
    _console.print(f"  {me} status            ledger, champion, live batch, services")
    _console.print(f"  {me} psql              SQL: SELECT * FROM recommendations_by_user_id WHERE user_id = '1'")
    _console.print(f"  {me} down              stop the services; the data stays in ./var")


def _program() -> str:
    """How this program is called from here."""
    return "tailorbird" if which("tailorbird") else min(os.path.relpath(sys.argv[0]), sys.argv[0], key=len)


def _drift(value: Mapping[str, Any]) -> None:
    """What is usual, the latest windows, and why the newest was decided as it was."""
    usual, windows = value["usual"], value["windows"]
    if usual is None:
        _console.print(value["note"] or "Nothing was learned yet of what is usual: `tailorbird monitor` does it.")
        return
    length, until = usual["window_days"], usual["reference_to"][:10]
    _console.print(
        f"Usual is what {usual['windows']} windows of {length} days up to {until} were like ({usual['reason']}). "
        f"Version {usual['model_version']} is watched."
    )
    if not windows:
        _console.print("No window is over since then.")
        return
    lines = [row | {"days": f"{row['window_from'][:10]} to {row['window_to'][:10]}"} for row in windows]
    lines = [row | {"drivers": ", ".join(row["drivers"])} for row in lines]
    shown = ("days", "verdict", "joint", "joint_limit", "drivers", "decision", "request_id")
    names = {name: name.replace("_", " ") for name in shown}
    _table("Windows, the latest first", lines, names)
    for reason in windows[0]["reasons"]:
        _console.print(reason)
    if windows[0]["page"]:
        _console.print(f"The report: {windows[0]['page']}", soft_wrap=True)


def result(kind: str, value: Any) -> None:
    """What a single command has done."""
    if kind in _RESULTS:
        _RESULTS[kind](value)
    elif kind == "ledger_entry":
        _table("Batch", [{"what": n, "said": str(v)} for n, v in value.items()], {"what": "", "said": ""})
    elif kind == "validation":
        _folds(value["models"])
    elif kind == "runs":
        _ladder(value["ladder"])
        _console.print(f"{len(value['runs'])} runs in MLflow; compare them with `tailorbird review`.")
    else:
        for row in value if isinstance(value, list) else [value]:
            _console.print(", ".join(f"{name}: {text}" for name, text in row.items() if text is not None))


_RESULTS: dict[str, Callable[[Any], None]] = {
    "ledger": _ledger,
    "review": _review,
    "batches": _batches,
    "search": _search,
    "retrain": _retrain,
    "audit": _audit,
    "drift": _drift,
}
