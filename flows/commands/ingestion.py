"""Commands that ingest sources, show and undo what was ingested, and keep quarantine and lake small."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.commands import running
from flows.commands.running import Json
from models.primitives.json_types import JsonObject

_URL = "TAILORBIRD_SECRET_SQL_URL"
"""Holds the address of `ingest sql` for the run."""

app = running.group()
quarantine = running.group("Rows that broke a rule and wait for a correction.")
app.add_typer(quarantine, name="quarantine")
sources = running.group_with_default(
    "files", "Ingest a source: files by a mapping, a Segment export, or with `sql` the tables of a database."
)
app.add_typer(sources, name="ingest")
ledger_commands = running.group_with_default(
    "show", "Ingested batches and what became of every row; `undo` removes a batch."
)
lake = running.group("The lake, which stores events.")

Consent = Annotated[str | None, typer.Option(help="given, opt-in or opt-out; by default that of the mapping.")]
ConsentNote = Annotated[str | None, typer.Option(help="How consent was given; it is recorded.")]
Begin = Annotated[str | None, typer.Option("--from", help="Ingest only events from this time on.")]
End = Annotated[str | None, typer.Option("--to", help="Ingest only events before this time.")]
Cron = Annotated[
    str | None, typer.Option(help='Schedule the ingest with this cron line instead of running it now: "0 3 * * *".')
]
Zone = Annotated[str, typer.Option(help="The time zone of --cron.")]
Paths = Annotated[list[str] | None, typer.Argument(help="Files, folders, patterns or addresses in object stores.")]


@sources.command("files")
def ingest(
    source: Annotated[str, typer.Argument(help="A mapping that comes with Tailorbird, or a .toml file.")],
    paths: Paths = None,
    mapping: Annotated[
        str | None, typer.Option(help="The mapping; SOURCE is then only the name of the source.")
    ] = None,
    consent: Consent = None,
    consent_note: ConsentNote = None,
    begin: Begin = None,
    end: End = None,
    project: Annotated[str | None, typer.Option(help="The Mixpanel project whose API is read without PATHS.")] = None,
    region: Annotated[str | None, typer.Option(help="Where Mixpanel stores the project: us, eu or in.")] = None,
    cron: Cron = None,
    zone: Zone = "UTC",
    as_json: Json = False,
) -> None:
    """Ingest a source: tables by a mapping, a Segment export (`segment PATH…`), or Mixpanel (`mixpanel PATH…`).

    Paths are files, folders, patterns or addresses (s3://bucket/prefix/); by default the mapping names the files. Days
    and times are written as 2026-03-01 or 2026-03-01T12:00:00Z.
    """
    name = source if mapping else None
    overrides = {"source": name, "consent": consent, "consent_note": consent_note, "begin": begin, "end": end}
    overrides |= {"project": project, "region": region}
    request = _request(mapping or source, paths or [], {key: value for key, value in overrides.items() if value})
    if cron:
        running.schedule("ingest", f"ingest-{Path(source).stem}", cron, zone, request)
    else:
        running.finish("ledger", running.flow("ingest")(**request), as_json)


@sources.command("sql")
def ingest_sql(
    mapping: Annotated[str, typer.Option(help="A mapping that comes with Tailorbird, or a .toml file.")],
    url: Annotated[str, typer.Option(help="Any SQLAlchemy URL, or env:NAME for a variable that holds it.")],
    table: Annotated[str | None, typer.Option(help="The table or view; by default those of the mapping.")] = None,
    schema: Annotated[str | None, typer.Option(help="The schema of tables whose names state none.")] = None,
    query: Annotated[str | None, typer.Option(help="A SELECT to read instead of a table.")] = None,
    cursor: Annotated[
        str | None, typer.Option(help="The column of times or numbers that grows with every new or changed row.")
    ] = None,
    overlap: Annotated[
        str | None, typer.Option(help="How far below the last value to begin, for late rows: 10m, 1d or 1000.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Begin at this value of the cursor instead of the stored one.")
    ] = None,
    part: Annotated[str | None, typer.Option(help="Ingest only this part: items, users or events.")] = None,
    source: Annotated[str | None, typer.Option(help="The name of the source in the ledger.")] = None,
    consent: Consent = None,
    consent_note: ConsentNote = None,
    begin: Begin = None,
    end: End = None,
    cron: Cron = None,
    zone: Zone = "UTC",
    as_json: Json = False,
) -> None:
    """Ingest new rows of a database; each run continues where the last one stopped.

    The mapping names the tables and the cursor with the key `sql` of each part, or the options do.
    """
    overrides = {"source": source, "consent": consent, "consent_note": consent_note, "begin": begin, "end": end}
    options = {"table": table, "in_schema": schema, "query": query, "cursor": cursor, "overlap": overlap}
    options |= {"since": since, "part": part}
    request = _request(mapping, None, {key: value for key, value in overrides.items() if value})
    request |= {key: value for key, value in options.items() if value}
    request["url"] = _address(url, scheduled=cron is not None)
    if cron:
        running.schedule("ingest_sql", f"ingest-sql-{source or Path(mapping).stem}", cron, zone, request)
    else:
        running.finish("ledger", running.flow("ingest_sql")(**request), as_json)


@app.command()
def check(
    mapping: Annotated[str, typer.Argument(help="A mapping that comes with Tailorbird, or a .toml file.")],
    paths: Paths = None,
    consent: Consent = None,
    consent_note: Annotated[str | None, typer.Option(help="How consent was given.")] = None,
    rows: Annotated[int, typer.Option(min=1, max=250_000, help="How many rows to read of each file.")] = 5_000,
    as_json: Json = False,
) -> None:
    """Show how a mapping reads the first rows of its files. Nothing is stored, and no service has to run.

    The exit code is 0 if an ingest would accept these rows, and 1 if it would refuse them. The output shows values of
    the files, with raw user ids.
    """
    from tasks.ingest.check.check_mapping import check_mapping
    from tasks.sources.mapping_files import mapping_overrides

    overrides = mapping_overrides(consent=consent, consent_note=consent_note)
    report = check_mapping(mapping, paths or [], overrides, rows)
    running.finish("check", report, as_json)
    if not report["accepted"]:
        raise typer.Exit(1)


@quarantine.command("list")
def quarantine_list(as_json: Json = False) -> None:
    """Show how many rows wait in quarantine, by batch and rule."""
    from serving.queries import ledger

    running.finish("quarantine", ledger.quarantined(running.database("serving")), as_json)


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
    if rule:
        ledger.require_rule(database, batch, rule)
    running.finish("rows", ledger.quarantined_rows(database, batch, rule, limit), as_json)
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
    from serving.queries import ledger
    from tasks.ingest.quarantine.dismiss_rows import dismiss

    database = running.database("operator")
    if rule:
        ledger.require_rule(database, batch, rule)
    done = dismiss(database, batch, actor or running.account(), reason, rule, row or [])
    running.finish("dismissed", done, as_json)


@ledger_commands.command("show")
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


@ledger_commands.command("undo")
def undo(
    batches: Annotated[list[str] | None, typer.Argument(help="The batches, as `tailorbird ledger` names them.")] = None,
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
    running.finish("undo", flow(actor or running.account(), reason, chosen, source), as_json)


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


def _request(mapping: str, paths: list[str] | None, overrides: dict[str, str]) -> JsonObject:
    """Return the flow's parameters with absolute paths.

    Raises an error for a mistake in them before anything starts.
    """
    from tasks.sources.locations import absolute
    from tasks.sources.mapping_files import mapping_overrides, read

    read(mapping, mapping_overrides(**overrides))
    place = absolute(mapping) if mapping.endswith(".toml") else mapping
    named = {} if paths is None else {"paths": [absolute(path) for path in paths]}
    return {"mapping": place, **named, **overrides}


def _address(url: str, *, scheduled: bool) -> str:
    """Return an address that Prefect may store; one that may hold a secret moves into a variable of this process."""
    import os

    from tasks.sources.sql.database_address import VARIABLE, SecretInAddressError, storable

    try:
        return storable(url)
    except SecretInAddressError:
        if scheduled:
            raise
    os.environ[_URL] = url
    return f"{VARIABLE}{_URL}"
