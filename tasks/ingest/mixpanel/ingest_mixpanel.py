"""Ingests a file of Mixpanel's lines, or a part of a project from the API."""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Final, Literal, Self, cast, get_args
from zoneinfo import ZoneInfo

from prefect import task
from sqlalchemy import Connection, text

from infra.database.engine import database_now
from infra.installation import Installation, current
from models.errors import TailorbirdError
from models.ingest.mixpanel import MixpanelMapping, Region
from models.ingest.segment.interactions import allowed
from tasks.ingest import ledger
from tasks.ingest.events.ingest_events import ingest_file, ledger_entry, store_lines
from tasks.ingest.ledger import IngestRequest, LedgerEntry, batch_id_of, request_of
from tasks.ingest.mixpanel.client import Download, client_of, download_day, download_profiles
from tasks.orchestration import run_names
from tasks.orchestration.guards import without_values
from tasks.sources.mapping_files import read_as
from tasks.sources.temp_folders import scratch

_DAY: Final = timedelta(days=1)
_READ: Final = """
    SELECT location, max((request ->> 'read_at')::timestamptz) AS read_at FROM ingest_batches
    WHERE source = :source AND status = :committed AND location = ANY(:locations) AND request ? 'read_at'
    GROUP BY location"""
_SET: Final = """
    UPDATE ingest_batches SET request = request || jsonb_build_object('read_at', CAST(:read_at AS text))
    WHERE batch_id = :batch_id AND (request ->> 'read_at')::timestamptz < CAST(:read_at AS timestamptz)"""

_CLOSE: Final = """
    UPDATE ingest_batches SET status = :refused, detail = :detail, finished_at = now()
    WHERE batch_id = ANY(:others) AND source = :source AND location = :location
        AND NOT EXISTS (SELECT FROM ingest_chunks WHERE ingest_chunks.batch_id = ingest_batches.batch_id)"""
_REPLACED: Final = "It was cut short, and Mixpanel then delivered other content: see batch {batch_id}."
SCHEME: Final = "mixpanel://"
PROFILES: Final = "profiles"
_ADDRESS: Final = re.compile(
    rf"{SCHEME}({'|'.join(get_args(Region))})/([0-9]+)-([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}|{PROFILES})"
)


@dataclass(frozen=True)
class ProjectPart:
    """One day of events of a project, or all its profiles."""

    region: Region
    project: int
    part: date | Literal["profiles"]

    @property
    def address(self) -> str:
        """Return the address that the ledger shows; no other project has the last step of it."""
        return f"{SCHEME}{self.region}/{self.project}-{self.part}"

    @classmethod
    def parse(cls, address: str) -> Self:
        """Return the part with that address. Raises TailorbirdError if it is none."""
        found = _ADDRESS.fullmatch(address)
        try:
            region, project, part = found.groups() if found else ("", "", "")
            day = PROFILES if part == PROFILES else date.fromisoformat(part)
        except ValueError:
            raise TailorbirdError(
                f"{address} is no part of a Mixpanel project. Write {SCHEME}eu/3187-2026-11-01 for a day, "
                f"{SCHEME}eu/3187-{PROFILES} for the profiles, or name the project by --project."
            ) from None
        return cls(cast(Region, region), int(project), cast(Literal["profiles"], day))


def is_part(address: str) -> bool:
    """Return whether an address belongs to Mixpanel's API."""
    return address.startswith(SCHEME)


def part_of(mapping: MixpanelMapping, part: date | Literal["profiles"]) -> ProjectPart:
    """Return a part of the mapping's project. Raises TailorbirdError if it names none."""
    if mapping.project is None:
        raise TailorbirdError("Say which files to read, or which project: tailorbird ingest mixpanel --project 3187")
    return ProjectPart(mapping.region, mapping.project, part)


def parts_to_read(installation: Installation, mapping: MixpanelMapping) -> list[str]:
    """Return the addresses of the days that were not read since their late events arrived, then of the profiles.

    A day is complete if the ledger has a committed batch of it. It is read again until `late_days` after its end.
    Raises TailorbirdError if the mapping names no project or no first day.
    """
    with installation.engine.connect() as connection:
        now = database_now(connection)
        days = _days(mapping, now)
        parts = {part_of(mapping, day).address: day for day in days}
        chosen = {"source": mapping.name, "committed": ledger.COMMITTED, "locations": list(parts)}
        read = {row.location: row.read_at for row in connection.execute(text(_READ), chosen)}
    due = [address for address, day in parts.items() if address not in read or read[address] < _closed(day, mapping)]
    if mapping.profiles and allowed(mapping.traits):
        due.append(part_of(mapping, PROFILES).address)
    return due


def record_reading(connection: Connection, batch: ledger.Batch, read_at: datetime) -> None:
    """Record when the content of a committed batch was delivered, and close interrupted batches of the same part.

    The API delivers their content no more, so that nobody could continue them.
    """
    connection.execute(text(_SET), {"batch_id": batch.batch_id, "read_at": read_at.isoformat()})
    others = ledger.interrupted(connection, batch.batch_id)
    part = {"source": batch.source, "location": batch.location}
    replaced = {"others": others, "refused": ledger.REFUSED, "detail": _REPLACED.format(batch_id=batch.batch_id)}
    connection.execute(text(_CLOSE), part | replaced)


def _days(mapping: MixpanelMapping, now: datetime) -> list[date]:
    """Return the days from `from` until yesterday, or until before `to`, which may include today."""
    part_of(mapping, PROFILES)
    if mapping.start is None:
        raise TailorbirdError("State the first day to read: --from 2026-11-01, or `from` in the mapping.")
    for moment, name in ((mapping.start, "--from"), (mapping.end, "--to")):
        if moment is not None and moment.astimezone(UTC).time() != time():
            raise TailorbirdError(f"Mixpanel delivers whole days: write {name} as a day, such as 2026-11-01.")
    today = now.astimezone(ZoneInfo(mapping.time_zone)).date()
    end = today if mapping.end is None else min(mapping.end.astimezone(UTC).date(), today + _DAY)
    first = mapping.start.astimezone(UTC).date()
    return [first + _DAY * number for number in range((end - first).days)]


def _closed(day: date, mapping: MixpanelMapping) -> datetime:
    """Return the moment from which no more events of a day are expected."""
    end = datetime.combine(day + _DAY, time(), ZoneInfo(mapping.time_zone))
    return end + _DAY * mapping.late_days


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
    if not is_part(file):
        return ingest_file(MixpanelMapping, mapping, overrides, file, "events", store_lines)
    source = read_as(MixpanelMapping, mapping, overrides)
    return _ingest_part(current(), source, ProjectPart.parse(file), request_of(mapping, overrides))


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
            entry = store_lines(installation, whole, batch, download.path)
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
