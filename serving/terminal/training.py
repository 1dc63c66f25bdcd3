"""Prints the results of searches, trainings and reviews, and the lists that followed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from serving.terminal.console import line, table


def print_leaderboard(rows: Iterable[Mapping[str, Any]], limit: int | None = None) -> None:
    """Print the tables of a comparison of models, or the first ones."""
    from models.evaluation.comparison.leaderboard import tables

    for title, lines in list(tables(rows).items())[:limit]:
        table(title, lines, {name: name for name in lines[0]})


def print_review_summary(review: Mapping[str, Any]) -> None:
    """Print a review; only the first table for models that `train` has printed already."""
    print_review(review, tables=None if review["trained"] else 1)


def print_review(review: Mapping[str, Any], tables: int | None = None) -> None:
    """Print the checks and the verdict, then all tables or the first ones."""
    from models.gate.results import stored_outcome

    for check in review["gate"]:
        result_ = stored_outcome(check)
        line(f"{result_.mark} {check['name']}: {result_.heading}{check['detail']}")
    line(f"Version {review['model_version']}: {review['status']}.")
    if review.get("report"):
        line(f"Its report: {review['report']}", wrap=False)
    print_leaderboard(review["ladder"], tables)


def print_folds(models: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Print the figures of each fold of a validation."""
    from models.evaluation.diagnostics.cross_validation import folds_table, folds_title

    lines = folds_table(models)
    table(folds_title(models), lines, {name: name for name in lines[0]})


def print_search(results: Sequence[Mapping[str, Any]]) -> None:
    """Print the best settings of each model, and where all trials are."""
    from models.tuning.study_config import search_notes, search_table

    lines = search_table(results)
    table("Best settings found", lines, {name: name for name in lines[0]})
    for note in search_notes(results):
        line(note)
    for row in results:
        line(f"{row['model']}: all trials are in {row['page']}", wrap=False)


def print_retrain(value: Mapping[str, Any]) -> None:
    """Print the searches that were due, the review, and the lists that were published."""
    for model, reason in value["due"].items():
        line(f"A search of {model} was due: {reason}. {value['searches'][model]}")
    if value["review"]:
        print_review(value["review"])
    line(value["says"], wrap=False)
    if value["batches"]:
        print_batches(value["batches"])


def print_batches(batches: Sequence[Mapping[str, Any]]) -> None:
    """Print the published batches, the reasons for short lists, and remarks on the rules of placements."""
    names = {"placement": "placement", "batch_id": "batch", "model_version": "version", "users": "lists"}
    names |= {
        "recommendations": "entries",
        "coverage": "coverage",
        "kept_from_before": "kept",
        "status": "status",
    }
    table("Published lists", [{**batch, **batch["summary"]} for batch in batches], names)
    for batch in batches:
        for why, count in batch["summary"].get("short", {}).items():
            line(f"{batch['placement']}: {count:,} lists are shorter than asked for; {why}.")
        for note in batch["summary"].get("notes", []):
            line(f"{batch['placement']}: {note}")
