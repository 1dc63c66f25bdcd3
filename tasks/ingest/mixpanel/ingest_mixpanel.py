"""Ingests a file of Mixpanel's lines, or a part of a project from the API."""

import hashlib
from datetime import date
from pathlib import Path

from prefect import task

from infra.database.clock import database_now
from infra.installation import Installation, current
from models.ingest.mixpanel import MixpanelMapping
from tasks.ingest import ledger
from tasks.ingest.batch_identity import WrongMappingError, batch_id_of, batch_of, request_of
from tasks.ingest.events.event_batch import ingest_batch, ledger_entry
from tasks.ingest.events.segment_chunks import read_chunks
from tasks.ingest.ledger_records import IngestRequest, LedgerEntry
from tasks.ingest.mixpanel.client import client_of
from tasks.ingest.mixpanel.days import ProjectPart, is_part, record_reading
from tasks.ingest.mixpanel.download import Download, download_day, download_profiles
from tasks.orchestration import run_names
from tasks.orchestration.defects import without_values
from tasks.sources import locations
from tasks.sources.mapping_files import read
from tasks.sources.temp_folders import scratch


@task(
    task_run_name=run_names.of_file("ingest Mixpanel"),
    description="Ingest one file or one day of Mixpanel: every line is accounted for.",
)
@without_values
def ingest_mixpanel(mapping: str, file: str, overrides: dict[str, str] | None = None) -> LedgerEntry:
    """Ingest a file, or a day or the profiles of a project; returns the batch's line in the ledger.

    Ingesting the same content again changes nothing, and after a crash the ingest continues where it stopped. Raises
    BatchRefusedError, and MixpanelError if the API does not deliver.
    """
    installation, source, request = current(), mixpanel_mapping(mapping, overrides), request_of(mapping, overrides)
    if is_part(file):
        return _ingest_part(installation, source, ProjectPart.parse(file), request)
    with locations.fetched(file, installation.settings.var) as path:
        batch = batch_of(source, "events", path, file, request)
        size = path.stat().st_size
        return ingest_batch(installation, source, batch, lambda context: read_chunks(context, source, path, file), size)


def mixpanel_mapping(name: str, overrides: dict[str, str] | None) -> MixpanelMapping:
    """Return the mapping of a Mixpanel project with that name or path."""
    mapping = read(name, overrides)
    if not isinstance(mapping, MixpanelMapping):
        raise WrongMappingError(f"{name!r} is no mapping of Mixpanel.")
    return mapping


def _ingest_part(
    installation: Installation, mapping: MixpanelMapping, part: ProjectPart, request: IngestRequest
) -> LedgerEntry:
    """Ingest a day or the profiles. The committed batch is the record that the day is complete."""
    whole = mapping.of_one_day()
    with scratch(installation.settings.var / "fetched") as room:
        with installation.engine.connect() as connection:
            read_at = database_now(connection)
        download = _download(mapping, part, room)
        batch = _batch(whole, part, download, IngestRequest(**request, read_at=read_at.isoformat()))
        if download.empty:
            entry = _record_empty(installation, batch)
        else:
            path, name = download.path, part.address
            size = path.stat().st_size
            entry = ingest_batch(
                installation, whole, batch, lambda context: read_chunks(context, whole, path, name), size
            )
    with installation.engine.begin() as connection:
        record_reading(connection, batch, read_at)
    return entry


def _download(mapping: MixpanelMapping, part: ProjectPart, room: Path) -> Download:
    client = client_of(part.region)
    path = room / f"{part.project}-{part.part}.jsonl.gz"
    if isinstance(part.part, date):
        return download_day(client, part.project, part.part, path)
    return download_profiles(client, part.project, mapping.traits, mapping.consent_properties, path)


def _batch(mapping: MixpanelMapping, part: ProjectPart, download: Download, request: IngestRequest) -> ledger.Batch:
    content = hashlib.sha256(part.address.encode()).hexdigest() if download.empty else download.digest
    batch_id = batch_id_of(mapping, "events", content)
    return ledger.Batch(batch_id, "events", mapping.name, part.address, mapping.consent_note, request)


def _record_empty(installation: Installation, batch: ledger.Batch) -> LedgerEntry:
    """Record a day without events."""
    with installation.engine.begin() as connection:
        known = ledger.open_batch(connection, batch) == ledger.COMMITTED
        if not known:
            ledger.close_batch(connection, batch.batch_id, None)
    return ledger_entry(installation, batch.batch_id, unchanged=known)
