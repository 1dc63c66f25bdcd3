"""Defines the rights of each database role on every table and view."""

from collections.abc import Mapping
from typing import Final, Literal, get_args

Role = Literal["reader", "serving", "ingest", "operator"]
READER, SERVING, INGEST, OPERATOR = ROLES = get_args(Role)
"""The roles of applications that read lists, of serving, of ingestion, and of the people who operate all of it."""

READ: Final = "SELECT"
WRITE: Final = "SELECT INSERT UPDATE DELETE"
_READ_AND_SERVE: Final = {READER: READ, SERVING: READ}
_SERVE: Final = {SERVING: READ}
_NO_ROLE: Final[Mapping[str, str]] = {}

TABLES: Final[Mapping[str, Mapping[str, str]]] = {
    "public.items": {**_READ_AND_SERVE, INGEST: "SELECT INSERT UPDATE"},
    "public.placements": _READ_AND_SERVE,
    "public.promotions": _SERVE,
    "public.recommendation_batches": _SERVE,
    "public.reviews": _SERVE,
    # "Not interested" hides an item at once.
    "public.exclusions": {SERVING: "SELECT INSERT"},
    "public.drift_calibrations": _SERVE,
    "public.drift_reports": _SERVE,
    # Only the consent and the first day, no traits.
    "public.users": {SERVING: "SELECT(user_key) SELECT(consent) SELECT(first_seen_on)", INGEST: WRITE},
    "public.suppressions": {SERVING: READ, INGEST: READ},
    # Every process compares its keys and its `var` with these.
    "public.installation_fingerprints": dict.fromkeys((READER, SERVING, INGEST), READ),
    # The first page that names the user of a device counts from the receipt of its call.
    "public.aliases": {SERVING: "SELECT INSERT UPDATE(claimed)", INGEST: WRITE},
    "public.item_history": {INGEST: "SELECT INSERT UPDATE"},
    "public.item_appearances": {SERVING: READ, INGEST: "SELECT INSERT"},
    "public.user_history": {INGEST: WRITE},
    "public.ingest_batches": {SERVING: READ, INGEST: WRITE},
    "public.ingest_chunks": {SERVING: READ, INGEST: WRITE},
    "public.ingest_updates": {INGEST: WRITE},
    "public.ingest_applications": {INGEST: WRITE},
    "public.ingest_statements": {INGEST: WRITE},
    "public.ingest_repeats": {INGEST: WRITE},
    "public.quarantine_repeats": {INGEST: WRITE},
    # An ingest that was killed reads here that its batch was undone, and leaves it undone.
    "public.audit_log": {SERVING: READ, INGEST: READ},
    # Only the operator reads the payload: ingestion writes it and cannot read it back.
    "public.quarantine": {
        SERVING: "SELECT(batch_id) SELECT(row_number) SELECT(chunk) SELECT(rule_ids) SELECT(replayed_at) "
        "SELECT(outcome)",
        INGEST: "INSERT DELETE SELECT(batch_id) SELECT(row_number) SELECT(chunk) SELECT(rule_ids) SELECT(replayed_at) "
        "SELECT(content) SELECT(subject) SELECT(resolved_by) SELECT(outcome) "
        "UPDATE(resolved_by) UPDATE(replayed_at) UPDATE(outcome)",
    },
    "identity.users": {INGEST: "SELECT INSERT DELETE"},
    # `status` derives the next step from these rows.
    "public.datasets": {SERVING: "SELECT(version) SELECT(created_at)"},
    "public.segments": _NO_ROLE,
    "public.segment_descriptions": _NO_ROLE,
    "public.search_results": {SERVING: "SELECT(dataset_version)"},
    "public.recommendations": _NO_ROLE,
    # The API resolves the codes of the lists that the function `served_lists` returns.
    "public.batch_items": _SERVE,
    "public.batch_reasons": _SERVE,
    # The API reads one user with the function `known_of_user`.
    "public.batch_users": _NO_ROLE,
    # The API reports what needs a person.
    "public.retrain_requests": {
        SERVING: "SELECT(request_id) SELECT(status) SELECT(reason) SELECT(outcome) SELECT(flow_run) "
        "SELECT(requested_at) SELECT(finished_at)"
    },
    "public.publication_periods": _NO_ROLE,
    "public.published_lists": _NO_ROLE,
    "public.audit_reports": {SERVING: "SELECT(placement) SELECT(status) SELECT(page) SELECT(created_at)"},
    "public.trained_bundles": {SERVING: "SELECT(kind) SELECT(dataset_version)"},
    # Serving adds messages and finds those that came before; only ingestion reads the payload.
    "public.event_inbox": {
        SERVING: "INSERT SELECT(source) SELECT(message_id) SELECT(kind) SELECT(digest) SELECT(received_at) "
        "SELECT(batch_id) SELECT(moved_at) SELECT(outcome) SELECT(messages)",
        INGEST: WRITE,
    },
    "public.session_profiles": {SERVING: WRITE, INGEST: "SELECT DELETE"},
    "public.served_answers": {INGEST: WRITE},
    "public.answer_counts": {SERVING: READ, INGEST: WRITE},
    "public.alembic_version": _NO_ROLE,
    # The API adds versions and changes none.
    "public.operator_rules": {SERVING: "SELECT INSERT"},
    # Consumers add dead letters and find those that came before; only the operator reads what they hold.
    "identity.dead_letters": {
        SERVING: "INSERT SELECT(letter_id) SELECT(source) SELECT(reason) SELECT(digest) SELECT(times) SELECT(first_at) "
        "SELECT(replayed_at) UPDATE(times) UPDATE(last_at) UPDATE(replayed_at)",
        INGEST: "SELECT(last_at) SELECT(replayed_at) DELETE",
    },
    "public.streams": {SERVING: "SELECT INSERT UPDATE"},
    "public.rescoring_requests": {SERVING: WRITE, INGEST: "SELECT DELETE"},
    # Consumers write lists with the function `keep_live_lists`, and the API reads them with `served_lists`.
    "public.live_recommendations": {INGEST: "SELECT DELETE"},
    "public.stream_offsets": {SERVING: "SELECT INSERT UPDATE"},
    "public.key_usage": {SERVING: "SELECT INSERT UPDATE"},
    # The API compares hashes, and records when a key was last used.
    "public.api_keys": {SERVING: "SELECT UPDATE(last_used_at)"},
}
"""The rights of all roles except the operator, who reads all and writes most. Partitions are read through parents."""

