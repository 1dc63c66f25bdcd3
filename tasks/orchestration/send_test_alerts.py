"""Sends a test alert by each notification block that Prefect's automations use."""

import asyncio
from typing import cast

from prefect.blocks.abstract import NotificationBlock
from prefect.blocks.core import Block

from infra.configuration.addresses import redact
from infra.configuration.settings import Settings
from infra.prefect_api.notification_blocks import receivers
from models.errors import TailorbirdError


def send_test_alerts(settings: Settings) -> dict[str, str]:
    """Send an alert to each receiver; return the error by receiver, empty if the alert was sent.

    Raises TailorbirdError without any receiver.
    """
    if addresses := receivers(settings):
        return {name: _send_to(name, address) for name, address in addresses.items()}
    where = "name an address as `alerts` in tailorbird.toml, or in TAILORBIRD_ALERTS, and run `tailorbird up` again"
    raise TailorbirdError(f"Nobody gets alerts: {where}.")


def _send_to(name: str, address: str) -> str:
    outdated = "Prefect has another receiver, or none: run `tailorbird up` again."
    try:
        block = cast(NotificationBlock, Block.load(name))
    except ValueError:  # Prefect has no such block
        return outdated
    return outdated if address and block.url.get_secret_value() != address else send(block)  # type: ignore[attr-defined]


def send(block: NotificationBlock) -> str:
    """Send an alert as automations do; return why it failed."""

    async def notify() -> None:
        await block.notify("You get this, so alerts arrive here. Nothing has happened.", "Tailorbird: a test alert")

    try:
        with block.raise_on_failure():
            asyncio.run(notify())
    except Exception as error:  # of Prefect with a log, or of a plugin
        return redact(getattr(error, "log", str(error)).strip()) or "The receiver refused it."
    return ""
