"""Prints the result of a decision or a rollback."""

from collections.abc import Mapping
from typing import Any

from serving.terminal.console import line


def decision(value: Mapping[str, Any]) -> None:
    """Print the decision about a version, with reviewer and reason, and the present champion."""
    if value.get("remark"):
        line(value["remark"])
    against = " against the gate" if value.get("overridden") else ""
    line(f"Version {value['model_version']} was {value['decision']} by {value['reviewer']}{against}: {value['reason']}")
    version = value.get("champion")
    line(f"Version {version} is the champion." if version else "No version is the champion.")


def _again(batch: int | None, lists: Mapping[str, int]) -> str:
    if batch is None:
        return f"no lists of it are kept, so the {lists['now']:,} lists shown before stay"
    return (
        f"batch {batch} is shown again, with {lists['now']:,} lists; before the rollback there were {lists['before']:,}"
    )


def rollback(value: Mapping[str, Any]) -> None:
    """Print the batches that are shown again, and those that they replace."""
    if "batches" in value:
        line(f"Version {value['to']} is the champion again, in place of version {value['from']}.")
        for placement, batch in value["batches"].items():
            line(f"{placement}: {_again(batch, value['lists'][placement])}")
        command = f'tailorbird decide {value["from"]} --approve --reason "…"'
        line(f"To take this rollback back: {command}", wrap=False)
    else:
        line(f"Batch {value['batch_id']} is shown again, in place of batch {value['from']}.")
        counts = f"It has {value['users']:,} lists of version {value['model_version']}"
        line(f"{counts}; before the rollback there were {value['users_before']:,}.")
    if value.get("next"):
        line(value["next"])
