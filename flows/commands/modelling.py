"""From data set to published lists, and what came of them: features, search, train, score, audit."""

import re
from contextlib import suppress
from datetime import date
from getpass import getuser
from typing import Annotated, Any, Literal

import typer

from flows.commands import running
from flows.commands.running import Json
from models.recommenders.kinds import Kind
from models.tuning.retune_policy import MAX_MINUTES

app = running.group()

Method = Literal["tpe", "grid", "random"]
Label = Literal["click", "add_to_cart", "purchase", "engagement"]
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOST_DAYS = 3650


def _days(about: str, least: float = 1) -> Any:
    """Return an option for a number of days."""
    return typer.Option(min=least, max=_MOST_DAYS, help=about)


def _minutes(about: str) -> Any:
    return typer.Option(min=0.01, max=100_000, help=about)


def kind_names(models: list[Kind] | None) -> list[str]:
    """Return the models as the flows know them."""
    return [kind.value for kind in models or ()]


def _accepted(checks: list[str] | None, reason: str) -> dict[str, Any]:
    """Return the flow's parameters for accepted checks; refuses checks without a reason before anything starts."""
    from models.datasets.acceptance import Acceptance

    accepted = Acceptance.of(checks or [], reason, getuser())
    return {"accept": list(accepted.checks), "reason": reason, "accepted_by": accepted.accepted_by} if checks else {}


def _day(text: str) -> date:
    with suppress(ValueError):
        if _DAY.fullmatch(text) and 1970 <= (day := date.fromisoformat(text)).year <= 2999:
            return day
    raise typer.BadParameter("write a day of the years 1970 to 2999, such as 2017-12-31")


def _shares(text: str) -> list[float]:
    return [float(part) / 100 for part in text.split("/")]


def _checked_shares(text: str | None) -> str | None:
    """Refuse what is not three numbers above 0 that add up to 100."""
    try:
        parts = _shares(text) if text else [0.7, 0.15, 0.15]
    except ValueError:
        parts = []
    if len(parts) != 3 or not all(part > 0 for part in parts) or not abs(sum(parts) - 1) < 1e-9:
        raise typer.BadParameter("write three numbers above 0 that add up to 100, such as 70/15/15")
    return text


Accept = Annotated[
    list[str] | None,
    typer.Option(metavar="CHECK", help="A check that the data set may fail; may be given several times."),
]
AcceptReason = Annotated[str, typer.Option("--reason", help="Why it may fail; recorded with the data set.")]
Models = Annotated[
    list[Kind] | None, typer.Option(metavar="MODEL", help=f"One of {', '.join(Kind)}; may be given several times.")
]
Version = Annotated[str | None, typer.Option("--dataset", help="A data set's name; by default the newest.")]


@app.command()
def features(
    as_of: Annotated[
        date | None,
        typer.Option(
            parser=_day,
            help="The first day that is left out, such as 2017-12-31; it begins at midnight UTC. By default the data "
            "set ends right after the newest purchase or refund.",
        ),
    ] = None,
    validation_days: Annotated[int | None, _days("Days before the test days.")] = None,
    test_days: Annotated[int | None, _days("The last days.")] = None,
    validation_from: Annotated[date | None, typer.Option(parser=_day, help="Validation begins on this day.")] = None,
    test_from: Annotated[date | None, typer.Option(parser=_day, help="The test begins on this day.")] = None,
    shares: Annotated[
        str | None, typer.Option(callback=_checked_shares, help="Parts of the purchases in place of days: 70/15/15.")
    ] = None,
    label: Annotated[Label, typer.Option(help="What labels count in the time after a cut.")] = "purchase",
    horizon_days: Annotated[float | None, _days("How long that time is; by default to the next cut.", 0.01)] = None,
    rebuild: Annotated[str | None, typer.Option(help="Build this data set again, and compare.")] = None,
    accept: Accept = None,
    reason: AcceptReason = "",
    as_json: Json = False,
) -> None:
    """Build the data set that models learn from, split in time: 70/15/15 of the purchases by default."""
    parts = _shares(shares) if shares else None
    split = (as_of, validation_days, test_days, validation_from, test_from, parts)
    accepted = _accepted(accept, reason)
    found = running.flow("features")(*split, label, horizon_days, rebuild=rebuild, **accepted)
    running.finish("dataset", found, as_json)


