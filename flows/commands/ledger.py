"""Commands of what is stored: show ingested batches and undo them, and keep the lake small."""

import json
from dataclasses import asdict
from getpass import getuser
from typing import Annotated

import typer

from flows.commands import running
from flows.commands.running import Json

app = running.group_with_default("show", "Ingested batches and what became of every row; `undo` removes a batch.")
lake = running.group("The lake, which stores events.")

Batches = Annotated[list[str] | None, typer.Argument(help="The batches, as `tailorbird ledger` names them.")]


@app.command("show")
def show(
    batch: Annotated[str | None, typer.Argument(help="Show everything about this batch.")] = None,
    source: Annotated[str | None, typer.Option(help="Only batches of this source.")] = None,
    as_json: Json = False,
) -> None:
    """Show the newest batches and what became of their rows, or one batch with rules and corrected values.

    `tailorbird ledger` and `tailorbird ledger BATCH` do the same.
    """
    from serving.queries import ledger

    if batch:
        running.finish("ledger_entry", ledger.batch(running.database("serving"), batch), as_json)
        return
    running.finish("ledger_batches", ledger.ledger(running.database("serving"), source=source), as_json)


@app.command("undo")
def undo(
    batches: Batches = None,
    source: Annotated[str | None, typer.Option(help="All batches of this source.")] = None,
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")] = "",
    actor: Annotated[str | None, typer.Option(help="Who undoes it; by default the user of this machine.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Remove exactly what batches brought: events, catalogue, users and rows in quarantine.

    Data of other batches stays, and so does a user's refusal of consent. After a kill, the same command continues. The
    same files can be ingested again afterwards.
    """
    flow = running.flow("undo")
    from tasks.ingest.undo.undo_batches import preview, require_reason

    chosen = batches or []
    if dry_run or not (yes or as_json):
        running.finish("undo_preview", preview(chosen, source), as_json)
    if dry_run:
        return
    require_reason(reason)
    if not yes:
        running.confirm("Remove this?", "Add --yes to undo it without a question.")
    running.finish("undo", flow(actor or getuser(), reason, chosen, source), as_json)


@lake.command()
def compact(
    keep_days: Annotated[
        int, typer.Option(min=1, max=36_500, help="How many days an older version stays readable.")
    ] = 7,
    as_json: Json = False,
) -> None:
    """Merge small files and delete unneeded ones. No row changes; versions of data sets stay readable."""
    done = running.flow("compact")(keep_days)
    running.finish("compact", done or {"lake": "no events yet"}, as_json)


@lake.command("show")
def show_lake(as_json: Json = False) -> None:
    """Show the files, rows and bytes of the events by month, and the versions that data sets use."""
    from infra.lake import compaction
    from infra.lake.delta_lake import Lake
    from serving.terminal import screen

    table = Lake(running.current_settings().lake).events()
    months = compaction.months(table) if table else []
    total = compaction.total(months)
    versions = compaction.dataset_versions(running.database("operator"))
    if as_json:
        sizes = {**asdict(total), "named_versions": versions, "months": [asdict(month) for month in months]}
        print(json.dumps({"version": table and table.version(), **sizes}))
    else:
        screen.show("lake", [*map(asdict, months), {"month": "all", **asdict(total)}] if months else [])
        listing = ", ".join(map(str, versions)) or "none"
        print(f"Version {table.version() if table else 'none'}; data sets name: {listing}.")
        if advice := compaction.advice(months):
            print(advice)
