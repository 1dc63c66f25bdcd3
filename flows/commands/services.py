"""Commands of the installation: start it, stop it, show its state, change its schedules."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands import running
from flows.commands.modelling import Models, kind_names
from flows.commands.running import Json
from models.primitives.json_types import JsonObject

if TYPE_CHECKING:
    from serving.queries.explain import Lookups

app = running.group()
alerts = running.group("Receivers of alerts.")
schedules = running.group("Schedules: built-in ones and your own.")

Mapping = Annotated[str, typer.Option(help="A mapping that comes with Tailorbird, or the path of a .toml file.")]
_LOOK_SECONDS = 5.0
Location = Annotated[str | None, typer.Option(help="The folder of the files, if it is not that of the mapping.")]
Slug = Annotated[str, typer.Argument(help="The schedule's name, as `tailorbird schedules list` shows it.")]


@app.command()
def demo(
    approve: Annotated[
        bool, typer.Option("--approve", help="Approve the challenger; the record names this option.")
    ] = False,
    mapping: Mapping = "complete_journey",
    location: Location = None,
    model: Models = None,
) -> None:
    """Start all services and turn real shopping data into recommendations in Postgres, step by step."""
    from serving.terminal import screen

    endpoints = running.start(demo=True)
    run = running.flow("demo")
    outcome = run(approve=approve, mapping=mapping, location=location, models=kind_names(model))
    screen.print_outcome(outcome, endpoints)
    running.print_next_step()


@app.command()
def up(
    foreground: Annotated[bool, typer.Option(help="Stay in the foreground, and stop everything on Ctrl-C.")] = False,
    stores_only: Annotated[
        bool, typer.Option("--stores-only", help="Start only what commands need: PostgreSQL, Prefect and MLflow.")
    ] = False,
) -> None:
    """Start PostgreSQL, Prefect, MLflow, Data Docs, the API and a worker, on this machine only.

    The supervisor starts each of them again that ends without `down`.
    """
    from serving.terminal import screen

    screen.print_pages(running.start(stores_only=stores_only))
    running.print_next_step()
    if foreground and _wait():
        down(force=True)


@app.command()
def down(force: Annotated[bool, typer.Option("--force", help="Do not ask, even if work still runs.")] = False) -> None:
    """Stop everything that `up` started. It lists running commands and runs; on a terminal it asks first."""
    from infra.supervisor import startup as services

    settings = running.current_settings()
    if lines := services.under_way(settings):
        running.print_message("\n".join(["These still run, and end now:", *(f"  {line}" for line in lines)]))
        if sys.stdin.isatty() and not force:
            running.confirm("Stop all the same? Nothing is lost: the same commands go on later.", "")
    services.stop(settings, running.print_message)


@app.command()
def status(as_json: Json = False) -> None:
    """Show the services, the ledger, champion, challenger and live lists, and the next command."""
    from infra.overview.settings_shown import outdated
    from infra.supervisor.probes import reachable, running_clients
    from infra.supervisor.startup import under_way
    from models.errors import TailorbirdError
    from serving.events.spool import FOLDER, Spool

    settings = running.current_settings()
    services, mistake = reachable(settings), None
    report: JsonObject = dict.fromkeys(("ledger", "champion", "challenger", "batch", "placements", "next"))
    if services["postgres"]:
        from infra.overview import situation
        from serving.queries.freshness import judged
        from serving.queries.status import sizes
        from serving.queries.status import status as read_status

        database = running.database("serving")
        stored = read_status(database)
        with database.connect() as connection:
            report = stored | {"sizes": sizes(connection, settings.var)}
        report["next"] = asdict(situation.step(database, settings))
        try:
            champion = stored["champion"]["version"] if stored["champion"] else None
            report["placements"] = judged(stored["placements"], settings, champion)
        except TailorbirdError as error:  # the rest is printed first
            mistake = error
    report["spool"] = Spool(settings.var / FOLDER, 0).state()
    report["services"] = services | running_clients(settings)
    report["running"], report["outdated"] = under_way(settings) if services["postgres"] else [], outdated(settings)
    running.finish("status", report, as_json)
    if mistake:
        raise mistake


@app.command()
def doctor(as_json: Json = False) -> None:
    """Examine packages, settings, disks, keys, services, schema, clock and schedules. It changes nothing.

    Each finding has the command or action that fixes it. The exit code is 1 if there is a fault.
    """
    from infra.overview.doctor import examine

    findings = [*map(asdict, examine(running.current_settings()))]
    running.finish("doctor", findings, as_json)
    if any(finding["state"] == "fault" for finding in findings):
        raise typer.Exit(1)


@app.command()
def recommend(
    user: str,
    placement: str = "home",
    k: Annotated[
        int | None, typer.Option("--k", "-k", min=1, max=1000, help="How many items to show; by default all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show one user's recommendations, by the id that your own systems use."""
    from serving.queries.user_recommendations import user_list, why_empty
    from serving.terminal import recommendations

    rows = user_list(running.database("reader"), user, placement)[:k]
    why = "" if rows else why_empty(running.database("serving"), running.current_settings(), user, placement)
    print(json.dumps(rows)) if as_json else recommendations.print_user_list(user, rows, why, _note(placement))


