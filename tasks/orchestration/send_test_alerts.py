"""Sends a test alert by each notification block that Prefect's automations use."""

import asyncio
from typing import Final, TypedDict, cast

from prefect.blocks.abstract import NotificationBlock, NotificationError
from prefect.blocks.core import Block

from infra.configuration.addresses import redact
from infra.configuration.settings import Settings
from infra.prefect_api.notification_blocks import receivers
from models.errors import TailorbirdError

_OUTDATED: Final = "Prefect has another receiver, or none: run `tailorbird up` again."


class AlertResult(TypedDict):
    """A receiver by its block in Prefect, and why it got no alert; None if it got one."""

    receiver: str
    error: str | None


def send_test_alerts(settings: Settings) -> list[AlertResult]:
    """Send one alert to each receiver; return the results. Raises TailorbirdError if there is no receiver."""
    addresses = receivers(settings)
    if not addresses:
        raise TailorbirdError(
            "Nobody gets alerts: name an address as `alerts` in tailorbird.toml, or in TAILORBIRD_ALERTS, and run "
            "`tailorbird up` again."
        )
    return [{"receiver": name, "error": _send_to(name, address)} for name, address in addresses.items()]


def _send_to(name: str, address: str) -> str | None:
    try:
        block = cast(NotificationBlock, Block.load(name))
    except ValueError:  # Prefect has no such block
        return _OUTDATED
    return _OUTDATED if address and block.url.get_secret_value() != address else send(block)  # type: ignore[attr-defined]


def send(block: NotificationBlock) -> str | None:
    """Send one alert as automations do; return why it failed."""
    try:
        with block.raise_on_failure():
            asyncio.run(_notify(block))
    except NotificationError as error:
        return redact(error.log.strip()) or "The receiver refused it."
    except Exception as error:  # plugins raise errors of their own
        return redact(f"{type(error).__name__}: {error}")
    return None


async def _notify(block: NotificationBlock) -> None:
    await block.notify("You get this, so alerts arrive here. Nothing has happened.", "Tailorbird: a test alert")
