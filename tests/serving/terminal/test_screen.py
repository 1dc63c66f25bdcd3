import io
import re
import sys
from datetime import UTC, datetime

import pytest

from serving.terminal import recommendations, screen
from serving.terminal.status import print_status

HOSTILE = "Milk [/2L] [red]x[/red] :smile: \x1b]0;pwned\x07\x1b[2J\r\b\x9b1m\u202eevil\u2066 [link=http://evil]a[/link]"
SHOWN = (
    r"Milk [/2L] [red]x[/red] :smile: \x1b]0;pwned\x07\x1b[2J\x0d\x08\x9b1m\u202eevil\u2066 [link=http://evil]a[/link]"
)
STYLES = re.compile(r"\x1b\[[0-9;]*m")
ENTRY = {"read": 1, "accepted": 0, "quarantined": 1, "duplicate": 0, "suppressed": 0, "routed": 0}
BATCH = {"batch_id": HOSTILE, "dataset": HOSTILE, "status": HOSTILE, "detail": HOSTILE, "consent": HOSTILE} | ENTRY
LISTS = {"placement": HOSTILE, "batch_id": HOSTILE, "model_version": 1, "users": 1, "recommendations": 1}
WINDOW = {
    "window_from": "2026-01-01",
    "window_to": "2026-01-08",
    "verdict": HOSTILE,
    "joint": 1.0,
    "joint_threshold": 2.0,
}
CUTS = ("validation_from", "test_from", "as_of")
HISTORY = {
    "changes": [{"at": datetime(2026, 1, 1, tzinfo=UTC), "action": "undo", "actor": HOSTILE, "reason": HOSTILE}],
    "rules": {HOSTILE: 1},
    "waiting": {"rows": 1, "rules": {HOSTILE: 1}},
}
PRODUCED = {
    "recommend": lambda: recommendations.print_user_list(
        HOSTILE, [{"rank": 1, "item_id": HOSTILE, "title": HOSTILE, "score": 0.5, "reason": HOSTILE}]
    ),
    "recommend nothing": lambda: recommendations.print_user_list(HOSTILE, [], HOSTILE),
    "goes-with": lambda: recommendations.print_basket_recommendations(
        [{"rank": 1, "item_id": HOSTILE, "title": HOSTILE}]
    ),
    "explain": lambda: recommendations.explanation(
        {
            "title": HOSTILE,
            "user": HOSTILE,
            "why": HOSTILE,
            "reason": HOSTILE,
            "model_version": 1,
            "adds_to": "log-odds",
        }
        | {"contributions": {HOSTILE: 0.5} | dict.fromkeys(map(str, range(20)), 0.1)}
    ),
    "status": lambda: print_status(
        {"services": {"postgres": True, HOSTILE: False}, "ledger": {HOSTILE: HOSTILE}, "champion": None}
        | {"challenger": None, "placements": [LISTS | {"state": HOSTILE, "lists": 1, "moved_by": HOSTILE}]}
    ),
    "ledger": lambda: screen.show(
        "ledger_batches", [BATCH | {"source": HOSTILE, "file": HOSTILE, "started_at": datetime(2026, 1, 1, tzinfo=UTC)}]
    ),
    "ledger of a batch": lambda: screen.show("ledger_entry", BATCH | HISTORY | {"location": HOSTILE}),
    "quarantine show": lambda: screen.show(
        "rows", [{"row_number": 1, "rule_ids": [HOSTILE], "payload": {"item_id": HOSTILE}}]
    ),
    "schedules list": lambda: screen.show("schedules", [{"slug": HOSTILE, "parameters": HOSTILE}]),
    "ingest": lambda: screen.show("ledger", [BATCH | {"file": HOSTILE}, BATCH | {"file": HOSTILE}]),
    "score": lambda: screen.show(
        "batches", [LISTS | {"status": HOSTILE, "summary": {"short": {HOSTILE: 1}, "notes": [HOSTILE]}}]
    ),
    "features": lambda: screen.show(
        "dataset",
        {"version": HOSTILE, "rows": {HOSTILE: 1}, "traits": [HOSTILE], "warnings": [HOSTILE]}
        | dict.fromkeys(CUTS, 1_700_000_000),
    ),
    "features rebuilt": lambda: screen.show("dataset", {"version": HOSTILE, "same": True}),
    "audit": lambda: screen.show(
        "audit", {"groups": [{HOSTILE: HOSTILE}], "placement": HOSTILE, "window": "", "status": "", "verdict": HOSTILE}
    ),
    "drift": lambda: screen.show(
        "drift",
        {"usual": {"window_days": 7, "windows": 9, "reference_to": "2026-01-01", "reason": HOSTILE, "model_version": 1}}
        | {
            "windows": [
                WINDOW | {"drivers": [HOSTILE], "decision": "", "request_id": 1, "reasons": [HOSTILE], "page": ""}
            ]
        },
    ),
    "decide": lambda: screen.show(
        "decision", {"model_version": 1, "decision": HOSTILE, "reviewer": HOSTILE, "reason": HOSTILE, "champion": 1}
    ),
    "rollback model": lambda: screen.show(
        "rollback",
        {"from": 2, "to": 1, "batches": {HOSTILE: 3, "email": None}, "next": HOSTILE}
        | {"lists": {name: {"now": 4, "before": 5} for name in (HOSTILE, "email")}},
    ),
    "rollback recommendations": lambda: screen.show(
        "rollback", {"from": 2, "batch_id": 1, "users": 1, "users_before": 2, "model_version": 1, "next": HOSTILE}
    ),
    "any other result": lambda: screen.show("compact", {HOSTILE: HOSTILE}),
}