VIEWS: Final[Mapping[str, Mapping[str, str]]] = {
    "public.current_recommendations": _READ_AND_SERVE,
    "public.current_item_recommendations": _READ_AND_SERVE,
    "public.recommendations_by_user_id": _READ_AND_SERVE,
    "public.drift_signals": _NO_ROLE,
    "public.audit_groups": _NO_ROLE,
}
"""The operator reads all views."""

WRITTEN_BY_OWNER: Final = (
    "public.installation_fingerprints",
    "public.trained_bundles",
    "public.alembic_version",
    "public.operator_rules",
)
"""Tables that the operator only reads, because only Tailorbird may write records that it trusts."""

FUNCTIONS: Final[Mapping[str, tuple[Role, ...]]] = {
    "identity.user_key(text)": ("serving", "operator"),
    "identity.remember_user(text, text, integer)": ("serving",),
    "public.state_consent(text, boolean, timestamptz, text)": ("serving",),
    "public.known_of_user(text,text)": ("serving",),
    "public.served_lists(text[], text[])": ("serving",),
    "public.keep_live_lists(jsonb)": ("serving",),
    "public.waiting_items(text[])": ("serving",),
}
SCHEMAS: Final[Mapping[str, tuple[Role, ...]]] = {
    "public": ROLES,
    "identity": ("serving", "ingest", "operator"),
    "optuna": ("operator",),
}
STUDIES: Final = "optuna"
"""The schema of Optuna's tables; the operator reads them."""
DATABASE: Final[Mapping[str, tuple[Role, ...]]] = {"CONNECT": ROLES, "TEMPORARY": ("ingest", "operator")}
"""Ingestion compares new rows with stored rows in temporary tables."""
