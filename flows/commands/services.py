"""The installation: start it, stop it, look at it."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands import running
from flows.commands.running import Json

app = running.group()

Mapping = Annotated[str, typer.Option(help="A mapping that comes with Tailorbird, or the path of a .toml file.")]
Location = Annotated[str | None, typer.Option(help="Folder of the files, where it differs from the mapping's.")]


@app.command()
def demo(
    approve: Annotated[bool, typer.Option("--approve", help="Say yes to the challenger; recorded as such.")] = False,
    mapping: Mapping = "complete_journey",
    location: Location = None,
) -> None:
    """Start everything and take real shopping data the whole way to recommendations in Postgres."""
    from serving.terminal import screen

    endpoints = running.start(demo=True)
    run = running.flow("demo")
    outcome = run(approve=approve, mapping=mapping, location=location)
    screen.outcome(outcome, endpoints)
    running.print_next_step()


@app.command()
def up(foreground: Annotated[bool, typer.Option(help="Stay, and stop everything on Ctrl-C.")] = False) -> None:
    """Start PostgreSQL, Prefect, MLflow, Data Docs and a worker, on this machine only."""
    from serving.terminal import screen

    screen.pages(running.start())
    running.print_next_step()
    if foreground:
        _wait()
        down(force=True)


@app.command()
def down(force: Annotated[bool, typer.Option("--force", help="Ask nothing, whatever still runs.")] = False) -> None:
    """Stop what `up` started. It names commands and runs that are under way; on a terminal it asks first."""
    from infra.configuration.settings import load
    from infra.supervisor import startup as services

    settings = load()
    if lines := services.under_way(settings):
        running.print_message("\n".join(["These still run, and end now:", *(f"  {line}" for line in lines)]))
        if sys.stdin.isatty() and not force:
            running.confirm("Stop all the same? Nothing is lost: the same commands go on later.", "")
    services.stop(settings, running.print_message)


@app.command()
def status(as_json: Json = False) -> None:
    """Ledger, champion, challenger, live batch, services."""
    from infra.configuration.settings import load
    from infra.overview.settings_shown import outdated
    from infra.supervisor.probes import running_clients
    from infra.supervisor.startup import reachable, under_way
    from models.errors import TailorbirdError
    from serving.terminal import screen

    services, mistake = reachable(load()), None
    found: dict[str, Any] = dict.fromkeys(("ledger", "champion", "challenger", "batch", "placements", "next"))
    if services["postgres"]:
        from infra.overview import situation
        from serving.queries.freshness import judged
        from serving.queries.status import status as look

        found = look(running.database("serving"))
        found["next"] = asdict(situation.step(running.database("serving"), load()))
        try:
            champion = found["champion"] and found["champion"]["version"]
            found["placements"] = judged(found["placements"], load(), champion)
        except TailorbirdError as error:  # all the rest is told first
            mistake = error
    found["services"] = services | running_clients(load())
    found["running"], found["outdated"] = under_way(load()) if services["postgres"] else [], outdated(load())
    print(json.dumps(found)) if as_json else screen.status(found)
    if mistake:
        raise mistake


@app.command()
def recommend(user: str, placement: str = "home", as_json: Json = False) -> None:
    """One user's recommendations, by the id that your own systems use."""
    from infra.configuration.settings import load
    from serving.queries.missing_lists import why_empty
    from serving.queries.user_recommendations import user_list
    from serving.terminal import recommendations

    rows = user_list(running.database("reader"), user, placement)
    why = "" if rows else why_empty(running.database("serving"), load(), user, placement)
    print(json.dumps(rows)) if as_json else recommendations.print_user_list(user, rows, why, _note(placement))


