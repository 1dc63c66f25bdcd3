"""Creates and updates Prefect's automations from `automation_definitions`. A disabled one stays disabled."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

from infra.configuration.settings import Settings
from infra.prefect_api.automation_definitions import (
    ActionDefinition,
    Definition,
    alerts,
    reap_dead_runs,
    retrain_on_drift,
    score_segment_on_message,
)
from infra.prefect_api.client import PAGE, PrefectClient
from infra.prefect_api.deployments import POOL
from infra.prefect_api.notification_blocks import blocks
from infra.services.endpoints import Endpoints
from models.primitives.json_types import JsonObject

_OWN: Final = "tailorbird:"
"""The prefix of the tag that holds an automation's slug."""
_STATE: Final = "definition:"
"""The prefix of the tag that holds the digest of its definition."""
_NO_RECIPIENT: Final = "Nobody gets alerts: name an address in TAILORBIRD_ALERTS and run `tailorbird up` again."


@dataclass(frozen=True)
class _Automation:
    """An automation that Prefect has."""

    id: str
    created: str
    enabled: bool
    tags: frozenset[str]

    @classmethod
    def from_json(cls, automation: Mapping[str, Any]) -> Self:
        tags = frozenset(automation["tags"])
        return cls(str(automation["id"]), str(automation["created"]), bool(automation["enabled"]), tags)

    @property
    def slugs(self) -> list[str]:
        """Return the slugs in its tags; none for an automation of a person."""
        return [tag.removeprefix(_OWN) for tag in self.tags if tag.startswith(_OWN)]


class _Request(NamedTuple):
    """The request that creates or replaces an automation."""

    slug: str
    body: JsonObject


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
            client.delete(f"/automations/{automation.id}")
            changed = True
    return changed


def _requests(client: PrefectClient, endpoints: Endpoints, settings: Settings) -> Iterator[_Request]:
    """Yield every automation in the form that Prefect accepts."""
    query = {"work_pools": {"name": {"any_": [POOL]}}, "limit": PAGE}
    deployed = {row["name"]: row["id"] for row in client.find("/deployments", query)}
    if "retrain" in deployed:
        yield _action_request(retrain_on_drift(deployed["retrain"]))
    if "score" in deployed:
        yield _action_request(score_segment_on_message(deployed["score"]))
    if deployed:
        yield _action_request(reap_dead_runs(sorted(deployed)))
    block_ids = blocks(settings, client)
    for alert in alerts(endpoints.prefect_page):
        message = {"type": "send-notification", "subject": alert.subject, "body": alert.body}
        actions: list[JsonObject] = [{**message, "block_document_id": block} for block in block_ids]
        yield _request(alert, actions or [{"type": "do-nothing"}], note="" if actions else _NO_RECIPIENT)


def _action_request(automation: ActionDefinition) -> _Request:
    return _request(automation.definition, [automation.action])


def _request(definition: Definition, actions: list[JsonObject], note: str = "") -> _Request:
    body = {
        "name": f"Tailorbird: {definition.name}",
        "description": f"{definition.description} {note}".strip(),
        "trigger": definition.trigger,
        "actions": actions,
    }
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]
    return _Request(definition.slug, {**body, "tags": [f"{_OWN}{definition.slug}", f"{_STATE}{digest}"]})


def _known(client: PrefectClient) -> dict[str, list[_Automation]]:
    """Return Tailorbird's automations in Prefect by slug: one each, unless two processes created them."""
    known: dict[str, list[_Automation]] = {}
    for automation in map(_Automation.from_json, client.find_all("/automations")):
        for slug in automation.slugs:
            known.setdefault(slug, []).append(automation)
    return known


def _put(client: PrefectClient, known: list[_Automation], body: JsonObject) -> bool:
    """Create or replace one automation and delete its duplicates; return whether anything changed."""
    if not known:
        client.post("/automations/", {**body, "enabled": True})
        return True
    first, *duplicates = sorted(known, key=lambda automation: automation.created)
    for duplicate in duplicates:
        client.delete(f"/automations/{duplicate.id}")
    if set(body["tags"]) <= first.tags:
        return bool(duplicates)
    client.put(f"/automations/{first.id}", {**body, "enabled": first.enabled})
    return True
