"""The automations there are: what starts by itself, what is told to people, and which runs are taken for dead."""

from dataclasses import dataclass
from typing import Any, Final

from infra.prefect_api import events
from infra.prefect_api.deployments import POOL
from infra.services.prefect_pages import pages_root

_WORDS: Final = "{{ event.payload.reason }}{% if event.payload.page %}\n\n{{ event.payload.page }}{% endif %}"
_ENDED: Final = [f"prefect.flow-run.{name}" for name in ("Completed", "Failed", "Cancelled", "Crashed")]
_TAKEN: Final = [f"prefect.flow-run.{name}" for name in ("Pending", "Running", "AwaitingConcurrencySlot", "Missed")]
_HEARTBEAT: Final = "prefect.flow-run.heartbeat"
_SILENT: Final = 300
"""Seconds; a run says every minute that it lives."""
_LATE: Final = 300


@dataclass(frozen=True)
class Definition:
    """One automation; `subject` and `body` are of alerts."""

    slug: str
    name: str
    description: str
    trigger: dict[str, Any]
    subject: str = ""
    body: str = ""


def alerts(page: str) -> list[Definition]:
    """What people are told; `page` is Prefect's address."""
    told = [_of_event(slug, name, event) for slug, name, event in _EVENTS]
    run = f"\n\n{pages_root(page)}/runs/flow-run/{{{{ flow_run.id }}}}"
    failed = "The run {{ flow_run.name }} of {{ flow.name }} ended as {{ flow_run.state.name }}. Its page has the log:"
    late = "The run {{ flow_run.name }} of {{ flow.name }} should have begun five minutes ago, and no worker has taken "
    late += "it. `tailorbird up` starts one."
    subject = "Tailorbird: {{ flow.name }} "
    return [
        *told,
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
    ("drift", "drift was detected, and retraining asked for", events.DRIFT),
    ("feed-broken", "the feed of events is broken", events.BROKEN_FEED),
    ("accuracy-low", "accuracy as it comes true is below its band", events.LOW_ACCURACY),
    ("serving-slow", "serving is slow or answers by errors", events.SLOW_SERVING),
    ("review-expired", "nobody decided a review in time", events.EXPIRED_REVIEW),
    ("lists-stale", "recommendations are stale", events.STALE_LISTS),
    ("gate-refused", "the gate refused a challenger", events.GATE_REFUSED),
    ("version-altered", "a registered version was altered", events.ALTERED_VERSION),
    ("audit", "an audit is beyond its margin", events.AUDIT),
    ("retrain-given-up", "a retraining was given up", events.GIVEN_UP),
)


def retrain_on_drift(deployment_id: str) -> tuple[Definition, dict[str, Any]]:
    """What starts `retrain` when drift is detected, and the action: the request's number goes along."""
    # As JSON, because what a template gives is text, which the run's schema refuses without a word.
    number = {"__prefect_kind": "jinja", "template": "{{ event.payload.request }}"}
    request = {"__prefect_kind": "json", "value": number}
    action = {"type": "run-deployment", "source": "selected", "deployment_id": deployment_id}
    about = "A retrain request was made: starts a run that works on it. The reconciler starts what this one misses."
    found = Definition("retrain", "retrain when drift is detected", about, _reactive(events.DRIFT))
    return found, action | {"parameters": {"request": request}}


def reap_dead_runs(flows: list[str]) -> tuple[Definition, dict[str, Any]]:
    """What marks runs as crashed that do not say any more that they live: as `Running` they would hold up others."""
    about = "A run that was silent for five minutes, though it says every minute that it lives, is marked as crashed."
    trigger = _event([_HEARTBEAT, *_ENDED], {"prefect.resource.id": "prefect.flow-run.*"})
    trigger |= {"posture": "Proactive", "after": [_HEARTBEAT], "within": _SILENT, "for_each": ["prefect.resource.id"]}
    trigger["match_related"] = {"prefect.resource.role": "flow", "prefect.resource.name": flows}
    action = {"type": "change-flow-run-state", "state": "CRASHED", "name": "Crashed"}
    message = "It did not say for five minutes that it lives."
    return Definition("dead-runs", "mark dead runs as crashed", about, trigger), action | {"message": message}


def _of_event(slug: str, name: str, event: str) -> Definition:
    return Definition(slug, name, f"The event {event}.", _reactive(event), f"Tailorbird: {name}", _WORDS)


def _reactive(event: str) -> dict[str, Any]:
    return _event([event], {"prefect.resource.id": "tailorbird.*"})


def _runs(states: list[str]) -> dict[str, Any]:
    """Runs that our worker runs; not the parts of another one, which has its own word."""
    trigger = _event([f"prefect.flow-run.{state}" for state in states], {"prefect.resource.id": "prefect.flow-run.*"})
    return trigger | {"match_related": {"prefect.resource.role": "work-pool", "prefect.resource.name": POOL}}


def _late() -> dict[str, Any]:
    trigger = _runs(["Late"])
    taken = {"expect": [*_TAKEN, *_ENDED], "posture": "Proactive", "within": _LATE, "for_each": ["prefect.resource.id"]}
    return trigger | {"after": trigger["expect"]} | taken


def _event(expect: list[str], match: dict[str, Any]) -> dict[str, Any]:
    return {"type": "event", "posture": "Reactive", "expect": expect, "match": match, "threshold": 1, "within": 0}
