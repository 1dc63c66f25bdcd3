"""Prints audits of served lists, and the state of drift."""

from collections.abc import Mapping
from typing import Any

from serving.terminal.console import line, table


def print_audit(report: Mapping[str, Any]) -> None:
    """Print the groups without their intervals, the verdict, and the address of the whole report."""
    if report["groups"]:
        title = f"Served lists of {report['placement']}, {report['window']}"
        rows = [{name: str(cell).split(" (")[0] for name, cell in row.items()} for row in report["groups"]]
        table(title, rows, {name: name for name in rows[0]})
    line(f"{report['status']}: {report['verdict']}" if report["groups"] else report["verdict"])
    if report.get("page"):
        line(f"The whole audit: {report['page']}", wrap=False)


def print_drift(value: Mapping[str, Any]) -> None:
    """Print the calibration, the latest windows, and the reasons of the newest decision."""
    usual, windows = value["usual"], value["windows"]
    if usual is None:
        line(value["note"] or "There is no calibration yet: `tailorbird monitor` makes one.")
        return
    length, until = usual["window_days"], usual["reference_to"][:10]
    if not windows:
        line(f"Nothing to judge yet: the first {length} whole days (UTC) since {until} are not over.")
        return
    line(
        f"Usual is what {usual['windows']} windows of {length} days up to {until} were like ({usual['reason']}). "
        f"Version {usual['model_version']} is watched."
    )
    lines = [row | {"days": f"{row['window_from'][:10]} to {row['window_to'][:10]}"} for row in windows]
    lines = [row | {"drivers": ", ".join(row["drivers"])} for row in lines]
    shown = ("days", "verdict", "joint", "joint_threshold", "drivers", "decision", "request_id")
    names = {name: name.replace("_", " ") for name in shown}
    table("Windows, the latest first", lines, names)
    for reason in windows[0]["reasons"]:
        line(reason)
    if windows[0]["page"]:
        line(f"The report: {windows[0]['page']}", wrap=False)
