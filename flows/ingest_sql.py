"""Ingests the tables of a database."""

from prefect import flow

from models.ingest.source_config import Consent
from tasks.ingest.ledger import LedgerEntry
from tasks.ingest.quarantine.replay_rows import find_corrections
from tasks.ingest.rows.settle import settle_idle
from tasks.ingest.sql.ingest_stream import ingest_rows, list_streams, refuse_tables
from tasks.ingest.sql.stream_run import Dataset, sql_ingest
from tasks.lake.compact_lake import advise_compaction
from tasks.lake.find_non_goods import find_currencies, find_suspects
from tasks.orchestration import run_names
from tasks.orchestration.form_fields import Words
from tasks.orchestration.missed_schedules import drop_missed_slots
from tasks.orchestration.run_artifacts import LEDGER, show
from tasks.sources.mapping_files import mapping_overrides


# The name of the deployment: by default Prefect would write it with a hyphen, and schedules would not find it.
@flow(name="ingest_sql", flow_run_name=run_names.flow_run_name(run_names.ingest))
def ingest_sql(
    mapping: Words,
    url: Words,
    table: str | None = None,
    in_schema: str | None = None,
    query: str | None = None,
    cursor: str | None = None,
    overlap: str | None = None,
    since: str | None = None,
    part: Dataset | None = None,
    source: str | None = None,
    consent: Consent | None = None,
    consent_note: str | None = None,
    begin: str | None = None,
    end: str | None = None,
) -> list[LedgerEntry]:
    """Ingest new rows of a database: each run continues where the last one stopped.

    A table that fails does not stop the others. The run fails at the end, with the tables and the reasons.

    Args:
        mapping: Name of a mapping that comes with Tailorbird, or the path of a .toml file.
        url: env:NAME for the environment variable with the address of the database, or an address without a password.
        table: The table or view; by default those of the mapping.
        in_schema: The schema of tables whose names state none; by default that of the mapping.
        query: A SELECT to read instead of a table; by default that of the mapping.
        cursor: The column of times or numbers that grows with every new or changed row; by default that of the mapping.
        overlap: How far below the last value to begin, such as 10m, 1d or 1000, for rows that appear late.
        since: Begin at this value of the cursor instead of the stored one.
        part: Ingest only this part of the mapping.
        source: The name of the source in the ledger; by default that of the mapping.
        consent: given (declared for all users), opt-in or opt-out; by default that of the mapping.
        consent_note: How consent was given; it is recorded.
        begin: Ingest only events from this time on, such as 2026-03-01 or 2026-03-01T12:00:00Z.
        end: Ingest only events before this time.
    """
    drop_missed_slots()
    overrides = mapping_overrides(source, consent, consent_note, begin, end)
    options = {"table": table, "schema": in_schema, "query": query, "cursor": cursor, "overlap": overlap}
    request = sql_ingest(mapping, url, overrides, since, options)
    ledger: list[LedgerEntry] = []
    refused: dict[str, str] = {}
    for stream in list_streams(request, part):
        result = ingest_rows(request, stream)
        ledger += result.lines
        if result.refused:
            refused[f"{stream.name} ({stream.dataset})"] = result.refused
    not_ingested = [LedgerEntry(file=name, status="refused", detail=why) for name, why in refused.items()]
    show("ledger", "What became of every row", [*ledger, *not_ingested], LEDGER)
    settle_idle()
    advise_compaction()
    refuse_tables(refused)
    lines = find_currencies(mapping, find_corrections(ledger), overrides)
    return find_suspects(mapping, lines, overrides)
