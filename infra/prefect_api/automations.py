"""Defines, creates and updates Prefect's automations. A disabled one stays disabled.

They start a retraining, score a segment, send alerts, and mark dead runs as crashed.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from infra.configuration.settings import Settings
from infra.prefect_api import events
from infra.prefect_api.client import PAGE, PrefectClient
from infra.prefect_api.deployments import POOL
from infra.prefect_api.notification_blocks import blocks
from infra.services.endpoints import Endpoints, pages_root
from models.primitives.json_types import JsonObject

_BODY: Final = "{{ event.payload.reason }}{% if event.payload.page %}\n\n{{ event.payload.page }}{% endif %}"
_ENDED: Final = [f"prefect.flow-run.{name}" for name in ("Completed", "Failed", "Cancelled", "Crashed")]
_TAKEN: Final = [f"prefect.flow-run.{name}" for name in ("Pending", "Running", "AwaitingConcurrencySlot", "Missed")]
_HEARTBEAT: Final = "prefect.flow-run.heartbeat"
_HEARTBEAT_TIMEOUT: Final = 300
"""Seconds without a heartbeat after which a run is dead; runs send one every minute."""
_LATE: Final = 300
"""Seconds after which a run is late."""
_OWN: Final = "tailorbird:"
"""The prefix of the tag that holds an automation's slug."""
_STATE: Final = "definition:"
"""The prefix of the tag that holds the digest of its definition."""


@dataclass(frozen=True)
class Definition:
    """One automation. An alert has a `subject` and a `body`, every other one an `action`."""

    slug: str
    name: str
    description: str
    trigger: JsonObject
    subject: str = ""
    body: str = ""
    action: JsonObject = field(default_factory=dict)


def alerts(page: str) -> list[Definition]:
    """Return the automations that send messages to people; `page` is Prefect's address."""
    event_alerts = [
        Definition(slug, name, f"The event {event}.", _reactive(event), f"Tailorbird: {name}", _BODY)
        for slug, name, event in _EVENTS
    ]
    run = f"\n\n{pages_root(page)}/runs/flow-run/{{{{ flow_run.id }}}}"
    failed = "The run {{ flow_run.name }} of {{ flow.name }} ended as {{ flow_run.state.name }}. Its page has the log:"
    late = "The run {{ flow_run.name }} of {{ flow.name }} should have begun five minutes ago, and no worker has taken "
    late += "it. `tailorbird up` starts one."
    subject = "Tailorbird: {{ flow.name }} "
    return [
        *event_alerts,
        Definition(
            "run-failed", "a run failed or crashed", "Runs of the worker.", _runs(["Failed", "Crashed"]),
            subject + "{{ flow_run.state.name | lower }}", failed + run,
        ),
        Definition(
            "run-late", "a run does not begin", "Runs that no worker has taken for five minutes.", _late(),
            subject + "does not begin", late + run,
        ),
    ]  # fmt: skip


_EVENTS: Final = (
    ("drift", "drift was detected, and retraining was requested", events.DRIFT),
    ("feed-broken", "the feed of events is broken", events.BROKEN_FEED),
    ("accuracy-low", "realised accuracy is below its band", events.LOW_ACCURACY),
    ("serving-slow", "serving is slow or returns errors", events.SLOW_SERVING),
    ("review-expired", "nobody decided a review in time", events.EXPIRED_REVIEW),
    ("lists-stale", "recommendations are stale", events.STALE_LISTS),
    ("gate-refused", "the gate refused a challenger", events.GATE_REFUSED),
    ("version-altered", "a registered version was altered", events.ALTERED_VERSION),
    ("audit", "an audit is beyond its margin", events.AUDIT),
    ("stream-behind", "a stream is behind or has dead letters", events.STREAM),
    ("orders-unconfirmed", "fresh visitors of a page buy an item unusually often", events.UNCONFIRMED_ORDERS),
    ("quota-spent", "the daily quota of a page key is spent", events.QUOTA),
    ("retrain-given-up", "a retraining was given up", events.GIVEN_UP),
    ("privacy-late", "a request of a person is late, or soon is", events.PRIVACY),
    ("experiment-stopped", "a guardrail stopped an experiment", events.EXPERIMENT_STOPPED),
    ("service-restarted", "a service ends again and again", events.SERVICE),
)


def retrain_on_drift(deployment_id: str) -> Definition:
    """Return the automation that starts `retrain` with the number of the request when drift is detected."""
    # As JSON: a template yields text, which the run's schema refuses without a message.
    number = {"__prefect_kind": "jinja", "template": "{{ event.payload.request }}"}
    request = {"__prefect_kind": "json", "value": number}
    description = "Starts a run for a new retrain request. The reconciler starts the runs that this automation misses."
    action = _start(deployment_id, {"request": request})
    return Definition("retrain", "retrain when drift is detected", description, _reactive(events.DRIFT), action=action)


def score_segment_on_message(deployment_id: str) -> Definition:
    """Return the automation that starts `score` for a segment when a message of a broker asks for it."""
    segment = {"__prefect_kind": "jinja", "template": "{{ event.payload.segment }}"}
    description = "Starts a run when a message of a broker names a segment: consumers score its live lists again."
    trigger, action = _reactive(events.SEGMENT), _start(deployment_id, {"segment": segment})
    return Definition(
        "score-segment", "score a segment when a message asks for it", description, trigger, action=action
    )