@pytest.mark.parametrize("command", PRODUCED)
@pytest.mark.parametrize("terminal", [False, True])
def test_data_are_shown_as_they_stand_and_never_obeyed(
    command: str, terminal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    out.isatty = lambda: terminal  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "20000")
    monkeypatch.setattr("serving.terminal.console._WIDTH", 20_000)
    PRODUCED[command]()
    written = STYLES.sub("", out.getvalue()).replace(r"\r", r"\x0d")
    assert SHOWN in written
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", written)


def test_a_value_of_megabytes_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    recommendations.print_user_list("7", [{"rank": 1, "title": "x" * 2_000_000, "score": 0.5, "reason": ""}])
    assert len(capsys.readouterr().out) < 20_000


@pytest.mark.parametrize("runs", [True, False])
def test_the_status_warns_when_schedules_do_not_start(runs: bool, capsys: pytest.CaptureFixture[str]) -> None:
    services = {"postgres": True, "worker": runs, "reconciler": True}
    print_status({"services": services, "placements": []} | dict.fromkeys(("ledger", "champion", "challenger")))
    out = capsys.readouterr().out
    assert f"worker: {'runs' if runs else 'does not run'}\n" in out
    assert ("Schedules and requests do not start now. Run `tailorbird up`" in out) == (not runs)


def test_the_status_names_runs_outdated_settings_and_users_without_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    home = {"placement": "home", "batch_id": 3, "model_version": 2, "lists": 20, "users": 30, "moved_by": None}
    print_status(
        {"services": {"postgres": True}, "placements": [home | {"state": "fresh"}]}
        | {"running": ["retrain (since 2026-01-01 04:30 UTC)"], "outdated": {"reconciler": ["placements", "k"]}}
        | dict.fromkeys(("ledger", "champion", "challenger"))
    )
    out = capsys.readouterr().out
    assert "home: fresh, batch 3, version 2, 20 lists (at least 10 of 30 users have none)\n" in out
    assert "runs now: retrain (since 2026-01-01 04:30 UTC)\n" in out
    assert "The reconciler uses other values of placements, k until the next `tailorbird up`.\n" in out


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_a_table_loses_no_value_and_breaks_no_word_however_narrow_the_terminal_is(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("serving.terminal.console._WIDTH", columns)
    counts = dict(
        zip(("read", "accepted", "quarantined", "duplicate", "suppressed", "routed"), range(91, 97), strict=True)
    )
    entry = {"dataset": "events", "status": "committed", "consent": "asked", "file": "orders-2026-01.csv"} | counts
    screen.show("ledger", [entry, entry])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= columns
    words = printed.split()
    for word in (*counts, *map(str, counts.values()), "committed", "orders-2026-01.csv"):
        assert word in words


def test_prices_have_two_digits_and_the_currency_that_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    tube = {"rank": 1, "item_id": "tube", "title": "Tube", "fit": 0.5, "price": 36.99, "currency": "PLN"}
    others = [{**tube, "price": 1234.5, "currency": None}, {**tube, "price": None}]
    recommendations.print_basket_recommendations([tube, *others])
    out = capsys.readouterr().out
    assert " 36.99 PLN " in out
    assert " 1,234.50 " in out
    assert "None" not in out


def test_figures_and_their_intervals_are_whole_at_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    figures = dict.fromkeys(("recall_at_10", "hit_rate_at_10", "coverage_at_10"), 0.4397)
    for name, value in (("ndcg_at_10", 0.4397), ("gain", -0.2363)):
        figures |= {name: value, f"{name}_low": value - 0.01, f"{name}_high": value + 0.01}
    models = ["most_popular", "segment_popular", "own_frequency", "own_and_popular", "lightfm_hybrid", "two_stage"]
    screen.show("runs", {"ladder": [{"model": model} | figures for model in models], "runs": models})

    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("(0.4297, 0.4497)" in line and "(-0.2463, -0.2263)" in line for line in lines) == len(models)


@pytest.mark.parametrize(("trained", "tables"), [([], 1), (["als"], 2)])
def test_a_review_shows_the_verdict_first_and_tables_that_train_has_not_shown(
    trained: list[str], tables: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ladder = [{"model": "als", "ndcg_at_10": 0.2, "new_ndcg_at_10": 0.1}]
    gate = [{"name": "is tall", "outcome": "passed", "detail": "1 m."}]
    review = {"ladder": ladder, "gate": gate, "model_version": 3, "status": "waits for a decision"}
    screen.show("review", review | {"trained": trained, "report": "http://mlflow/report.html"})
    shown = capsys.readouterr().out
    parts = ("is tall: 1 m.", "Version 3: waits for a decision.", "Its report: ", "All items: each model against")
    places = [shown.index(part) for part in parts]
    assert places == sorted(places)
    assert shown.count("each model against the best above it") == tables


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ([2.43, 0.57, 24.6, 6.1], "Scores compare only within the places 1-2, 3-4. What the model leaves open"),
        ([9.0, 9.0, 1.0], ""),
        ([1.0, 2.0, 1.0, 2.0, 1.0, 2.0], "Scores do not give this order alone."),
    ],
)
def test_a_list_names_the_places_whose_scores_compare(
    scores: list[float], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    recommendations.print_user_list(
        "7", [{"rank": n, "title": "x", "score": one, "reason": ""} for n, one in enumerate(scores, 1)]
    )
    shown = " ".join(capsys.readouterr().out.split())
    assert words in shown
    assert bool(words) == ("Scores" in shown)
