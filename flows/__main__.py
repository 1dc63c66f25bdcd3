"""The command line. It imports late: `status` and `recommend` answer without Prefect, MLflow or pandas."""

import json
import os
import sys
from getpass import getuser
from typing import Annotated, Any, NoReturn

import typer

from models.errors import TailorbirdError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
quarantine_app = typer.Typer(no_args_is_help=True, help="Rows that broke a rule, and wait.")
app.add_typer(quarantine_app, name="quarantine")

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Mapping = Annotated[str, typer.Option(help="A mapping that comes with Tailorbird, or the path of a .toml file.")]
Location = Annotated[str | None, typer.Option(help="Folder of the files, where it differs from the mapping's.")]
Version = Annotated[str | None, typer.Option("--dataset", help="A data set's name; by default the newest.")]


@app.command()
def demo(
    approve: Annotated[bool, typer.Option("--approve", help="Say yes to the challenger; recorded as such.")] = False,
    mapping: Mapping = "complete_journey",
    location: Location = None,
) -> None:
    """Start everything and take real shopping data the whole way to recommendations in Postgres."""
    from serving import screen

    endpoints = _start()
    run = _flow("demo")
    outcome = run(approve=approve, mapping=mapping, location=location)
    screen.outcome(outcome, endpoints)


@app.command()
def up(foreground: Annotated[bool, typer.Option(help="Stay, and stop everything on Ctrl-C.")] = False) -> None:
    """Start PostgreSQL, Prefect, MLflow and a worker, on this machine only."""
    from serving import screen

    screen.pages(_start())
    if foreground:
        _wait()
        down()


@app.command()
def down() -> None:
    """Stop what `up` started."""
    from infra import services
    from infra.settings import load

    services.stop(load(), _say)


@app.command()
def status(as_json: Json = False) -> None:
    """Ledger, champion, challenger, live batch, services."""
    from infra.services import reachable
    from infra.settings import load
    from serving import screen

    services = reachable(load())
    found: dict[str, Any] = dict.fromkeys(("ledger", "champion", "challenger", "batch"))
    if services["postgres"]:
        from serving.status import status as look

        found = look(_database())
    found["services"] = services
    print(json.dumps(found)) if as_json else screen.status(found)


@app.command()
def recommend(user: str, placement: str = "home", as_json: Json = False) -> None:
    """One user's recommendations, by the id that your own systems use."""
    from serving import screen
    from serving.shelf import shelf

    rows = shelf(_database(), user, placement)
    print(json.dumps(rows)) if as_json else screen.shelf(user, rows)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context) -> None:
    """PostgreSQL's own client on the installation's database; arguments go on to it, as in `psql -c "SELECT 1"`."""
    from infra.endpoints import database_url
    from infra.psql import run
    from infra.settings import load

    sys.exit(run(database_url(load()), context.args))


@app.command()
def logins() -> None:
    """User and password of the Prefect and MLflow pages."""
    from infra import services
    from infra.settings import load

    endpoints = services.endpoints(load())
    for page, login in (("Prefect", endpoints.prefect_login), ("MLflow", endpoints.mlflow_login)):
        said = login if isinstance(login, str) else login and ":".join(login)
        print(f"{page}: {said or 'not ours; use your own login'}")


@app.command()
def ingest(
    source: Annotated[str, typer.Argument(help="A mapping that comes with Tailorbird, or a .toml file.")],
    paths: Annotated[list[str] | None, typer.Argument(help="Files, folders or patterns of a Segment export.")] = None,
    location: Location = None,
    as_json: Json = False,
) -> None:
    """Take a source in: tables of a mapping (`complete_journey`), or a Segment export (`segment PATH…`)."""
    _finish("ledger", _flow("ingest")(source, location, paths), as_json)


@app.command()
def ledger(as_json: Json = False) -> None:
    """The newest batches, and what became of their rows."""
    from serving import books

    _shown("books", books.ledger(_database()), as_json)


@quarantine_app.command("list")
def quarantine_list(as_json: Json = False) -> None:
    """How many rows wait in quarantine, by batch and rule."""
    from serving import books

    _shown("quarantine", books.quarantined(_database()), as_json)


@quarantine_app.command("show")
def quarantine_show(
    batch: str,
    rule: Annotated[str | None, typer.Option(help="Only rows that broke this rule.")] = None,
    limit: int = 20,
    as_json: Json = False,
) -> None:
    """Rows of a batch that wait in quarantine, and the rules that they broke."""
    from serving import books

    _shown("rows", books.quarantined_rows(_database(), batch, rule, limit), as_json)


