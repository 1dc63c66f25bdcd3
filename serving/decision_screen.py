"""Shows in the terminal what a decision or a rollback changed."""

from collections.abc import Mapping
from typing import Any

from serving.console import line


def decision(value: Mapping[str, Any]) -> None:
    """Print who decided what about a version and why, and which version is the champion now."""
    against = " against the gate" if value.get("overridden") else ""
    line(f"Version {value['model_version']} was {value['decision']} by {value['reviewer']}{against}: {value['reason']}")
    holder = value.get("champion")
    line(f"Version {holder} is the champion." if holder else "No version is the champion.")


def rollback(value: Mapping[str, Any]) -> None:
    """Print what is shown again in place of what."""
    if "batches" in value:
        line(f"Version {value['to']} is the champion again, in place of version {value['from']}.")
        for placement, batch in value["batches"].items():
            line(f"{placement}: batch {batch} is shown again" if batch else f"{placement}: no lists of it are kept")
    else:
        line(f"Batch {value['batch_id']} is shown again, in place of batch {value['from']}.")
        line(f"It has {value['users']:,} lists of version {value['model_version']}.")
    if value.get("next"):
        line(value["next"])
