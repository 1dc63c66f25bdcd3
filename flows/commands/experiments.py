"""Commands of experiments: list, start, read, stop."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands import running
from flows.commands.reviewing import Actor, Reason
from flows.commands.running import Json

app = running.group("Compare variants of placements on real people.")
Name = Annotated[str, typer.Argument(help="The name of the experiment.")]


@app.command("list")
def list_experiments(as_json: Json = False) -> None:
    """Show the experiments that were started, the newest first."""
    from serving.queries.experiments import experiment_rows

    rows = experiment_rows(running.database("serving"))
    running.finish("experiments", rows, as_json)


@app.command()
def start(name: Name, actor: Actor, as_json: Json = False) -> None:
    """Publish the lists of an experiment's variants, then assign people to them."""
    running.finish("experiment", running.flow("start_experiment")(name, actor), as_json)


@app.command()
def export(
    name: Name, to: Annotated[Path, typer.Option(help="The file; one JSON object per line.")], as_json: Json = False
) -> None:
    """Write who saw which variant, as calls `Experiment Viewed` of Segment."""
    from serving.queries.experiments import export_views

    running.finish("experiment_views", export_views(running.database("operator"), name, to), as_json)


@app.command()
def read(name: Name, as_json: Json = False) -> None:
    """Compute what an experiment has shown so far: changes with intervals, checks, and the sentence to claim."""
    running.finish("readout", running.flow("experiments", "mlflow")(name)[0], as_json)


@app.command()
def stop(name: Name, reason: Reason, actor: Actor, as_json: Json = False) -> None:
    """Stop an experiment: from the next answer on, everybody gets the placement's own lists."""
    running.finish("experiment", running.flow("stop_experiment", "mlflow")(name, actor, reason), as_json)