@quarantine_app.command("replay")
def quarantine_replay(
    batch: str,
    accept_unknown_items: Annotated[bool, typer.Option(help="Take events on items that no catalogue names.")] = False,
    as_json: Json = False,
) -> None:
    """Try the quarantined events of a batch again, after a rule or the catalogue was mended."""
    _finish("ledger", [_flow("replay")(batch, accept_unknown_items)], as_json)


@app.command()
def features(
    as_of: Annotated[str | None, typer.Option(help="The day it ends before, as 2017-12-31.")] = None,
    validation_days: int = 30,
    test_days: int = 31,
    as_json: Json = False,
) -> None:
    """Build the data set that models learn from."""
    day = _day(as_of)
    _finish("dataset", _flow("features")(day, validation_days, test_days), as_json)


@app.command()
def search(
    dataset: Version = None,
    model: Annotated[list[str] | None, typer.Option(help="Search this model; may be given several times.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Settings to try per model.")] = None,
    as_json: Json = False,
) -> None:
    """Search the best settings of models on the validation weeks."""
    run = _flow("search")
    from flows.search import TRIALS

    budget = {kind: trials or TRIALS.get(kind, 6) for kind in model or TRIALS}
    _finish("search", run(dataset, budget), as_json)


@app.command()
def train(
    dataset: Version = None,
    model: Annotated[list[str] | None, typer.Option(help="Train this model; may be given several times.")] = None,
    as_json: Json = False,
) -> None:
    """Train models, each a run in MLflow."""
    run = _flow("train")
    from flows.train import MODELS

    _finish("runs", run(dataset, model or MODELS), as_json)


@app.command()
def review(dataset: Version = None, as_json: Json = False) -> None:
    """Compare the models; the best becomes the challenger if it passes the gate."""
    _finish("review", _flow("review")(dataset), as_json)


@app.command()
def decide(
    approve: Annotated[bool, typer.Option("--approve/--reject", help="Yes or no.")],
    reason: Annotated[str, typer.Option(help="Why; it is written down.")],
    reviewer: Annotated[str, typer.Option(default_factory=getuser, help="Who decides; it is written down.")],
    version: Annotated[int | None, typer.Option(help="The version in MLflow; by default the newest reviewed.")] = None,
    as_json: Json = False,
) -> None:
    """Approve or reject the challenger."""
    _finish("decision", _flow("decide")(approve, reviewer, reason, version), as_json)


@app.command()
def score(placement: str = "home", k: Annotated[int, typer.Option(min=1)] = 20, as_json: Json = False) -> None:
    """Score every user by the champion and publish the lists."""
    _finish("batch", _flow("score")(placement, k), as_json)


def _database() -> Any:
    """Tailorbird's database, without asking whether the other services run."""
    from infra.database import engine
    from infra.endpoints import database_url
    from infra.settings import load

    return engine(database_url(load()))


def _shown(kind: str, rows: list[dict[str, Any]], as_json: bool) -> None:
    from serving import screen

    print(json.dumps(rows, default=str)) if as_json else screen.books(kind, rows)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _start() -> Any:
    from infra import services
    from infra.settings import load

    endpoints = services.start(load(), _say)
    services.export(endpoints)
    return endpoints


def _flow(name: str) -> Any:
    """The flow of that name, with this process connected to the services that run."""
    from importlib import import_module

    from infra import services
    from infra.settings import load

    settings = load()
    services.export(services.endpoints(settings))
    down = [name for name, up in services.reachable(settings).items() if not up]
    if down:
        raise TailorbirdError(f"Not reachable: {', '.join(down)}. Start the services with: tailorbird up")
    # Errors are told once, by `main`; the run's page has them all.
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    return getattr(import_module(f"flows.{name}"), name)


def _finish(kind: str, result: Any, as_json: bool) -> None:
    from serving import screen

    print(json.dumps(result, default=str)) if as_json else screen.result(kind, result)


def _day(text: str | None) -> Any:
    from datetime import date

    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise TailorbirdError(f"{text!r} is not a day; write it as 2017-12-31.") from None


def _wait() -> None:
    import signal

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        signal.pause()
    except KeyboardInterrupt:
        _say("")


def main() -> NoReturn:
    """Run a command; a mistake or an outage that a person can mend is told without a traceback."""
    try:
        app()
    except TailorbirdError as error:
        _say(f"tailorbird: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        _say("tailorbird: stopped; the same command goes on from here.")
        sys.exit(130)
    except Exception as error:
        from infra.outages import explain

        reason = explain(error)
        if reason is None:
            raise
        _say(f"tailorbird: {reason}")
        sys.exit(1)
    sys.exit(0)


if __name__ == "__main__":
    main()
