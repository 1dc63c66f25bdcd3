"""Where alerts go: Prefect's notification blocks, made here from addresses or by a person on Prefect's page."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from infra.configuration.settings import Settings
from models.errors import TailorbirdError

Call = Callable[..., Any]
"""Asks Prefect: method, path, body."""
BLOCK: Final = re.compile(r"block:([a-z0-9-]+)/([a-z0-9-]+)")
_TYPE: Final = "slack-webhook"
"""Prefect's block that hands any address on to Apprise, not only those of Slack."""
_NAME: Final = "tailorbird-alerts"
# A comma within an address, such as between two recipients, is followed by none of these.
_BETWEEN: Final = re.compile(r"\s*,\s*(?=block:|[a-z][a-z0-9+.-]*://)")


class AlertsRefusedError(TailorbirdError):
    """TAILORBIRD_ALERTS names something that no alert can be sent to."""


@dataclass(frozen=True)
class _Kind:
    """A type of block as Prefect knows it."""

    type_id: str
    schema_id: str


def addresses(settings: Settings) -> list[str]:
    """The entries of TAILORBIRD_ALERTS. Raises AlertsRefusedError for one that cannot be read, without its secrets."""
    found = [entry for entry in _BETWEEN.split(settings.alerts.get_secret_value().strip()) if entry]
    for place, entry in enumerate(found, 1):
        if not (BLOCK.fullmatch(entry) if entry.startswith("block:") else _readable(entry)):
            raise AlertsRefusedError(
                f"TAILORBIRD_ALERTS: entry {place} cannot be read. Write a block of Prefect as block:slack-webhook/ops "
                "or an address that Apprise knows: https://hooks.slack.com/services/…, json://host:port/path, "
                "jsons://host/path, mailto://user:password@smtp.example?to=ops@example."
            )
    return found


def blocks(settings: Settings, call: Call) -> list[str]:
    """The ids of the blocks that alerts are sent by; makes and updates those of addresses, and removes old ones."""
    entries = addresses(settings)
    named = list(_named(entries, call))
    own = [entry for entry in entries if not entry.startswith("block:")]
    kind = _kind(call)
    if kind is None:
        if own:
            raise AlertsRefusedError(
                f"TAILORBIRD_ALERTS: this Prefect has no block type {_TYPE}; name a block instead."
            )
        return named
    made = [_ensured(call, kind, f"{_NAME}-{number}", address) for number, address in enumerate(own, 1)]
    for name, block in _ours(call):
        if int(name.rpartition("-")[2]) > len(own):
            call("DELETE", f"/block_documents/{block['id']}")
    return [*named, *made]


def _readable(address: str) -> bool:
    from apprise import Apprise  # 0.2 s, for who sends alerts

    try:
        return Apprise.instantiate(address, suppress_exceptions=True) is not None
    except Exception:  # whatever its plugins make of it: it is told as what it is
        return False


def _named(entries: list[str], call: Call) -> Iterator[str]:
    for entry in entries:
        if match := BLOCK.fullmatch(entry):
            found = call("GET", f"/block_types/slug/{match[1]}/block_documents/name/{match[2]}")
            if found is None:
                raise AlertsRefusedError(
                    f"TAILORBIRD_ALERTS: Prefect has no block {match[1]}/{match[2]}. Make it on its page (Blocks), or "
                    "correct the name."
                )
            yield str(found["id"])


def _kind(call: Call) -> _Kind | None:
    found = call("GET", f"/block_types/slug/{_TYPE}")
    if found is None:
        return None
    schemas = call("POST", "/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [found["id"]]}}})
    return _Kind(found["id"], schemas[0]["id"]) if schemas else None


def _ours(call: Call) -> Iterator[tuple[str, dict[str, Any]]]:
    body = {"block_types": {"slug": {"any_": [_TYPE]}}, "include_secrets": True}
    for block in call("POST", "/block_documents/filter", body):
        if re.fullmatch(rf"{_NAME}-\d+", block["name"] or ""):
            yield block["name"], block


def _ensured(call: Call, kind: _Kind, name: str, address: str) -> str:
    known, data = dict(_ours(call)).get(name), {"url": address}
    if known is None:
        made = {"name": name, "data": data, "block_schema_id": kind.schema_id, "block_type_id": kind.type_id}
        return str(call("POST", "/block_documents/", made)["id"])
    if known["data"].get("url") != address:
        call("PATCH", f"/block_documents/{known['id']}", {"data": data})
    return str(known["id"])
