"""Commands from the data set to published lists and their monitoring: features, search, train, score, audit."""

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import date
from typing import Annotated, Any, Literal

import typer

from flows.commands import running
from flows.commands.running import Json
from models.monitoring.retraining_policies import Policy
from models.primitives.json_types import JsonObject
from models.recommenders.kinds import DEFAULTS, Kind
from models.tuning.retune_policy import MAX_MINUTES

app = running.group()

Method = Literal["tpe", "grid", "random"]
Label = Literal["click", "add_to_cart", "purchase", "engagement"]
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_MOST_DAYS = 3650


def _days(help_text: str, least: float = 1) -> Any:
    """Return an option for a number of days."""
    return typer.Option(min=least, max=_MOST_DAYS, help=help_text)


def _minutes(help_text: str) -> Any:
    return typer.Option(min=0.01, max=100_000, help=help_text)


def kind_names(models: list[Kind] | None, otherwise: Iterable[str] = DEFAULTS) -> list[str]:
    """Return the kinds of models in the form of the flows' parameters; without any, `otherwise`."""
    return [kind.value for kind in models] if models else [*otherwise]


def _accepted(checks: list[str] | None, reason: str) -> JsonObject:
    """Return the flow's parameters for accepted checks. Raises an error for checks without a reason."""
    from models.datasets.acceptance import Acceptance

    accepted = Acceptance.of(checks or [], reason, running.account())
    return {"accept": list(accepted.checks), "reason": reason, "accepted_by": accepted.accepted_by} if checks else {}


def _day(text: str) -> date:
    with suppress(ValueError):
        if _DAY.fullmatch(text) and 1970 <= (day := date.fromisoformat(text)).year <= 2999:
            return day
    raise typer.BadParameter("write a day of the years 1970 to 2999, such as 2017-12-31")


def _shares(text: str) -> list[float]:
    return [float(part) / 100 for part in text.split("/")]


def _checked_shares(text: str | None) -> str | None:
    """Refuse anything but three numbers above 0 that add up to 100."""
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
AcceptReason = Annotated[
    str, typer.Option("--reason", help="Why the check may fail; it is recorded with the data set.")
]
Models = Annotated[
    list[Kind] | None, typer.Option(metavar="MODEL", help=f"One of {', '.join(Kind)}; may be given several times.")
]
Version = Annotated[str | None, typer.Option("--dataset", help="The name of a data set; by default the newest one.")]


@app.command()
def features(
    as_of: Annotated[
        date | None,
        typer.Option(
            parser=_day,
            help="The first excluded day, such as 2017-12-31, from midnight UTC. By default the data set ends right "
            "after the newest purchase or refund.",
        ),
    ] = None,
    validation_days: Annotated[int | None, _days("The number of validation days, right before the test days.")] = None,
    test_days: Annotated[int | None, _days("The number of test days, at the end.")] = None,
    validation_from: Annotated[date | None, typer.Option(parser=_day, help="The first day of the validation.")] = None,
    test_from: Annotated[date | None, typer.Option(parser=_day, help="The first day of the test.")] = None,
    shares: Annotated[
        str | None,
        typer.Option(callback=_checked_shares, help="Split by shares of the purchases instead of days: 70/15/15."),
    ] = None,
    label: Annotated[Label, typer.Option(help="The action that labels count after each cut.")] = "purchase",
    horizon_days: Annotated[
        float | None, _days("How many days labels look ahead; by default up to the next cut.", 0.01)
    ] = None,
    rebuild: Annotated[str | None, typer.Option(help="Build this data set again and compare the two.")] = None,
    accept: Accept = None,
    reason: AcceptReason = "",
    as_json: Json = False,
) -> None:
    """Build the data set that models learn from, split in time: 70/15/15 of the purchases by default."""
    parts = _shares(shares) if shares else None
    split = (as_of, validation_days, test_days, validation_from, test_from, parts)
    accepted = _accepted(accept, reason)
    manifest = running.flow("features")(*split, label, horizon_days, rebuild=rebuild, **accepted)
    running.finish("dataset", manifest, as_json)


