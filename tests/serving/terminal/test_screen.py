import io
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from infra.database.engine import engine as engine_of
from models.lists.rules.layer.rule_layer import HiddenItem
from models.lists.rules.placement_config import placements
from serving.queries.operator_rules import layer_over
from serving.terminal import recommendations, screen
from serving.terminal.settings import as_json, print_rules
from serving.terminal.status import print_status
from tests.serving.bundle_folders import promote, write_bundle
from tests.serving.made_up_shop import stock
from tests.serving.operator_rules import pin, store

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
COMMITTED: dict[str, Any] = {
    "batch_id": "complete_journey-events-55fef37fcd80-04df8fe6",
    "file": "transactions.parquet",
    "source": "complete_journey",
    "dataset": "events",
    "status": "committed",
    "started_at": datetime(2026, 3, 1, 8, 30, tzinfo=UTC),
    "read": 1_240_000,
    "accepted": 1_200_000,
    "quarantined": 30_000,
    "duplicate": 10_000,
    "suppressed": 0,
    "routed": 0,
    "late": 12,
    "detail": "Undone by ann: it was another shop's file. The same file can be ingested again, as often as you like.",
}
FILE = placements({"home": {"k": 3, "rules": {"exclude": {"items": ["item-05"]}}}})


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


def test_the_status_names_runs_outdated_settings_users_without_a_list_and_what_waits(
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = {"placement": "home", "batch_id": 3, "model_version": 2, "lists": 20, "users": 30, "moved_by": None}
    print_status(
        {"services": {"postgres": True}, "placements": [home | {"state": "fresh"}]}
        | {"running": ["retrain (since 2026-01-01 04:30 UTC)"], "outdated": {"reconciler": ["placements", "k"]}}
        | {"inbox": {"waiting": 3, "oldest_seconds": 12.4, "refused": 1}}
        | {"spool": {"messages": 5, "dropped": 2, "refused": 0}}
        | {"sizes": {"var/postgres": 1_234_000_000, "table users": 3_600_000}}
        | dict.fromkeys(("ledger", "champion", "challenger"))
    )
    shown = capsys.readouterr()
    out = shown.out + shown.err
    for words in ("3 rows wait in the inbox, the oldest for 12 s", "1 messages of refused", "5 messages wait on disk"):
        assert words in out
    assert "2 dropped" in out
    assert "home: fresh, batch 3, version 2, 20 lists (at least 10 of 30 users have none)\n" in out
    assert "sizes: var/postgres 1,234 MB, table users 4 MB\n" in out
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


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.terminal.console._WIDTH", 80)


@pytest.mark.usefixtures("narrow")
def test_a_batch_is_shown_with_the_sum_of_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    screen.show("ledger_batches", [COMMITTED])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].rstrip() == "2026-03-01 08:30  complete_journey  events  committed  transactions.parquet"
    assert lines[1].strip() == COMMITTED["batch_id"]
    shown = " ".join(" ".join(lines[2:4]).split())
    assert shown == "1,240,000 read = 1,200,000 accepted + 30,000 quarantined + 10,000 duplicate; 12 late"


