"""Commands for decisions about model versions: review, decide, roll back."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.commands import running
from flows.commands.modelling import Models, Version, kind_names
from flows.commands.running import Json
from models.primitives.json_types import JsonObject

app = running.group()
back = running.group("Go back one step.")
moved = running.group("Move a version to another installation.")


def _worded(text: str) -> str:
    """Refuse an empty name."""
    if not text.strip():
        raise typer.BadParameter("write who decides: it is recorded")
    return text


def _reason(text: str) -> str:
    """Refuse a reason without content."""
    from models.errors import reason_fault

    if fault := reason_fault(text, "you decide so", "better on new items"):
        raise typer.BadParameter(fault)
    return text


Actor = Annotated[
    str, typer.Option(default_factory=running.account, callback=_worded, help="The person who decides; it is recorded.")
]
Reason = Annotated[str, typer.Option(callback=_reason, help="The reason; it is recorded.")]
_MLFLOW = ("mlflow",)  # a rejection and a rollback do not need it


@app.command()
def review(
    actor: Actor,
    dataset: Version = None,
    model: Models = None,
    again: Annotated[
        int | None, typer.Option(min=1, max=2**31 - 1, help="Only ask again about this version, which was rejected.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why --again; it is recorded.")] = "",
    as_json: Json = False,
) -> None:
    """Compare the models; the best becomes the challenger if it passes the gate."""
    if again is not None:
        running.finish("reopened", _reopened(again, actor, _reason(reason)), as_json)
        return
    running.finish("review", running.flow("review")(dataset, kind_names(model)), as_json)


def _reopened(version: int, actor: str, reason: str) -> JsonObject:
    running.connect(*_MLFLOW)
    from infra.installation import current
    from infra.registry.client import Registry
    from tasks.promotion.apply_decision import reopen

    review = reopen(current(), Registry(current().endpoints.mlflow_tracking_uri), version, actor, reason)
    return {"version": version, "passed": review["passed"], "rejected_before": review["gate"][-1].get("detail")}


@app.command()
def decide(
    reason: Reason,
    reviewer: Actor,
    approve: Annotated[bool | None, typer.Option("--approve/--reject", help="One of the two is required.")] = None,
    version: Annotated[
        int | None,
        typer.Argument(min=1, max=2**31 - 1, help="The version in MLflow; by default the newest reviewed one."),
    ] = None,
    override: Annotated[bool, typer.Option("--override", help="Promote it although the gate refused it.")] = False,
    as_json: Json = False,
) -> None:
    """Approve or reject the challenger."""
    if approve is None:
        raise typer.BadParameter("write one of them", param_hint="'--approve' / '--reject'")
    decide_flow = running.flow("decide", *([] if approve else _MLFLOW))
    decision = decide_flow("approve" if approve else "reject", reviewer, reason, version, override)
    running.finish("decision", decision, as_json)


@moved.command("export")
def export_model(
    version: Annotated[int, typer.Argument(min=1, max=2**31 - 1, help="The version in MLflow.")],
    to: Annotated[Path, typer.Argument(help="A new folder. Its files name users by their pseudonyms.")],
    as_json: Json = False,
) -> None:
    """Write a reviewed version with its figures, the gate's verdict and its data set to a folder, signed."""
    running.connect()
    from infra.installation import current
    from infra.registry.client import Registry
    from tasks.promotion.export_version import export_version

    registry = Registry(current().endpoints.mlflow_tracking_uri)
    running.finish("model_export", export_version(current(), registry, version, to), as_json)


@moved.command("import")
def import_model(
    source: Annotated[Path, typer.Argument(help="A folder that `model export` wrote in another installation.")],
    reason: Reason,
    actor: Actor,
    as_json: Json = False,
) -> None:
    """Take over a version of another installation: it becomes the challenger, and a person decides."""
    running.connect()
    from infra.installation import current
    from infra.registry.client import Registry
    from tasks.promotion.import_version import import_version

    registry = Registry(current().endpoints.mlflow_tracking_uri)
    running.finish("model_import", import_version(current(), registry, source, actor, reason), as_json)


@app.command()
def reconcile(
    watch: Annotated[bool, typer.Option(help="Stay, and check repeatedly; `up` starts this.")] = False,
    every: Annotated[float, typer.Option(min=1, max=86_400, help="Seconds between two checks.")] = 15,
) -> None:
    """Apply decisions that people make in MLflow with the tag `review` or the alias `champion`; correct its aliases."""
    running.connect() if not watch else running.export()
    from tasks.reconciler.reconcile import run_once
    from tasks.reconciler.reconcile import watch as reconcile_forever

    reconcile_forever(every) if watch else run_once()


@back.command("model")
def rollback_model(
    reason: Reason,
    actor: Actor,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Make the previous champion serve again, with its last lists if they still exist.

    On a terminal it asks first.
    """
    rollback = running.flow("rollback", *_MLFLOW)
    if sys.stdin.isatty() and not yes:
        from infra.installation import current
        from tasks.scoring.roll_back import rollback_effect

        running.print_message(rollback_effect(current()))
        running.confirm("Roll back?", "")
    running.finish("rollback", rollback(actor, reason), as_json)


@back.command("recommendations")
def rollback_recommendations(placement: str, reason: Reason, actor: Actor, as_json: Json = False) -> None:
    """Show a placement's previous lists again, without the users who withdrew their consent since."""
    result = running.flow("rollback_lists", *_MLFLOW)(placement, actor, reason)
    running.finish("rollback", result, as_json)
