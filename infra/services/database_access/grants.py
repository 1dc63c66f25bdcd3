"""Who may do what in the database: every table and view with the rights of each role, as data."""

from collections.abc import Mapping
from typing import Final, Literal, get_args

Role = Literal["reader", "serving", "ingest", "operator"]
READER, SERVING, INGEST, OPERATOR = ROLES = get_args(Role)
"""Applications that read lists; processes that answer; processes that take events in; people who run all of it."""

READ: Final = "SELECT"
WRITE: Final = "SELECT INSERT UPDATE DELETE"
_READ_AND_SERVE: Final = {READER: READ, SERVING: READ}
_SERVE: Final = {SERVING: READ}
_NOBODY: Final[Mapping[str, str]] = {}

TABLES: Final[Mapping[str, Mapping[str, str]]] = {
    "public.items": {**_READ_AND_SERVE, INGEST: "SELECT INSERT UPDATE"},
    "public.placements": _READ_AND_SERVE,
    "public.promotions": _SERVE,
    "public.recommendation_batches": _SERVE,
    "public.reviews": _SERVE,
    "public.exclusions": _SERVE,
    "public.drift_calibrations": _SERVE,
    "public.drift_reports": _SERVE,
    # Whether a user agreed, and no trait.
    "public.users": {SERVING: "SELECT(user_key) SELECT(consent)", INGEST: WRITE},
    "public.suppressions": {SERVING: READ, INGEST: READ},
    # Every process compares its keys and its `var` with these.
    "public.installation_fingerprints": dict.fromkeys((READER, SERVING, INGEST), READ),
    "public.aliases": {INGEST: WRITE},
    "public.item_history": {INGEST: "SELECT INSERT UPDATE"},
    "public.user_history": {INGEST: WRITE},
    "public.ingest_batches": {SERVING: READ, INGEST: WRITE},
    "public.ingest_chunks": {SERVING: READ, INGEST: WRITE},
    "public.ingest_updates": {INGEST: WRITE},
    "public.ingest_applications": {INGEST: WRITE},
    "public.ingest_statements": {INGEST: WRITE},
    "public.ingest_repeats": {INGEST: WRITE},
    "public.quarantine_repeats": {INGEST: WRITE},
    # A killed ingest of a batch that was undone leaves it undone, by the record of that undo.
    "public.audit_log": {SERVING: READ, INGEST: READ},
    # The payload is for the operator alone: ingestion writes it and cannot read it back.
    "public.quarantine": {
        SERVING: "SELECT(batch_id) SELECT(row_number) SELECT(chunk) SELECT(rule_ids) SELECT(replayed_at) "
        "SELECT(outcome)",
        INGEST: "INSERT DELETE SELECT(batch_id) SELECT(row_number) SELECT(chunk) SELECT(rule_ids) SELECT(replayed_at) "
        "SELECT(content) SELECT(subject) SELECT(resolved_by) SELECT(outcome) "
        "UPDATE(resolved_by) UPDATE(replayed_at) UPDATE(outcome)",
    },
    "identity.users": {INGEST: "SELECT INSERT DELETE"},
    # The next step is derived from how far the installation is.
    "public.datasets": {SERVING: "SELECT(version) SELECT(created_at)"},
    "public.segments": _NOBODY,
    "public.segment_descriptions": _NOBODY,
    "public.search_results": {SERVING: "SELECT(dataset_version)"},
    "public.recommendations": _NOBODY,
    "public.batch_items": _NOBODY,
    "public.batch_reasons": _NOBODY,
    "public.retrain_requests": _NOBODY,
    "public.publication_periods": _NOBODY,
    "public.published_lists": _NOBODY,
    "public.audit_reports": _NOBODY,
    "public.trained_bundles": {SERVING: "SELECT(kind) SELECT(dataset_version)"},
    "public.alembic_version": _NOBODY,
}
"""The rights of all roles but the operator, who reads all and writes most. Partitions are read by their parents."""

VIEWS: Final[Mapping[str, Mapping[str, str]]] = {
    "public.current_recommendations": _READ_AND_SERVE,
    "public.current_item_recommendations": _READ_AND_SERVE,
    "public.recommendations_by_user_id": _READ_AND_SERVE,
    "public.drift_signals": _NOBODY,
    "public.audit_groups": _NOBODY,
}
"""The operator reads all views."""

WRITTEN_BY_OWNER: Final = ("public.installation_fingerprints", "public.trained_bundles", "public.alembic_version")
"""Tables that the operator only reads: what Tailorbird trusts is written by itself."""

FUNCTIONS: Final[Mapping[str, tuple[Role, ...]]] = {"identity.user_key(text)": ("serving", "operator")}
SCHEMAS: Final[Mapping[str, tuple[Role, ...]]] = {
    "public": ROLES,
    "identity": ("serving", "ingest", "operator"),
    "optuna": ("operator",),
}
STUDIES: Final = "optuna"
"""The schema in which Optuna makes its own tables; the operator reads them."""
DATABASE: Final[Mapping[str, tuple[Role, ...]]] = {"CONNECT": ROLES, "TEMPORARY": ("ingest", "operator")}
"""Ingestion compares what comes in with what is there in temporary tables."""
