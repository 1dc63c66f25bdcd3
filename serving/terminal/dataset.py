"""Prints a data set: its cuts, its rows, and remarks."""

from collections.abc import Mapping
from typing import Any, Final

from models.datasets.acceptance import WARNED
from models.primitives.time import moment
from serving.terminal.console import line, table

_MOMENTS: Final = {"validation_from": "validation from", "test_from": "test from", "as_of": "events before"}


def dataset(manifest: Mapping[str, Any]) -> None:
    """Print the manifest of a data set, or its comparison with a rebuilt one."""
    if "rows" not in manifest:
        line(", ".join(f"{name}: {value}" for name, value in manifest.items() if value is not None))
        return
    moments = (f"{title} {moment(manifest[name])} UTC" for name, title in _MOMENTS.items())
    line(", ".join([f"Data set {manifest['version']}", *moments]))
    rows = [{"table": name, "rows": f"{count:,}"} for name, count in manifest["rows"].items()]
    table("Rows", rows, {"table": "table", "rows": "rows"})
    refunds = manifest.get("refunds", {"matched": 0, "unmatched": 0})
    if any(refunds.values()):
        line(f"Refunds: {refunds['matched']:,} found their purchase, {refunds['unmatched']:,} did not.")
    for note in manifest.get("traits", []):
        line(note)
    for accepted in manifest.get("accepted", []):
        line(f"Accepted by {accepted['accepted_by']}: {accepted['detail']}. The reason: {accepted['reason']}")
    warnings = manifest.get("warnings", [])
    for warning in warnings:
        line(f"Warning: {warning}.", "yellow")
    if warnings:
        line(WARNED)
