"""Finds and creates the Prefect notification blocks that send alerts."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from infra.configuration.settings import Settings
from infra.prefect_api.client import PrefectClient
from models.errors import TailorbirdError

BLOCK: Final = re.compile(r"block:([a-z0-9-]+)/([a-z0-9-]+)")
_TYPE: Final = "slack-webhook"
"""Prefect's block that passes any address to Apprise, not only those of Slack."""
_NAME: Final = "tailorbird-alerts"
# A comma within an address, such as between two recipients, is followed by none of these.
_SEPARATOR: Final = re.compile(r"\s*,\s*(?=block:|[a-z][a-z0-9+.-]*://)")


class AlertsRefusedError(TailorbirdError):
    """TAILORBIRD_ALERTS names something that cannot receive alerts."""


@dataclass(frozen=True)
class _BlockType:
    """A type of block in Prefect."""

    type_id: str
    schema_id: str


@dataclass(frozen=True)
class _Block:
    """A block that this module created from an address."""

    id: str
    name: str
    address: str

    @property
    def number(self) -> int:
        """Return its place among the addresses, from 1."""
        return int(self.name.rpartition("-")[2])


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


def blocks(settings: Settings, client: PrefectClient) -> list[str]:
    """Return the ids of the blocks that send alerts; create and update those of addresses, and remove old ones."""
    entries = addresses(settings)
    given = list(_given(entries, client))
    own = [entry for entry in entries if not entry.startswith("block:")]
    block_type = _block_type(client)
    if block_type is None:
        if own:
            raise AlertsRefusedError(
                f"TAILORBIRD_ALERTS: this Prefect has no block type {_TYPE}; name a block instead."
            )
        return given
    created = [_ensured(client, block_type, f"{_NAME}-{number}", address) for number, address in enumerate(own, 1)]
    for block in _own(client):
        if block.number > len(own):
            client.delete(f"/block_documents/{block.id}")
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


def _block_type(client: PrefectClient) -> _BlockType | None:
    block_type = client.get(f"/block_types/slug/{_TYPE}")
    if block_type is None:
        return None
    query = {"block_schemas": {"block_type_id": {"any_": [block_type["id"]]}}}
    schemas = client.find("/block_schemas", query)
    return _BlockType(block_type["id"], schemas[0]["id"]) if schemas else None


def _own(client: PrefectClient) -> Iterator[_Block]:
    query = {"block_types": {"slug": {"any_": [_TYPE]}}, "include_secrets": True}
    for block in client.find("/block_documents", query):
        if re.fullmatch(rf"{_NAME}-\d+", block["name"] or ""):
            yield _Block(str(block["id"]), block["name"], str(block["data"].get("url")))


def _ensured(client: PrefectClient, block_type: _BlockType, name: str, address: str) -> str:
    """Return the id of the block of that name, with this address."""
    known = next((block for block in _own(client) if block.name == name), None)
    data = {"url": address}
    if known is None:
        ids = {"block_schema_id": block_type.schema_id, "block_type_id": block_type.type_id}
        return str(client.post("/block_documents/", {"name": name, "data": data, **ids})["id"])
    if known.address != address:
        client.patch(f"/block_documents/{known.id}", {"data": data})
    return known.id
