"""Commands that ingest sources, and those of the quarantine."""

from getpass import getuser
from pathlib import Path
from typing import Annotated

import typer

from flows.commands import running
from flows.commands.running import Json
from models.primitives.json_types import JsonObject

app = running.group()
quarantine = running.group("Rows that broke a rule and wait for a correction.")
app.add_typer(quarantine, name="quarantine")

Paths = Annotated[list[str] | None, typer.Argument(help="Files, folders, patterns or addresses in object stores.")]


@app.command()
def ingest(
    source: Annotated[str, typer.Argument(help="A mapping that comes with Tailorbird, or a .toml file.")],
    paths: Paths = None,
    mapping: Annotated[
        str | None, typer.Option(help="The mapping; SOURCE is then only the name of the source.")
    ] = None,
    consent: Annotated[
        str | None, typer.Option(help="given, opt-in or opt-out; by default that of the mapping.")
    ] = None,
    consent_note: Annotated[str | None, typer.Option(help="How consent was given; it is recorded.")] = None,
    begin: Annotated[str | None, typer.Option("--from", help="Ingest only events from this time on.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Ingest only events before this time.")] = None,
    cron: Annotated[
        str | None, typer.Option(help='Schedule the ingest with this cron line instead of running it now: "0 3 * * *".')
    ] = None,
    zone: Annotated[str, typer.Option(help="The time zone of --cron.")] = "UTC",
    as_json: Json = False,
) -> None:
    """Ingest a source: tables by a mapping, or a Segment export (`segment PATH…`).

    Paths are files, folders, patterns or addresses (s3://bucket/prefix/); by default the mapping names the files. Days
    and times are written as 2026-03-01 or 2026-03-01T12:00:00Z.
    """
    name = source if mapping else None
    overrides = {"source": name, "consent": consent, "consent_note": consent_note, "begin": begin, "end": end}
    request = _request(mapping or source, paths or [], {key: value for key, value in overrides.items() if value})
    if cron:
        _schedule(Path(source).stem, cron, zone, request)
    else:
        running.finish("ledger", running.flow("ingest")(**request), as_json)


@quarantine.command("list")
def quarantine_list(as_json: Json = False) -> None:
    """Show how many rows wait in quarantine, by batch and rule."""
    from serving.queries import ledger

    running.print_rows("quarantine", ledger.quarantined(running.database("serving")), as_json)


@quarantine.command("show")
def quarantine_show(
    batch: str,
    rule: Annotated[str | None, typer.Option(help="Only rows that broke this rule.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The largest number of rows to show.")] = 20,
    as_json: Json = False,
) -> None:
    """Show the rows of a batch in quarantine, and the rules that they broke."""
    from serving.queries import ledger
    from serving.terminal import ledger as ledger_screen

    database = running.database("operator")
    running.print_rows("rows", ledger.quarantined_rows(database, batch, rule, limit), as_json)
    correction = None if as_json else ledger.correction(database, batch)
    if correction:
        ledger_screen.correction(correction, brief=True)


@quarantine.command("replay")
def quarantine_replay(
    batch: str,
    accept_unknown_items: Annotated[bool, typer.Option(help="Accept events on items that no catalogue names.")] = False,
    as_json: Json = False,
) -> None:
    """Check the quarantined rows of a batch again, after a rule, the mapping or the catalogue was corrected.

    Rows of items and users are read from their file again.
    """
    from serving.queries import ledger
    from serving.terminal import ledger as ledger_screen

    replay, database = running.flow("replay"), running.database("serving")
    before = ledger.waiting(database, batch)
    entry = replay(batch, accept_unknown_items)
    moved = before - ledger.waiting(database, batch)
    if not as_json:
        ledger_screen.replayed(moved, before, batch, entry["dataset"])
    stored = entry["batch_id"] != batch and entry["status"] != "unchanged"
    if as_json or moved or stored:
        running.finish("ledger", [entry], as_json)


@quarantine.command("dismiss")
def quarantine_dismiss(
    batch: str,
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")],
    rule: Annotated[str | None, typer.Option(help="Only rows that broke this rule.")] = None,
    row: Annotated[
        list[int] | None, typer.Option(min=1, max=2**53, help="Only this row, by its number in `show`.")
    ] = None,
    actor: Annotated[str | None, typer.Option(help="Who dismisses; by default the user of this machine.")] = None,
    as_json: Json = False,
) -> None:
    """Remove rows of a batch from the quarantine, because nobody will correct them."""
    from tasks.ingest.quarantine.dismiss_rows import dismiss

    done = dismiss(running.database("operator"), batch, actor or getuser(), reason, rule, row or [])
    running.finish("dismissed", done, as_json)


def _request(mapping: str, paths: list[str], overrides: dict[str, str]) -> JsonObject:
    """Return the flow's parameters with absolute paths.

    Raises an error for a mistake in them before anything starts.
    """
    from tasks.sources.locations import absolute
    from tasks.sources.mapping_files import mapping_overrides, read

    read(mapping, mapping_overrides(**overrides))
    place = absolute(mapping) if mapping.endswith(".toml") else mapping
    return {"mapping": place, "paths": [absolute(path) for path in paths], **overrides}


def _schedule(name: str, cron: str, zone: str, request: JsonObject) -> None:
    import re

    from infra.prefect_api import schedules

    running.connect()
    slug = f"ingest-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}"
    schedules.set_schedule("ingest", slug, cron, zone, request)
    running.print_message(f"Scheduled as {slug}: {cron} ({zone}). See it with: tailorbird schedules list")