@pytest.mark.parametrize("width", [80, 110])
def test_long_names_of_files_leave_ledger_and_quarantine_readable(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.terminal.console._WIDTH", width)
    batch = COMMITTED | {"file": f"{'transactions_' * 6}2026-05.csv.gz"}
    removed = dict.fromkeys(("events_removed", "events_kept", "items_removed", "items_changed", "users_removed"), 1)
    removed |= dict.fromkeys(("users_changed", "quarantined_removed", "refusals_kept"), 0)
    screen.show("ledger_batches", [batch])
    screen.show("quarantine", [batch | {"rows": 2, "rules": {"item_id_missing": 2}}])
    screen.show("undo_preview", {"batches": [batch | removed], "datasets": [], "champion": None, "placements": []})
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert sum(line.strip() == COMMITTED["batch_id"] for line in lines) == 3, "an id is whole, so that it can be copied"


def test_a_row_of_a_csv_file_is_named_by_its_line_first(capsys: pytest.CaptureFixture[str]) -> None:
    screen.show("rows", [{"row_number": 3, "rule_ids": ["id_conflict"], "payload": {"event_id": "o2", "line": 4}}])
    shown = capsys.readouterr().out
    assert shown.startswith("Line 4 (row 3): id_conflict")
    shown = " ".join(shown.split())
    assert "If the new values are right, undo the batch of the earlier ones: tailorbird ledger undo BATCH." in shown
    assert shown.index("ledger undo BATCH") < shown.index("Only if one order has several lines of an item")


@pytest.mark.usefixtures("narrow")
def test_a_batch_shows_its_changes_and_rows_by_rule_when_read_and_now(capsys: pytest.CaptureFixture[str]) -> None:
    change = {"at": datetime(2026, 3, 2, 9, 5, tzinfo=UTC), "action": "undo", "actor": "ann", "reason": "a wrong file"}
    rules = {"rules": {"item_id_missing": 3, "value_not_positive": 1}}
    waiting = {"waiting": {"rows": 1, "rules": {"item_id_missing": 1}}}
    screen.show("ledger_entry", COMMITTED | rules | waiting | {"changes": [change], "cleaned": {"zone_assumed": 4}})
    shown = capsys.readouterr().out
    command = f"The next command is: tailorbird quarantine show {COMMITTED['batch_id']}"
    assert max(len(line) for line in shown.splitlines() if line != command) <= 80
    assert "Undone on 2026-03-02 09:05 by ann: a wrong file" in shown
    lines = [" ".join(line.replace("│", " ").split()) for line in shown.splitlines()]
    assert {"item_id_missing 3 1", "value_not_positive 1 0", "cleaned zone_assumed: 4"} <= set(lines)
    assert "1 row of this batch waits in quarantine now" in " ".join(shown.split())


@pytest.fixture
def shop(database: str) -> Engine:
    engine = engine_of(database)
    stock(engine)
    return engine


def test_settings_show_both_layers_and_their_conflicts(shop: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    store(shop, HiddenItem(item="item-20"), pin("item-05", 2))
    layer = layer_over(shop, FILE)
    print_rules(FILE, layer)
    shown = " ".join(capsys.readouterr().out.split())
    assert "leaves out the items 'item-05'" in shown
    assert "Rules of operators: version 1 of" in shown
    assert "item 'item-05' is pinned to place 2 of home, by ann on 2026-11-29" in shown
    assert "item 'item-20' is hidden in all placements, by ann on 2026-11-29" in shown
    assert "Conflict in home: 'item-05' is pinned to place 2, and the file leaves it out" in shown
    stated = as_json(FILE, layer)
    assert (stated["operator_rules"]["version"], stated["operator_rules"]["author"]) == (1, "ann")
    assert all(rule in shown for rule in stated["operator_rules"]["rules"])
    assert [(one["placement"], one["rule"]) for one in stated["conflicts"]] == [("home", "/pins/0")]


@pytest.mark.usefixtures("own_var")
def test_settings_state_beside_a_pin_that_the_champion_does_not_have_its_item(
    shop: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    promote(shop, tmp_path / "bundle", write_bundle(tmp_path / "bundle"), 1)
    store(shop, HiddenItem(item="item-20"), pin("item-06", 2))
    print_rules(FILE, layer_over(shop, FILE))
    shown = " ".join(capsys.readouterr().out.split())
    assert "Conflict in home: 'item-06' is pinned to place 2, and it is newer than the champion" in shown
    assert shown.index("item 'item-06' is pinned") < shown.index("Conflict in home") < shown.index("item 'item-20' is")
    (tmp_path / "bundle" / "config.json").unlink()
    print_rules(FILE, layer_over(shop, FILE))
    assert "The pins were not compared with the champion: " in capsys.readouterr().out


def test_settings_state_that_there_are_no_rules(shop: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    layer = layer_over(shop, FILE)
    print_rules(FILE, layer)
    assert capsys.readouterr().out.endswith("Rules of operators: none\n")
    as_stated = as_json(FILE, layer)
    assert as_stated["operator_rules"]["version"] == 0
