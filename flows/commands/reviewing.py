"""What a person decides about model versions: review, decide, roll back."""

import sys
from getpass import getuser
from typing import Annotated

import typer

from flows.commands import running
from flows.commands.modelling import Models, Version, kind_names
from flows.commands.running import Json

app = running.group()
back = running.group("One step back.")


def _worded(text: str) -> str:
    """Refuse what names nobody."""
    if not text.strip():
        raise typer.BadParameter("write who decides: it is recorded")
    return text


def _reason(text: str) -> str:
    """Refuse what says nothing."""
    from models.primitives.recorded_reasons import reason_fault

    if fault := reason_fault(text, "you decide so", "better on new items"):
        raise typer.BadParameter(fault)
    return text


Who = Annotated[str, typer.Option(default_factory=getuser, callback=_worded, help="Who decides. It is recorded.")]
Why = Annotated[str, typer.Option(callback=_reason, help="Why. It is recorded.")]
_MLFLOW = ("mlflow",)  # a no and a rollback do not wait for it


@app.command()
def review(
    dataset: Version = None,
    model: Models = None,
    as_json: Json = False,
) -> None:
    """Compare the models; the best becomes the challenger if it passes the gate."""
    run = running.flow("review")
    from flows.train import MODELS

    running.finish("review", run(dataset, kind_names(model) or MODELS), as_json)


@app.command()
def decide(
    reason: Why,
    reviewer: Who,
    approve: Annotated[
        bool | None, typer.Option("--approve/--reject", help="Yes or no: one of them is required.")
    ] = None,
    version: Annotated[
        int | None, typer.Argument(min=1, max=2**31 - 1, help="In MLflow; by default the newest reviewed.")
    ] = None,
    override: Annotated[bool, typer.Option("--override", help="Promote it although the gate refused it.")] = False,
    as_json: Json = False,
) -> None:
    """Approve or reject the challenger."""
    if approve is None:
        raise typer.BadParameter("write one of them", param_hint="'--approve' / '--reject'")
    carry = running.flow("decide", *([] if approve else _MLFLOW))
    running.finish("decision", carry("approve" if approve else "reject", reviewer, reason, version, override), as_json)


@app.command()
def reconcile(
    watch: Annotated[bool, typer.Option(help="Stay, and look again and again; `up` starts this.")] = False,
    every: Annotated[float, typer.Option(min=1, max=86_400, help="Seconds between two looks.")] = 15,
) -> None:
    """Hear what people set in MLflow: the tag `review`, the alias `champion`; and let it say what is true."""
    running.connect() if not watch else running.export()
    from tasks.reconciler.reconcile import run_once
    from tasks.reconciler.reconcile import watch as reconcile_forever

    reconcile_forever(every) if watch else run_once()


@back.command("model")
def rollback_model(
    reason: Why,
    actor: Who,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Let the champion before answer again, with its last lists where they are still kept.

    On a terminal it asks first.
    """
    go_back = running.flow("rollback", *_MLFLOW)
    if sys.stdin.isatty() and not yes:
        from infra.installation import current
        from tasks.scoring.roll_back_model import going_back

        running.print_message(going_back(current()))
        running.confirm("Roll back?", "")
    running.finish("rollback", go_back(actor, reason), as_json)


@back.command("recommendations")
def rollback_recommendations(placement: str, reason: Why, actor: Who, as_json: Json = False) -> None:
    """Show a placement's lists before the live ones again; who withdrew consent since is taken out of them first."""
    back_to = running.flow("rollback_lists", *_MLFLOW)(placement, actor, reason)
    running.finish("rollback", back_to, as_json)