@app.command()
def search(
    context: typer.Context,
    dataset: Version = None,
    model: Models = None,
    method: Annotated[Method, typer.Option(help="How the next setting is chosen.")] = "tpe",
    trials: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Settings to try per model; 20 without --minutes.")
    ] = None,
    minutes: Annotated[float | None, _minutes("How long this command may take.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=32, help="Settings to try at a time.")] = 1,
    folds: Annotated[int, typer.Option(min=1, max=100, help="Stretches of time to measure settings on.")] = 2,
    coverage: Annotated[bool, typer.Option(help="Give a hundredth of accuracy for coverage.")] = False,
    fit_seconds: Annotated[
        float | None, typer.Option(min=0.001, max=1e6, help="Longest fit that a setting may take.")
    ] = None,
    memory_mb: Annotated[float | None, typer.Option(min=1, max=1e9, help="Most memory that it may take.")] = None,
    artifact_mb: Annotated[
        float | None, typer.Option(min=0.001, max=1e9, help="Largest model that it may give.")
    ] = None,
    patience: Annotated[
        int, typer.Option(min=1, max=100_000, help="End after so many settings without a better one.")
    ] = 30,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed and one worker find the same.")] = 7,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on with the study there is, or begin a new one.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Search the best settings of models on the weeks before the test. The same command in other terminals, or on other
    machines, shares the work; after a crash it goes on where it stopped."""
    run = running.flow("search")
    from flows.search import SEARCHED

    ends = (20 if trials is None and minutes is None else trials, minutes and running.minutes_left(context, minutes))
    chosen, limits = kind_names(model) or SEARCHED, (fit_seconds, memory_mb, artifact_mb)
    found = run(dataset, chosen, method, *ends, workers, folds, coverage, *limits, patience, seed, not resume)
    running.finish("search", found, as_json)


@app.command()
def train(
    dataset: Version = None,
    model: Models = None,
    as_json: Json = False,
) -> None:
    """Train models, each a run in MLflow."""
    run = running.flow("train")
    from flows.train import MODELS

    running.finish("runs", run(dataset, kind_names(model) or MODELS), as_json)


@app.command()
def retrain(
    model: Models = None,
    minutes: Annotated[float, _minutes("How long searches may take together, if any are due.")] = MAX_MINUTES,
    max_age_days: Annotated[float, typer.Option(min=0, max=_MOST_DAYS, help="How old a search may be.")] = 30,
    ignore_feed_check: Annotated[
        bool,
        typer.Option(
            "--ignore-feed-check", "--despite-feed", help="Retrain although the newest report states a broken feed."
        ),
    ] = False,
    accept: Accept = None,
    reason: AcceptReason = "",
    as_json: Json = False,
) -> None:
    """Learn again from the newest events: features, searches that are due, train, review."""
    chosen = {"minutes": minutes, "max_age_days": max_age_days, "ignore_feed_check": ignore_feed_check}
    chosen |= _accepted(accept, reason)
    run = running.flow("retrain")
    from flows.train import MODELS

    running.finish("retrain", run(models=kind_names(model) or MODELS, **chosen), as_json)


@app.command()
def validate(
    dataset: Version = None,
    model: Models = None,
    folds: Annotated[
        int, typer.Option(min=2, max=100, help="Stretches of time to measure on, one after the other.")
    ] = 4,
    horizon_days: Annotated[int | None, _days("Days of each; as many as the test has.")] = None,
    as_json: Json = False,
) -> None:
    """Cross-validate models in time, before the test weeks: mean and deviation of their figures over folds."""
    run = running.flow("validate")
    from flows.train import MODELS

    running.finish("validation", run(dataset, kind_names(model) or MODELS, folds, horizon_days), as_json)


@app.command()
def score(
    placement: Annotated[list[str] | None, typer.Argument(help="Where lists are shown; by default everywhere.")] = None,
    k: Annotated[int | None, typer.Option(min=1, max=1000, help="Length of the lists, if not as configured.")] = None,
    as_json: Json = False,
) -> None:
    """Make the lists of placements by the champion and publish each whole or not at all."""
    from infra.configuration.placements import one
    from infra.configuration.settings import load
    from serving.queries.freshness import unconfigured, unconfigured_line

    settings = load()
    for name in placement or ():
        one(settings, name)  # refused before anything is opened
    batches = running.flow("score", "mlflow")(placement or None, k)
    if others := unconfigured(running.database("serving"), settings):
        running.print_message(unconfigured_line(others))
    running.finish("batches", batches, as_json)


@app.command()
def audit(
    placement: Annotated[str, typer.Option(help="Where the lists were shown.")] = "home",
    days: Annotated[float, _days("How far back to look.", 0.01)] = 28,
    as_of: Annotated[
        date | None,
        typer.Option(
            parser=_day, help="The first day that is left out (UTC); by default it ends with the newest event."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare what was shown with what people did: is a group served worse, and which items get the places?"""
    running.finish("audit", running.flow("audit")(placement, days, as_of), as_json)


@app.command()
def monitor(
    reviewer: Annotated[str, typer.Option(default_factory=getuser, help="Who accepts; it is recorded.")],
    accept: Annotated[str, typer.Option(help="Why the present behaviour is usual from now on; learns it again.")] = "",
    history: Annotated[bool, typer.Option("--history", help="Only show the windows so far.")] = False,
    as_json: Json = False,
) -> None:
    """Look for drift: compare each finished window with what is usual, and request a retraining if it is due.

    The reports are rows of `drift_reports`; the view `drift_signals` has a row for each signal.
    """
    note = "" if history else running.flow("monitor")(accept, reviewer if accept else "")["note"]
    from serving.queries.drift import drift

    running.finish("drift", drift(running.database("serving")) | {"note": note}, as_json)
