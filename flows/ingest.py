"""Ingests a source."""

from prefect import flow

from models.errors import TailorbirdError
from models.ingest.mixpanel import Region
from models.ingest.source_config import Consent
from tasks.ingest.events.ingest_event_files import ingest_event_files
from tasks.ingest.events.ingest_events import ingest_events, ingest_segment
from tasks.ingest.ledger import LedgerEntry
from tasks.ingest.list_files import list_files, refuse
from tasks.ingest.mixpanel.client import MixpanelError
from tasks.ingest.mixpanel.ingest_mixpanel import ingest_mixpanel
from tasks.ingest.quarantine.replay_rows import find_corrections
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users
from tasks.ingest.rows.settle import settle_idle
from tasks.lake.compact_lake import advise_compaction
from tasks.lake.find_non_goods import find_currencies, find_suspects
from tasks.orchestration import run_names
from tasks.orchestration.form_fields import Words
from tasks.orchestration.missed_schedules import drop_missed_slots
from tasks.orchestration.run_artifacts import LEDGER, show
from tasks.sources.locations import shown
from tasks.sources.mapping_files import mapping_overrides
from tasks.sources.object_store import StoreUnreachableError

_STEPS = {
    "items": ingest_items,
    "users": ingest_users,
    "events": ingest_events,
    "segment": ingest_segment,
    "mixpanel": ingest_mixpanel,
}


@flow(flow_run_name=run_names.flow_run_name(run_names.ingest))
def ingest(
    mapping: Words,
    paths: list[str] | None = None,
    source: str | None = None,
    consent: Consent | None = None,
    consent_note: str | None = None,
    begin: str | None = None,
    end: str | None = None,
    project: str | None = None,
    region: Region | None = None,
) -> list[LedgerEntry]:
    """Ingest catalogue, users and events: checked, pseudonymous, with every row in the ledger.

    A refused file does not stop the others. The run fails at the end, with the refused files and the reasons.

    Args:
        mapping: Name of a mapping that comes with Tailorbird, or the path of a .toml file.
        paths: Files, folders, patterns or object-store addresses (s3://bucket/prefix/); by default those of the
            mapping.
        source: The name of the source in the ledger; by default that of the mapping.
        consent: given (declared for all users), opt-in or opt-out; by default that of the mapping.
        consent_note: How consent was given; it is recorded.
        begin: Ingest only events from this time on, such as 2026-03-01 or 2026-03-01T12:00:00Z.
        end: Ingest only events before this time.
        project: The id of the Mixpanel project whose API is read if no paths are given.
        region: Where Mixpanel stores the project: us, eu or in.
    """
    drop_missed_slots()
    overrides = mapping_overrides(source, consent, consent_note, begin, end, project, region)
    ledger: list[LedgerEntry] = []
    refused: dict[str, str] = {}
    files = list_files(mapping, paths, overrides)
    events = [file for part, file in files if part == "events"]
    grouped = len(events) > 1
    for part, file in files:
        if grouped and part == "events":
            continue
        try:
            ledger.append(_STEPS[part](mapping, file, overrides) | LedgerEntry(file=file))
        except TailorbirdError as error:
            refused[shown(file)] = str(error)
            if isinstance(error, StoreUnreachableError | MixpanelError):
                grouped = False
                break  # the other files come from the same store or project
    if grouped:
        result = ingest_event_files(mapping, events, overrides)
        ledger += result["lines"]
        refused |= result["refused"]
    not_ingested = [LedgerEntry(file=file, status="refused", detail=why) for file, why in refused.items()]
    show("ledger", "What became of every row", [*ledger, *not_ingested], LEDGER)
    settle_idle()
    advise_compaction()
    refuse(refused, len(ledger))
    lines = find_currencies(mapping, find_corrections(ledger), overrides)
    return find_suspects(mapping, lines, overrides)