def reap_dead_runs(flows: list[str]) -> Definition:
    """Return the automation that marks runs without heartbeats as crashed: as `Running` they hold up others."""
    description = "Marks a run as crashed after five minutes without a heartbeat. Live runs send one every minute."
    trigger = _event([_HEARTBEAT, *_ENDED], {"prefect.resource.id": "prefect.flow-run.*"})
    trigger |= {"posture": "Proactive", "after": [_HEARTBEAT], "within": _HEARTBEAT_TIMEOUT}
    trigger["for_each"] = ["prefect.resource.id"]
    trigger["match_related"] = {"prefect.resource.role": "flow", "prefect.resource.name": flows}
    action = {"type": "change-flow-run-state", "state": "CRASHED", "name": "Crashed"}
    action |= {"message": "It sent no heartbeat for five minutes."}
    return Definition("dead-runs", "mark dead runs as crashed", description, trigger, action=action)


def _start(deployment_id: str, parameters: JsonObject) -> JsonObject:
    """Return the action that starts a deployment."""
    action = {"type": "run-deployment", "source": "selected", "deployment_id": deployment_id}
    return action | {"parameters": parameters}


def _reactive(event: str) -> JsonObject:
    return _event([event], {"prefect.resource.id": "tailorbird.*"})


def _runs(states: list[str]) -> JsonObject:
    """Return a trigger for the worker's runs, without the runs that these start, which the parent run reports."""
    trigger = _event([f"prefect.flow-run.{state}" for state in states], {"prefect.resource.id": "prefect.flow-run.*"})
    return trigger | {"match_related": {"prefect.resource.role": "work-pool", "prefect.resource.name": POOL}}


def _late() -> JsonObject:
    trigger = _runs(["Late"])
    taken = {"expect": [*_TAKEN, *_ENDED], "posture": "Proactive", "within": _LATE, "for_each": ["prefect.resource.id"]}
    return trigger | {"after": trigger["expect"]} | taken


def _event(expect: list[str], match: JsonObject) -> JsonObject:
    return {"type": "event", "posture": "Reactive", "expect": expect, "match": match, "threshold": 1, "within": 0}


def ensure(endpoints: Endpoints, settings: Settings) -> bool:
    """Create, change and remove automations and the blocks that send alerts; return whether anything changed.

    Raises AlertsRefusedError when TAILORBIRD_ALERTS names a block that Prefect does not have.
    """
    client = PrefectClient.of(endpoints)
    known, changed = _known(client), False
    for slug, body in list(_requests(client, endpoints, settings)):
        changed |= _put(client, known.pop(slug, []), body)
    for leftover in known.values():
        for automation in leftover:
            client.delete(f"/automations/{automation['id']}")
            changed = True
    return changed


def _requests(client: PrefectClient, endpoints: Endpoints, settings: Settings) -> Iterator[tuple[str, JsonObject]]:
    """Yield the slug of every automation, and the automation in the form that Prefect accepts."""
    query = {"work_pools": {"name": {"any_": [POOL]}}, "limit": PAGE}
    deployed = {row["name"]: row["id"] for row in client.find("/deployments", query)}
    if "retrain" in deployed:
        yield _request(retrain_on_drift(deployed["retrain"]))
    if "score" in deployed:
        yield _request(score_segment_on_message(deployed["score"]))
    if deployed:
        yield _request(reap_dead_runs(sorted(deployed)))
    block_ids = blocks(settings, client)
    for alert in alerts(endpoints.prefect_page):
        yield _request(alert, block_ids)


def _request(definition: Definition, block_ids: Sequence[str] = ()) -> tuple[str, JsonObject]:
    """Return an automation that acts, or sends its message to these blocks."""
    message = {"type": "send-notification", "subject": definition.subject, "body": definition.body}
    actions = [{**message, "block_document_id": block} for block in block_ids]
    if definition.action:
        actions = [definition.action]
    note = "" if actions else "Nobody gets alerts: name an address in TAILORBIRD_ALERTS and run `tailorbird up` again."
    body = {
        "name": f"Tailorbird: {definition.name}",
        "description": f"{definition.description} {note}".strip(),
        "trigger": definition.trigger,
        "actions": actions or [{"type": "do-nothing"}],
    }
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]
    return definition.slug, {**body, "tags": [f"{_OWN}{definition.slug}", f"{_STATE}{digest}"]}


def _known(client: PrefectClient) -> dict[str, list[JsonObject]]:
    """Return Tailorbird's automations in Prefect by slug: one each, unless two processes created them."""
    known: dict[str, list[JsonObject]] = {}
    for automation in client.find_all("/automations"):
        for tag in automation["tags"]:
            if tag.startswith(_OWN):
                known.setdefault(tag.removeprefix(_OWN), []).append(automation)
    return known


def _put(client: PrefectClient, known: list[JsonObject], body: JsonObject) -> bool:
    """Create or replace one automation and delete its duplicates; return whether anything changed."""
    if not known:
        client.post("/automations/", {**body, "enabled": True})
        return True
    first, *duplicates = sorted(known, key=lambda automation: str(automation["created"]))
    for duplicate in duplicates:
        client.delete(f"/automations/{duplicate['id']}")
    if set(body["tags"]) <= set(first["tags"]):
        return bool(duplicates)
    client.put(f"/automations/{first['id']}", {**body, "enabled": first["enabled"]})
    return True
