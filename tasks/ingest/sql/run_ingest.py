"""Ingests the tables and queries of a database, as tasks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from prefect import task

from infra.installation import current
from models.errors import TailorbirdError
from models.primitives.escaping import for_terminal
from tasks.ingest.batch_identity import table_mapping
from tasks.ingest.ledger_records import LedgerEntry
from tasks.ingest.sql.ingest_stream import ingest_stream
from tasks.ingest.sql.sql_requests import SqlIngest, Stream, streams_of
from tasks.orchestration.defects import without_values
from tasks.orchestration.run_artifacts import announce
from tasks.sources.sql.relation import exists
from tasks.sources.sql.source_database import SourceDatabaseError, source_database


@dataclass(frozen=True)
class IngestedStream:
    """The result of one table or query: the lines of its batches, and why it stopped before its end."""

    lines: list[LedgerEntry] = field(default_factory=list)
    refused: str | None = None


class TablesRefusedError(TailorbirdError):
    """Some tables were not read to their end; the batches before that stay."""


@task(description="List the tables and queries that a mapping reads from a database.")
@without_values
def list_streams(request: SqlIngest, only: str | None = None) -> list[Stream]:
    """Return the tables and queries of a mapping, in the order of the ingest.

    Of a list of tables, missing ones are left out with a message. Raises TailorbirdError if no table is there.
    """
    mapping = table_mapping(request.mapping, dict(request.overrides))
    streams = streams_of(mapping, request.options, only)
    with source_database(request.url) as database, database.connected() as connection:
        names = dict.fromkeys(stream.name for stream in streams if not stream.keys.query)
        missing = [name for name in names if not exists(database, connection, name)]
    for stream in streams:
        if stream.name in missing and all(name in missing for name in stream.keys.tables):
            raise SourceDatabaseError(
                f"{database.name} has no table {', '.join(stream.keys.tables)} that this login may read. Check the "
                "name, and write the schema before it, as in shop.orders."
            )
    if missing:
        announce(f"these tables are not there and are skipped: {', '.join(missing)}")
    return [stream for stream in streams if stream.name not in missing or stream.keys.query]


@task(description="Ingest the new rows of one table or query: each is stored, quarantined or counted, once.")
@without_values
def ingest_rows(request: SqlIngest, stream: Stream) -> IngestedStream:
    """Ingest the rows since the last run, in batches that store their position with their commit."""
    installation, mapping = current(), table_mapping(request.mapping, dict(request.overrides))
    lines: list[LedgerEntry] = []
    try:
        with source_database(request.url) as database:
            ingest_stream(installation, request, mapping, stream, database, lines)
    except TailorbirdError as error:
        return IngestedStream(lines, str(error))
    return IngestedStream(lines)


def refuse_tables(refused: Mapping[str, str]) -> None:
    """Raise TablesRefusedError with each table that was not read to its end and the reason, if there are any."""
    if refused:
        reasons = "\n".join(f"  {for_terminal(f'{name}: {reason}')}" for name, reason in refused.items())
        raise TablesRefusedError(
            f"{len(refused)} of the tables could not be read to their end:\n{reasons}\n"
            "Batches that were committed before stay; the next run continues after them."
        )