@app.command()
def search(
    context: typer.Context,
    dataset: Version = None,
    model: Models = None,
    method: Annotated[Method, typer.Option(help="How the next settings are chosen.")] = "tpe",
    trials: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="How many settings to try per model; 20 without --minutes.")
    ] = None,
    minutes: Annotated[float | None, _minutes("How many minutes this command may take; 10 without --trials.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=32, help="How many settings to try at a time.")] = 1,
    folds: Annotated[int, typer.Option(min=1, max=100, help="How many time periods settings are measured on.")] = 2,
    coverage: Annotated[bool, typer.Option(help="Trade a hundredth of the accuracy for coverage.")] = False,
    fit_seconds: Annotated[
        float | None, typer.Option(min=0.001, max=1e6, help="The longest time that a fit may take, in seconds.")
    ] = None,
    memory_mb: Annotated[
        float | None, typer.Option(min=1, max=1e9, help="The most memory that a fit may use, in MB.")
    ] = None,
    artifact_mb: Annotated[
        float | None, typer.Option(min=0.001, max=1e9, help="The largest size of a stored model, in MB.")
    ] = None,
    patience: Annotated[
        int, typer.Option(min=1, max=100_000, help="End after this many settings without an improvement.")
    ] = 30,
    seed: Annotated[
        int,
        typer.Option(
            min=0, max=2**32 - 1, help="The random seed; one worker with the same seed finds the same settings."
        ),
    ] = 7,
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Continue the existing study, or start a new one.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Search the best settings of models on the weeks before the test.

    The same command in other terminals or on other machines shares the work. After a crash it continues.
    """
    run = running.flow("search")
    from flows.search import MINUTES, SEARCHED, TRIALS

    limit = MINUTES if trials is None and minutes is None else minutes

    results = run(
        dataset,
        kind_names(model, SEARCHED),
        method=method,
        trials=TRIALS if trials is None and minutes is None else trials,
        minutes=limit and running.minutes_left(context, limit),
        workers=workers,
        folds=folds,
        coverage=coverage,
        fit_seconds=fit_seconds,
        memory_mb=memory_mb,
        artifact_mb=artifact_mb,
        patience=patience,
        seed=seed,
        fresh=not resume,
    )
    running.finish("search", results, as_json)


@app.command()
def train(
    dataset: Version = None,
    model: Models = None,
    as_json: Json = False,
) -> None:
    """Train models, each a run in MLflow."""
    running.finish("runs", running.flow("train")(dataset, kind_names(model)), as_json)


@app.command()
def retrain(
    model: Models = None,
    minutes: Annotated[float, _minutes("How many minutes the due searches may take together.")] = MAX_MINUTES,
    max_age_days: Annotated[
        float, typer.Option(min=0, max=_MOST_DAYS, help="After how many days a search is due again.")
    ] = 30,
    search_settings: Annotated[
        bool, typer.Option("--search/--no-search", help="Whether due searches run; without, known settings are used.")
    ] = True,
    ignore_feed_check: Annotated[
        bool,
        typer.Option(
            "--ignore-feed-check",
            "--despite-feed",
            help="Retrain even if the newest report states that the feed is broken.",
        ),
    ] = False,
    request: Annotated[
        int | None,
        typer.Option(
            min=1, max=2**63 - 1, help="An open request to work on, such as one of drift, instead of a new one."
        ),
    ] = None,
    accept: Accept = None,
    reason: AcceptReason = "",
    as_json: Json = False,
) -> None:
    """Train again on the newest events: features, due searches, train, review."""
    chosen = {"minutes": minutes, "max_age_days": max_age_days, "ignore_feed_check": ignore_feed_check}
    chosen |= _accepted(accept, reason) | ({} if search_settings else {"searched": []})
    running.finish("retrain", running.flow("retrain")(models=kind_names(model), request=request, **chosen), as_json)


@app.command()
def backtest(
    begin: Annotated[date, typer.Option("--from", parser=_day, help="The first day (UTC) of published lists.")],
    end: Annotated[date, typer.Option("--to", parser=_day, help="The first excluded day.")],
    step: Annotated[int, _days("The days between two publications.")] = 7,
    policy: Annotated[
        list[Policy] | None,
        typer.Option(help="May be given several times; by default never, monthly and drift."),
    ] = None,
    model: Models = None,
    placement: Annotated[str, typer.Option(help="The placement of the lists.")] = "home",
    as_json: Json = False,
) -> None:
    """Live past weeks as if they were now, once for each policy of retraining, and compare the lists.

    Each policy has an installation of its own, which takes a minute a week, and some for a training. The same command
    continues a backtest that was stopped.
    """
    run = running.flow("backtest")
    from flows.backtest import POLICIES

    policies = [str(one) for one in policy or POLICIES]
    report = run(begin.isoformat(), end.isoformat(), step, policies, kind_names(model), placement)
    running.finish("backtest", report, as_json)


@app.command()
def validate(
    dataset: Version = None,
    model: Models = None,
    folds: Annotated[int, typer.Option(min=2, max=100, help="How many consecutive time periods to measure on.")] = 4,
    horizon_days: Annotated[int | None, _days("The days of each period; by default as many as the test has.")] = None,
    as_json: Json = False,
) -> None:
    """Cross-validate models over time, before the test weeks: mean and deviation of their figures over folds."""
    figures = running.flow("validate")(dataset, kind_names(model), folds, horizon_days)
    running.finish("validation", figures, as_json)


@app.command()
def score(
    placement: Annotated[list[str] | None, typer.Argument(help="The placements; by default all.")] = None,
    k: Annotated[
        int | None, typer.Option("--k", "-k", min=1, max=1000, help="The length of lists; by default as configured.")
    ] = None,
    segment: Annotated[
        str | None, typer.Option(help="Instead, let consumers of streams score the live lists of this segment's users.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make the lists of placements with the champion, and publish each placement completely or not at all."""
    from infra.configuration.placements import one
    from models.errors import TailorbirdError
    from serving.queries.freshness import unconfigured, unconfigured_line

    settings = running.current_settings()
    if segment is not None:
        if placement or k:
            raise TailorbirdError("A segment is scored for all live placements: leave out the placement and --k.")
        running.finish("segment_request", running.flow("score", "mlflow")(segment=segment)[0], as_json)
        return
    for name in placement or ():
        one(settings, name)  # refuse unknown placements before anything is opened
    batches = running.flow("score", "mlflow")(placement or None, k)
    if others := unconfigured(running.database("serving"), settings):
        running.print_message(unconfigured_line(others))
    running.finish("batches", batches, as_json)


@app.command()
def audit(
    placement: Annotated[str, typer.Option(help="The placement of the lists.")] = "home",
    days: Annotated[float, _days("How many days to audit.", 0.01)] = 28,
    as_of: Annotated[
        date | None,
        typer.Option(
            parser=_day, help="The first excluded day (UTC); by default the audit ends with the newest event."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare the shown lists with what people did: is a group served worse, and which items get the places?"""
    running.finish("audit", running.flow("audit")(placement, days, as_of), as_json)


@app.command()
def monitor(
    reviewer: Annotated[str, typer.Option(default_factory=running.account, help="Who accepts; it is recorded.")],
    accept: Annotated[str, typer.Option(help="Why the present behaviour is normal from now on; recalibrates.")] = "",
    history: Annotated[bool, typer.Option("--history", help="Only show the earlier windows.")] = False,
    as_json: Json = False,
) -> None:
    """Detect drift: compare each finished window with the calibration, and request a retraining if it is due.

    The reports are rows of `drift_reports`; the view `drift_signals` has a row for each signal.
    """
    note = "" if history else running.flow("monitor")(accept, reviewer if accept else "")["note"]
    from serving.queries.status import drift

    running.finish("drift", drift(running.database("serving")) | {"note": note}, as_json)