@app.command()
def export(
    placement: Annotated[str, typer.Argument(help="The placement, such as email.")],
    to: Annotated[Path, typer.Option(help="The file, which ends with .csv or .parquet.")],
    as_json: Json = False,
) -> None:
    """Write a placement's published lists into a file, by your own ids, for e-mail tools and others.

    Users without consent and items that are not sold now are left out.
    """
    from serving.queries.export_lists import export_lists

    running.finish("export", export_lists(running.database("serving"), placement, to), as_json)


@app.command("goes-with")
def goes_with(
    items: Annotated[list[str], typer.Argument(help="A product, or all products of a basket.")],
    user: Annotated[str | None, typer.Option(help="Rank the items for this user.")] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, max=1000, help="How many items to show.")] = 10,
    as_json: Json = False,
) -> None:
    """Show the items that go well with a product or a basket, by your own ids."""
    from serving.queries.basket_recommendations import PLACEMENT, UnknownProductError, basket_recommendations
    from serving.queries.user_recommendations import require_published
    from serving.terminal import recommendations

    # Only the serving role reads consent and the champion.
    try:
        rows = basket_recommendations(running.database("serving" if user else "reader"), items, user, k)
    except UnknownProductError:
        require_published(running.database("serving"), running.current_settings(), PLACEMENT, "item")
        raise
    if not rows:
        require_published(running.database("serving"), running.current_settings(), PLACEMENT, "item")
    print(json.dumps(rows)) if as_json else recommendations.print_basket_recommendations(rows, user, _note(PLACEMENT))


@app.command()
def explain(user: str, item: str, placement: str = "home", as_json: Json = False) -> None:
    """Explain the place of an item on a user's list, or why it is not on the list. Both by your own ids."""
    from serving.queries.explain import explain as explained
    from serving.terminal import recommendations

    explanation = explained(running.database("serving"), user, item, placement, _lookups)
    if as_json:
        print(json.dumps(explanation))
    else:
        recommendations.explanation(explanation, note=_note(placement))


def _note(placement: str) -> str:
    """Return a note that a placement is no longer configured, with the time of its lists; empty for others."""
    from serving.queries.freshness import unconfigured_note

    return unconfigured_note(running.database("reader"), running.current_settings(), placement)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(
    context: typer.Context,
    role: Annotated[running.Login, typer.Option("--as", help="The database role to connect as.")] = "operator",
) -> None:
    """Open PostgreSQL's own client on the installation's database. Arguments are passed on: `psql -c "SELECT 1"`."""
    from infra.services.database_access.logins import address
    from infra.services.postgres_user import run

    sys.exit(run(address(running.current_settings(), role), context.args))


