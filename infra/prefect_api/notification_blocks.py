"""Finds and creates the Prefect notification blocks that send alerts."""

import re
from collections.abc import Iterator
from typing import Final

from infra.configuration.settings import Settings
from infra.prefect_api.client import PrefectClient
from models.errors import TailorbirdError
from models.primitives.json_types import JsonObject

BLOCK: Final = re.compile(r"block:([a-z0-9-]+)/([a-z0-9-]+)")
_TYPE: Final = "slack-webhook"
"""Prefect's block that passes any address to Apprise, not only those of Slack."""
_NAME: Final = "tailorbird-alerts"
# A comma within an address, such as between two recipients, is followed by none of these.
_SEPARATOR: Final = re.compile(r"\s*,\s*(?=block:|[a-z][a-z0-9+.-]*://)")


class AlertsRefusedError(TailorbirdError):
    """TAILORBIRD_ALERTS names something that cannot receive alerts."""


def addresses(settings: Settings) -> list[str]:
    """Return the entries of TAILORBIRD_ALERTS.

    Raises AlertsRefusedError for an entry that cannot be read; the message does not repeat its secrets.
    """
    entries = [entry for entry in _SEPARATOR.split(settings.alerts.get_secret_value().strip()) if entry]
    for number, entry in enumerate(entries, 1):
        if not (BLOCK.fullmatch(entry) if entry.startswith("block:") else _readable(entry)):
            raise AlertsRefusedError(
                f"TAILORBIRD_ALERTS: entry {number} cannot be read. Write a block of Prefect as "
                "block:slack-webhook/ops or an address that Apprise knows: https://hooks.slack.com/services/…, "
                "json://host:port/path, "
                "jsons://host/path, mailto://user:password@smtp.example?to=ops@example."
            )
    return entries


def receivers(settings: Settings) -> dict[str, str]:
    """Return the address of each block that sends alerts, by `type/name`; empty for blocks that the setting names."""
    entries = addresses(settings)
    own = (entry for entry in entries if not entry.startswith("block:"))
    created = {f"{_TYPE}/{_NAME}-{number}": address for number, address in enumerate(own, 1)}
    return {entry.removeprefix("block:"): "" for entry in entries if entry.startswith("block:")} | created


def blocks(settings: Settings, client: PrefectClient) -> list[str]:
    """Return the ids of the blocks that send alerts; create and update those of addresses, and remove old ones."""
    entries = addresses(settings)
    given = list(_given(entries, client))
    wanted = {name.removeprefix(f"{_TYPE}/"): address for name, address in receivers(settings).items() if address}
    schema = _schema(client)
    if schema is None:
        if wanted:
            raise AlertsRefusedError(
                f"TAILORBIRD_ALERTS: this Prefect has no block type {_TYPE}; name a block instead."
            )
        return given
    known = _own(client)
    created = [_ensured(client, schema, known.get(name), name, address) for name, address in wanted.items()]
    for name in known.keys() - wanted.keys():
        client.delete(f"/block_documents/{known[name]['id']}")
    return [*given, *created]


def _readable(address: str) -> bool:
    from apprise import Apprise  # 0.2 s, for installations that send alerts

    try:
        return Apprise.instantiate(address, suppress_exceptions=True) is not None
    except Exception:  # a plugin failed: the caller refuses the address
        return False


def _given(entries: list[str], client: PrefectClient) -> Iterator[str]:
    """Yield the ids of the blocks that the setting names."""
    for entry in entries:
        if match := BLOCK.fullmatch(entry):
            block = client.get(f"/block_types/slug/{match[1]}/block_documents/name/{match[2]}")
            if block is None:
                raise AlertsRefusedError(
                    f"TAILORBIRD_ALERTS: Prefect has no block {match[1]}/{match[2]}. Make it on its page (Blocks), or "
                    "correct the name."
                )
            yield str(block["id"])


def _schema(client: PrefectClient) -> JsonObject | None:
    """Return the ids of the type of block and of its newest schema; None if Prefect has no such type."""
    block_type = client.get(f"/block_types/slug/{_TYPE}")
    if block_type is None:
        return None
    query = {"block_schemas": {"block_type_id": {"any_": [block_type["id"]]}}}
    schemas = client.find("/block_schemas", query)
    return {"block_type_id": block_type["id"], "block_schema_id": schemas[0]["id"]} if schemas else None


def _own(client: PrefectClient) -> dict[str, JsonObject]:
    """Return the blocks that this module created from addresses, by name."""
    query = {"block_types": {"slug": {"any_": [_TYPE]}}, "include_secrets": True}
    found = {block["name"] or "": block for block in client.find("/block_documents", query)}
    return {name: block for name, block in found.items() if re.fullmatch(rf"{_NAME}-\d+", name)}


def _ensured(client: PrefectClient, schema: JsonObject, known: JsonObject | None, name: str, address: str) -> str:
    """Return the id of the block of that name, with this address."""
    data = {"url": address}
    if known is None:
        return str(client.post("/block_documents/", {"name": name, "data": data, **schema})["id"])
    if known["data"].get("url") != address:
        client.patch(f"/block_documents/{known['id']}", {"data": data})
    return str(known["id"])
