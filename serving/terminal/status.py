"""Prints the state of the installation."""

from collections.abc import Mapping
from typing import Any

from models.ingest.check.file_names import some_names
from models.monitoring.guidance.next_step import Stage, Step
from serving.queries.freshness import lacking_words
from serving.terminal.console import formatted, line
from serving.terminal.ledger import counted

_FIGURES = {
    "ndcg_at_10": "NDCG@10",
    "recall_at_10": "recall@10",
    "hit_rate_at_10": "hit rate@10",
    "new_ndcg_at_10": "NDCG@10, new items",
    "coverage_at_10": "coverage",
}
_STARTERS = ("worker", "reconciler")
_PROCESSES = (*_STARTERS, "supervisor")
_LARGEST = 6
"""The stores whose sizes are printed; the JSON has all."""
_MOMENTS = {"requested_at": "asked", "expires_at": "expires"}


def print_status(report: Mapping[str, Any]) -> None:
    """Print the state of the installation, one line per part."""
    _services(report["services"])
    if not report["services"]["postgres"]:
        _inbox({}, report.get("spool") or {})
        line("The rest is in PostgreSQL, which does not run. Next: tailorbird up")
        return
    _summary("ledger", report["ledger"])
    _unfinished_work(report)
    _inbox(report.get("inbox") or {}, report.get("spool") or {})
    _summary("champion", report["champion"])
    if report["champion"]:
        figures = report["champion"]["metrics"]
        line("  " + ", ".join(f"{label} {formatted(figures.get(name))}" for name, label in _FIGURES.items()))
    _summary("challenger", report["challenger"])
    for placement in report["placements"]:
        line(_placement(placement))
    largest = [f"{name} {size / 1e6:,.0f} MB" for name, size in (report.get("sizes") or {}).items()]
    if largest:
        line(f"sizes: {', '.join(largest[:_LARGEST])}")
    for run in report.get("running") or ():
        line(f"runs now: {run}")
    for process, keys in (report.get("outdated") or {}).items():
        line(f"The {process} uses other values of {', '.join(keys)} until the next `tailorbird up`.", "yellow")
    if report.get("next"):
        print_next_step(Step(**report["next"]))


def _services(services: Mapping[str, bool]) -> None:
    """Print which services answer or run, and what does not happen without those that do not."""
    for name, up in services.items():
        running, stopped = ("runs", "does not run") if name in _PROCESSES else ("reachable", "not reachable")
        line(f"{'●' if up else '○'} {name}: {running if up else stopped}")
    if not services["postgres"]:
        return
    if not all(services.get(name, True) for name in _STARTERS):
        line("Schedules and requests do not start now. Run `tailorbird up`: it starts what is missing.")
    elif not services.get("supervisor", True):
        line("Services that end do not start again. Run `tailorbird up`: it starts the supervisor.")


def _inbox(inbox: Mapping[str, Any], spool: Mapping[str, Any]) -> None:
    """Print the messages of applications that wait in PostgreSQL or on disk, and those that were refused."""
    if inbox.get("waiting"):
        line(f"  {counted(inbox['waiting'])} in the inbox, the oldest for {inbox['oldest_seconds']:,.0f} s")
    if inbox.get("refused"):
        line(f"  {inbox['refused']:,} messages of refused batches stay in the inbox.", "yellow")
    if spool.get("messages"):
        line(f"  {spool['messages']:,} messages wait on disk until the API reaches PostgreSQL.", "yellow")
    lost = {name: spool[name] for name in ("dropped", "refused") if spool.get(name)}
    if lost:
        line(f"  Of the spool on disk: {', '.join(f'{count:,} {name}' for name, count in lost.items())}.", "yellow")


def _summary(name: str, value: Mapping[str, Any] | None) -> None:
    """Print the figures of one part in a line."""
    shown = {_MOMENTS.get(key, key): _short(key, entry) for key, entry in (value or {}).items() if key != "metrics"}
    line(f"{name}: {', '.join(map(' '.join, shown.items())) or 'none yet'}")


def _unfinished_work(report: Mapping[str, Any]) -> None:
    """Print the rows in quarantine, the unfinished batches and requests of people, with the next command."""
    requests = report.get("privacy") or {}
    if requests.get("open"):
        late = f", {requests['late']:,} of them late" if requests["late"] else ""
        text = f"  {requests['open']:,} requests of people wait{late}: `tailorbird privacy list`"
        line(text, "yellow" if late else "")
    if report.get("waiting"):
        line(f"  {counted(report['waiting'])} in quarantine now: tailorbird quarantine list")
    if report.get("unconfirmed"):
        confirmed = "a `tailorbird ingest` of a catalogue that has them confirms them"
        line(f"  items that only pages have named: {report['unconfirmed']:,}, shown nowhere; {confirmed}", "yellow")
    cut_short: dict[str, list[str]] = {}
    for batch in report.get("unfinished") or ():
        name, undone = f"{batch['file']} ({batch['batch_id']})", batch["status"] == "undoing"
        if batch["active"]:
            line(f"  {name} is {'being undone' if undone else 'coming in'} now and counts nowhere yet.")
        elif undone:
            again = f"tailorbird ledger undo {batch['batch_id']}"
            line(f"  The undo of {name} was cut short; nothing of it counts. Next: {again}", "yellow")
        else:
            cut_short.setdefault(batch["source"], []).append(batch["file"])
    for source, files in cut_short.items():
        count = "1 file" if len(files) == 1 else f"{len(files):,} files"
        line(f"  cut short: the ingest of {count} of {source}: {some_names(files)}.", "yellow")


def _short(name: str, value: Any) -> str:
    """Return a value in readable form; times to the minute."""
    return f"{value[:16].replace('T', ' ')} UTC" if name in _MOMENTS else formatted(value)


def print_next_step(step: Step, *, brief: bool = False) -> None:
    """Print the situation, unless it was just printed (`brief`), and the next command."""
    line()
    if not brief or step.stage is Stage.UNDER_WAY:
        line(step.situation)
    line(f"Next: {step.command}", "bold", wrap=False)
    if step.also:
        line(step.also, "dim")


def _placement(row: Mapping[str, Any]) -> str:
    summary = f"{row['placement']}: {row.get('state', 'not known whether fresh')}"
    if row.get("batch_id") is None:
        return summary
    summary += f", batch {row['batch_id']}, version {row['model_version']}, {row['lists']:,} lists"
    lacking = lacking_words(row)
    summary += f" ({lacking})" if lacking and lacking not in summary else ""
    return f"{summary}; rolled back by {row['moved_by']}" if row["moved_by"] else summary