@app.command("goes-with")
def goes_with(
    items: Annotated[list[str], typer.Argument(help="A product, or all of a basket.")],
    user: Annotated[str | None, typer.Option(help="Rank them for this user.")] = None,
    k: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 10,
    as_json: Json = False,
) -> None:
    """What goes well with a product or a basket, by your own ids."""
    from infra.configuration.settings import load
    from serving.queries.basket_recommendations import PLACEMENT, UnknownProductError, basket_recommendations
    from serving.queries.missing_lists import require_published
    from serving.terminal import recommendations

    # Consent and the champion are for serving only.
    try:
        rows = basket_recommendations(running.database("serving" if user else "reader"), items, user, k)
    except UnknownProductError:
        require_published(running.database("serving"), load(), PLACEMENT, "item")
        raise
    if not rows:
        require_published(running.database("serving"), load(), PLACEMENT, "item")
    print(json.dumps(rows)) if as_json else recommendations.print_basket_recommendations(rows, user, _note(PLACEMENT))


@app.command()
def explain(user: str, item: str, placement: str = "home", as_json: Json = False) -> None:
    """Why an item stands where it does on a user's list, or what keeps it away. Both by your own ids."""
    from serving.queries.explain import explain as explained
    from serving.terminal import recommendations

    found = explained(running.database("serving"), user, item, placement, _lookups)
    print(json.dumps(found)) if as_json else recommendations.explanation(found, note=_note(placement))


def _note(placement: str) -> str:
    """Return that a placement is no longer configured, and of when its lists are; empty for others."""
    from infra.configuration.settings import load
    from serving.queries.freshness import unconfigured_note

    return unconfigured_note(running.database("reader"), load(), placement)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(
    context: typer.Context,
    role: Annotated[running.Login, typer.Option("--as", help="The database role to connect as.")] = "operator",
) -> None:
    """PostgreSQL's own client on the installation's database; arguments go on to it, as in `psql -c "SELECT 1"`."""
    from infra.configuration.settings import load
    from infra.services.database_access.logins import address
    from infra.services.psql import run

    sys.exit(run(address(load(), role), context.args))


@app.command()
def logins(
    every: Annotated[bool, typer.Option("--all", help="All database roles, not only that of readers.")] = False,
) -> None:
    """Where to sign in to Prefect, MLflow and Data Docs and what to type there, and the database login for readers."""
    from infra.configuration.settings import load
    from infra.services.database_access import logins as known
    from infra.supervisor import startup as services

    for line in (*known.of_pages(services.endpoints(load())), *known.shown(load(), every=every)):
        print(line)


@app.command()
def verify(
    model: Annotated[
        str | None,
        typer.Argument(help="A folder, models:/tailorbird/3 or models:/tailorbird@champion. By default the champion."),
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Put a verified copy into this folder.")] = None,
    digest: Annotated[str | None, typer.Option(help="Accept no other manifest than the one with this sha256.")] = None,
) -> None:
    """Verify every file of a model and print a folder with it that nobody else can change, to be served."""
    if model is not None and model.startswith("models:/"):
        from infra.registry.verified_models import verified_copy

        print(verified_copy(model, to, digest))
        return
    from infra.bundles.verified_folders import verified_folder

    if model is None:
        from infra.bundles.promoted import verify_promoted
        from serving.queries.champion_bundle import champion

        promoted = champion(running.database("serving"))
        verify_promoted(promoted)
        model, digest = promoted["bundle"], digest or promoted["digest"]
    print(verified_folder(Path(model), to, digest))


@app.command("signing-key")
def signing_key() -> None:
    """The public key of the bundles made here: TAILORBIRD_SIGNING_PUBLIC_KEY of hosts that only serve."""
    from infra.configuration.settings import load
    from infra.keys.signing import public_key

    print(public_key(load()))


def _lookups() -> Any:
    """Return what reads events for single answers; few answers need its heavy imports."""
    from tasks.scoring.single_user import available_lookups

    return available_lookups()


def _wait() -> None:
    import signal

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        signal.pause()
    except KeyboardInterrupt:
        running.print_message("")