@app.command()
def logins(
    every: Annotated[bool, typer.Option("--all", help="Show all database roles, not only the reader.")] = False,
) -> None:
    """Show the logins of Prefect, MLflow, Data Docs and the page for operators, and the database login for readers."""
    from infra.services.database_access import logins as known
    from infra.services.endpoints import endpoints

    settings = running.current_settings()
    now = endpoints(settings)
    pages = (*known.of_pages(now), *known.of_operators(settings, now))
    for line in (*pages, *known.shown(settings, every=every)):
        print(line)


@app.command()
def verify(
    model: Annotated[
        str | None,
        typer.Argument(help="A folder, models:/tailorbird/3 or models:/tailorbird@champion. By default the champion."),
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Put a verified copy into this folder.")] = None,
    digest: Annotated[str | None, typer.Option(help="Accept only the manifest with this sha256.")] = None,
) -> None:
    """Verify every file of a model, and print the path of a folder that no other user can change, for serving."""
    from infra.registry.verified_models import verified_copy, verified_folder

    if model is not None and model.startswith("models:/"):
        print(verified_copy(model, to, digest))
        return
    if model is None:
        from infra.bundles.promoted import copied, verify_promoted
        from infra.configuration.settings import load
        from infra.overview.situation import require_champion

        promoted = require_champion(running.database("serving"), load())
        verify_promoted(promoted)
        model, digest = str(copied(promoted)), digest or promoted["digest"]
    print(verified_folder(Path(model), to, digest))


@app.command("signing-key")
def signing_key() -> None:
    """Print the public key of this installation's bundles: TAILORBIRD_SIGNING_PUBLIC_KEY of hosts that only serve."""
    from infra.keys.credentials import public_key

    print(public_key(running.current_settings()))


@alerts.command("test")
def alerts_test(as_json: Json = False) -> None:
    """Send a test alert to every receiver, and show which of them failed."""
    running.connect("postgres", "mlflow")
    from models.errors import TailorbirdError
    from tasks.orchestration.send_test_alerts import send_test_alerts

    results = send_test_alerts(running.current_settings())
    rows = [{"receiver": name, "error": error} for name, error in results.items()]
    running.finish("test_alerts", rows, as_json)
    if failed := [name for name, error in results.items() if error]:
        raise TailorbirdError(f"No alert reached {', '.join(failed)}. Correct `alerts`, and run `tailorbird up` again.")


@schedules.command("list")
def schedules_list(as_json: Json = False) -> None:
    """Show every schedule with its deployment, times, parameters and next run."""
    _listed(as_json)


@schedules.command()
def pause(slug: Slug, as_json: Json = False) -> None:
    """Keep a schedule, but start no runs until it is resumed."""
    _change("pause", slug, as_json)


@schedules.command()
def resume(slug: Slug, as_json: Json = False) -> None:
    """Start runs of a paused schedule again. The runs that it missed are not made up for."""
    _change("resume", slug, as_json)


@schedules.command()
def remove(slug: Slug, as_json: Json = False) -> None:
    """Delete a schedule.

    The next change brings a built-in one back: pause it, or change its time in tailorbird.toml.
    """
    _change("remove", slug, as_json)


def _lookups() -> "Lookups | None":
    """Return the reader of events for single answers; few answers need its heavy imports."""
    from tasks.scoring.single_user import available_lookups

    return available_lookups()


def _wait() -> bool:
    """Return True on a signal, and False after a `down` elsewhere; meanwhile start the supervisor again if it ends."""
    import signal
    import time

    from infra.services import state_file

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while (
            known := state_file.load(running.current_settings().var).get("supervisor")
        ) and known.running is not None:
            if not known.alive:
                running.start()
            time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        running.print_message("")
        return True
    return False


def _change(action: str, slug: str, as_json: bool) -> None:
    from infra.prefect_api import schedules as stored

    running.connect()
    getattr(stored, action)(slug)
    _listed(as_json)


def _listed(as_json: bool) -> None:
    from infra.prefect_api import schedules as stored

    running.connect()
    running.finish("schedules", [asdict(row) for row in stored.list_schedules()], as_json)
