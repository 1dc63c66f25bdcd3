"""Creates and updates Prefect's automations as `automation_definitions` has them; none that is off is switched on."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from infra.configuration.settings import Settings
from infra.prefect_api.automation_definitions import Definition, alerts, reap_dead_runs, retrain_on_drift
from infra.prefect_api.deployments import POOL, authorization
from infra.prefect_api.notification_blocks import blocks
from infra.services.endpoints import Endpoints
from infra.services.http_client import request_json

_OURS: Final = "tailorbird:"
"""Begins the tag that says which of ours an automation is."""
_STATE: Final = "definition:"
"""Begins the tag that says by which definition it was made."""
_NOBODY: Final = "Nobody gets alerts: name an address in TAILORBIRD_ALERTS and run `tailorbird up` again."
_PAGE: Final = 200


def ensure(endpoints: Endpoints, settings: Settings) -> bool:
    """Make, change and remove automations, and the blocks that alerts are sent by; False when all was as it should be.

    Raises AlertsRefusedError when TAILORBIRD_ALERTS names a block that Prefect does not have.
    """
    api, headers = endpoints.prefect_api_url.rstrip("/"), authorization(endpoints.environment)

    def call(method: str, path: str, body: Any = None) -> Any:
        return request_json(method, f"{api}{path}", headers, body)

    known, changed = _known(call), False
    wanted = dict(_wanted(endpoints, settings, call))
    for slug, body in wanted.items():
        changed |= _put(call, known.pop(slug, []), body)
    for leftover in known.values():
        for automation in leftover:
            call("DELETE", f"/automations/{automation['id']}")
            changed = True
    return changed


def _wanted(endpoints: Endpoints, settings: Settings, call: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every automation as Prefect takes it."""
    chosen = {"work_pools": {"name": {"any_": [POOL]}}, "limit": _PAGE}
    deployed = {row["name"]: row["id"] for row in call("POST", "/deployments/filter", chosen)}
    if "retrain" in deployed:
        yield _body(*retrain_on_drift(deployed["retrain"]))
    if deployed:
        yield _body(*reap_dead_runs(sorted(deployed)))
    where = blocks(settings, call)
    for alert in alerts(endpoints.prefect_page):
        said = {"type": "send-notification", "subject": alert.subject, "body": alert.body}
        sent = [{**said, "block_document_id": block} for block in where]
        yield _body(alert, *(sent or [{"type": "do-nothing"}]), about="" if sent else _NOBODY)


def _body(definition: Definition, *actions: Mapping[str, Any], about: str = "") -> tuple[str, dict[str, Any]]:
    body = {
        "name": f"Tailorbird: {definition.name}",
        "description": f"{definition.description} {about}".strip(),
        "trigger": definition.trigger,
        "actions": [dict(action) for action in actions],
    }
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]
    return definition.slug, {**body, "tags": [f"{_OURS}{definition.slug}", f"{_STATE}{digest}"]}


def _known(call: Any) -> dict[str, list[dict[str, Any]]]:
    """Those of ours that Prefect has, by slug: one each, unless two have made them at once."""
    found: dict[str, list[dict[str, Any]]] = {}
    offset = 0
    while page := call("POST", "/automations/filter", {"limit": _PAGE, "offset": offset}):
        for automation in page:
            for tag in automation["tags"]:
                if tag.startswith(_OURS):
                    found.setdefault(tag.removeprefix(_OURS), []).append(automation)
        offset += len(page)
    return found


def _put(call: Any, known: list[dict[str, Any]], body: dict[str, Any]) -> bool:
    if not known:
        call("POST", "/automations/", {**body, "enabled": True})
        return True
    first, *doubles = sorted(known, key=lambda automation: str(automation["created"]))
    for double in doubles:
        call("DELETE", f"/automations/{double['id']}")
    if set(body["tags"]) <= set(first["tags"]):
        return bool(doubles)
    call("PUT", f"/automations/{first['id']}", {**body, "enabled": first["enabled"]})
    return True
