"""Commands and forms of deployments without services: what they accept, ask and show."""

import json
import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from prefect.utilities.callables import parameter_schema
from sqlalchemy import insert, text

from flows.commands import modelling, reviewing, running, services
from infra.configuration.settings import load
from infra.database.schema.schema import datasets, ingest_batches, items, promotions, reviews
from infra.database.schema.trust_schema import trained_bundles
from infra.installation import Installation
from infra.overview.situation import read, step
from models.errors import TailorbirdError
from models.lists.rules.placement_config import PlacementError
from models.monitoring.guidance.next_step import NEEDS, refusal
from models.primitives.json_types import JsonObject
from serving.queries.freshness import unconfigured, unconfigured_line
from tests.fuzz.commands import run
from tests.models.ingest.draft.shops import SHOPS
from tests.published import published, shelf
from tests.tasks.ingest.check.test_check_mapping import order, shop

ROOT = Path(__file__).parents[2]
NAMES = [entry["name"] for entry in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]]
ORIGIN = {"dataset_version": "d1", "metrics": {}, "bundle": "b", "digest": "d", "actor": "a", "reason": "r"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shoppe"], "no mapping 'shoppe'. Give the path of a .toml file or one of: complete_journey"),
        (["segment", "export/", "--consent", "yes"], "consent: "),
        (["segment", "export/", "--consent", "given"], "state how it was given, as consent_note"),
        (["segment", "export/", "--from", "yesterday"], "from: 'yesterday' is no time"),
        (["web", "export/", "--mapping", "nowhere.toml"], "no mapping 'nowhere.toml'"),
        (["segment", "export/", "--cron", "0 3 * * *"], "Start the services with: tailorbird up"),
    ],
)
def test_a_mistake_in_what_to_ingest_is_reported_at_once(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAILORBIRD_VAR", str(tmp_path))
    ended = run("ingest", *arguments)
    assert (ended.code, message in ended.err) == (1, True), ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        # Prefect reads its server's address when it is imported. Too early, and the run uses a server of its own.
        ("from flows.commands.ingestion import _request as r; r('complete_journey', ['s3://a/b'], {})", {"prefect"}),
        ("from tasks.ingest.check.check_mapping import check_mapping", {"prefect", "great_expectations"}),
    ],
)
def test_a_check_of_arguments_or_files_imports_little(code: str, unwanted: set[str]) -> None:
    command = [sys.executable, "-c", f"import sys; {code}; print({unwanted} & set(sys.modules))"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "set()\n"


def test_lists_are_made_without_mlflow(tmp_path: Path) -> None:
    closed = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    closed |= {"TAILORBIRD_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing", "TAILORBIRD_VAR": str(tmp_path)}
    command = [sys.executable, "-m", "flows", "score"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | closed)
    assert done.returncode == 1, done.stderr
    assert "Not reachable: postgres, prefect. Start" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("user", [None, "", "  "])
@pytest.mark.parametrize("uid", [os.getuid(), 54321])
def test_a_command_without_a_user_in_its_environment_names_the_account(user: str | None, uid: int) -> None:
    if uid != os.getuid() and os.getuid() != 0:
        pytest.skip("only root can become an account without a name")
    names = ("LOGNAME", "USER", "LNAME", "USERNAME")
    others = {name: value for name, value in os.environ.items() if name not in names}
    given = others | (dict.fromkeys(names, user) if user is not None else {})
    code = f"from flows.commands.running import account; import os; os.setuid({uid}); print(account())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=given)
    known = pwd.getpwuid(uid).pw_name if uid == os.getuid() and not (user or "").isspace() else f"uid-{uid}"
    assert done.stdout.strip() == known


def test_a_decision_without_yes_or_no_names_both_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    refused = run("decide", "--reason", "x")
    assert (refused.code, "--approve" in refused.err, "--reject" in refused.err) == (2, True, True)


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Return the arguments of the flow's calls."""
    calls: list[tuple[str, str]] = []
    flow: Callable[..., Any] = lambda *given: calls.append(given)  # noqa: E731
    monkeypatch.setattr(running, "flow", lambda *_: flow)
    monkeypatch.setattr(running, "finish", lambda *_: None)
    monkeypatch.setattr("infra.installation.current", lambda: None)
    monkeypatch.setattr("tasks.scoring.roll_back.rollback_effect", lambda _: "Version 1 becomes the champion again.")
    return calls


@pytest.mark.parametrize(
    ("terminal", "yes", "answer", "questions_asked"),
    [(True, False, True, 1), (True, False, False, 1), (True, True, True, 0), (False, False, True, 0)],
)
def test_a_rollback_asks_once_on_a_terminal_and_changes_nothing_after_a_no(
    done: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
    yes: bool,
    answer: bool,
    questions_asked: int,
) -> None:
    questions: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: terminal, raising=False)
    monkeypatch.setattr("typer.confirm", lambda question, **_: questions.append(question) or answer)
    with nullcontext() if answer else pytest.raises(Exception, match=r"^0?$"):
        reviewing.rollback_model("a slip", "ann", yes)
    assert (len(questions), done) == (questions_asked, [("ann", "a slip")] if answer else [])
    shown = capsys.readouterr().err
    assert answer or ("Nothing was changed." in shown and "Version 1 becomes" in shown), shown


def test_the_lake_is_shown_by_month_with_the_versions_that_data_sets_name(installation: Installation) -> None:
    assert installation.engine
    assert json.loads(run("lake", "show", "--json").out)["files"] == 0
    assert "Nothing is there." in run("lake", "show").out
    for chunk, months in enumerate((["2017-01", "2017-01", "2017-02"], ["2017-01"])):
        ids = [f"{chunk}-{number}" for number in range(len(months))]
        installation.lake.append_events(pa.table({"event_id": ids, "month": months}), "b", chunk)
    with installation.engine.begin() as connection:
        connection.execute(insert(datasets).values(version="v1", manifest={"events_version": 1}))
    result = json.loads(run("lake", "show", "--json").out)
    assert (result["version"], result["files"], result["rows"], result["named_versions"]) == (1, 3, 4, [1])
    assert [(row["month"], row["files"], row["rows"]) for row in result["months"]] == [
        ("2017-01", 2, 3),
        ("2017-02", 1, 1),
    ]
    output = run("lake", "show").out
    assert "2017-02" in output
    assert "Version 1; data sets name: 1." in output


def form_of(name: str) -> JsonObject:
    """Return the form of a deployment: its fields, and which are required."""
    return parameter_schema(getattr(import_module(f"flows.{name}"), name)).model_dump()


@pytest.mark.parametrize("name", NAMES)
def test_every_field_of_a_form_can_be_understood_and_no_required_one_can_be_left_out_by_mistake(name: str) -> None:
    form = form_of(name)
    fields = sorted(form["properties"], key=lambda field: form["properties"][field]["position"])
    assert [field for field in fields if not form["properties"][field].get("description")] == []
    assert not form.get("definitions"), "fields of fields are in no order and have no description"
    required = form.get("required", [])
    assert set(fields[: len(required)]) == set(required)
    for field in required:
        schema = form["properties"][field]
        assert schema["type"] == "string", f"{field}: a switch that is off sends nothing"
        assert schema.get("enum") or schema["minLength"] == 1, f"{field} may be blank"
    assert form["properties"].get("models", {"minItems": 1})["minItems"] == 1  # no model at all is not sent


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the empty folder in which commands run."""
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.chdir(room)
    monkeypatch.setenv("TAILORBIRD_VAR", str(room / "var"))
    monkeypatch.setenv("COLUMNS", "80")
    return room


def test_an_accepted_shop_ends_with_0_and_the_command_that_comes_next(folder: Path, tmp_path: Path) -> None:
    mapping = shop(tmp_path / "shop", map(order, range(60)))

    done = run("check", mapping, str(tmp_path / "shop"))

    assert done.code == 0, done.err
    assert "Columns that are not used: note" in done.out
    assert f"tailorbird ingest {mapping} {tmp_path / 'shop'}" in done.out
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("folder")
def test_a_refused_shop_ends_with_1_and_json_names_the_reason(tmp_path: Path) -> None:
    mapping = shop(tmp_path / "shop", (order(n, pieces="-1") for n in range(60)))

    done = run("check", mapping, str(tmp_path / "shop"), "--json")

    assert done.code == 1
    result = json.loads(done.out)
    assert not result["accepted"]
    assert result["tables"][-1]["broken"][0]["examples"][0] == {"line": 2, "cells": {"pieces": "-1"}}


def test_init_writes_a_mapping_that_the_next_command_accepts(folder: Path, tmp_path: Path) -> None:
    files = [str(file) for file in SHOPS["woocommerce"](tmp_path)]

    made = run("init", "--from", *files, "--to", "mugs.toml")
    done = run("check", "mugs.toml")

    assert made.code == 0, made.err
    assert "tailorbird check mugs.toml" in made.err
    assert done.code == 0, done.out
    assert "--consent given --consent-note" in done.out
    assert [file.name for file in folder.iterdir()] == ["mugs.toml"]


def ingested(batch: str = "b1") -> Any:
    counts = {"read": 9, "accepted": 9, "finished_at": text("clock_timestamp()")}
    line = {"dataset": "events", "source": "s", "location": "l", "status": "committed", "consent": "c"}
    return insert(ingest_batches).values(batch_id=batch, **line, **counts)


def reviewed(version: int, passed: bool, decision: str | None = None) -> Any:
    gate = [{"name": "size", "outcome": "passed" if passed else "refused", "detail": "too large"}]
    row = {"dataset_version": "d1", "model_version": version, "passed": passed, "gate": gate}
    return insert(reviews).values(**row, decision=decision)


BUILT = (ingested(), insert(datasets).values(version="d1", manifest={}, created_at=text("clock_timestamp()")))
DIGESTS = {"run_key": "k", "digest": "d", "evaluation_digest": "e", "dataset_version": "d1"}
TRAINED = (*BUILT, insert(trained_bundles).values(run_id="r", kind="als", **DIGESTS))
PROMOTED = (
    *TRAINED,
    reviewed(1, True, "approved"),
    insert(promotions).values(previous_promotion_id=0, model_version=1, kind="als", **ORIGIN),
    insert(items).values(item_id="i", attributes={}, available=True, batch_id="b1"),
)
STATES: dict[str, tuple[Any, ...]] = {
    "empty": (),
    "ingested": (ingested(),),
    "data set": BUILT,
    "trained": TRAINED,
    "refused": (*TRAINED, reviewed(1, False)),
    "waiting": (*TRAINED, reviewed(1, True)),
    "champion": PROMOTED,
}


def bring(installation: Installation, state: str) -> None:
    with installation.engine.begin() as connection:
        for statement in STATES[state]:
            connection.execute(statement)


def people(installation: Installation, **ids: str) -> None:
    """Make users with these keys and ids; who is gone has refused."""
    user = (
        "INSERT INTO users (user_key, attributes, consent, consent_source, batch_id) VALUES (:key, '{}', :ok, 'a', 'b')"
    )
    with installation.engine.begin() as connection:
        for key, user_id in ids.items():
            connection.execute(text("INSERT INTO identity.users VALUES (:key, :id, 1)"), {"key": key, "id": user_id})
            connection.execute(text(user), {"key": key, "ok": key != "gone"})


@pytest.fixture(params=STATES)
def early(request: pytest.FixtureRequest, installation: Installation) -> Installation:
    """Return an installation in one of the states before there is a champion."""
    bring(installation, request.param)
    return installation


def test_flows_and_questions_that_come_too_early_are_refused_with_the_next_command_once(
    early: Installation,
) -> None:
    now, next_one = read(early.engine, early.settings), str(step(early.engine, early.settings))
    for command in NEEDS.keys() - {"monitor", "audit"}:
        if refusal(command, now) is None:
            running.refuse_early(command)
            continue
        with pytest.raises(TailorbirdError) as refused:
            running.refuse_early(command)
        assert str(refused.value) == next_one
    running.refuse_early("monitor")
    running.refuse_early("ledger")
    questions: list[Callable[[], None]] = [
        lambda: services.recommend("somebody"),
        lambda: services.explain("somebody", "i"),
        lambda: services.goes_with(["i"]),
        lambda: services.goes_with(["no such item"]),
    ]
    for question in questions:
        with pytest.raises(TailorbirdError) as refused:
            question()
        assert str(refused.value) == next_one
        assert next_one.count("Next: ") == 1


def test_the_status_and_the_end_of_a_command_name_the_next_one(
    early: Installation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.supervisor.probes.reachable", lambda _: {"postgres": True})
    monkeypatch.setattr("infra.supervisor.probes.running_clients", lambda _: {})
    expected = step(early.engine, early.settings)
    services.status()
    status = capsys.readouterr().out
    running.finish("compact", {"files": 1}, as_json=False)
    assert "Next: " not in capsys.readouterr().out
    running.finish("validation_of_nothing", {"folds": 1}, as_json=False)
    ended = capsys.readouterr().out
    for printed in (status, ended):
        assert printed.count(f"Next: {expected.command}") == 1
    running.finish("validation_of_nothing", {"folds": 1}, as_json=True)
    assert "Next: " not in capsys.readouterr().out


@pytest.mark.parametrize("question", [services.recommend, lambda user, place: services.explain(user, "i", place)])
def test_a_placement_that_there_is_not_is_an_error_with_the_names_there_are(
    installation: Installation, question: Callable[[str, str], None]
) -> None:
    bring(installation, "champion")
    with pytest.raises(PlacementError, match="There is no placement 'nosuch'; there are home, buy-again"):
        question("somebody", "nosuch")
    with pytest.raises(PlacementError, match=r"about items\. Next: `tailorbird goes-with ITEM`"):
        question("somebody", "similar-items")


def test_a_placement_to_score_that_there_is_not_is_refused_before_anything_is_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TAILORBIRD_VAR", str(tmp_path / "var"))
    monkeypatch.setenv("TAILORBIRD_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/nothing")
    with pytest.raises(PlacementError, match="There is no placement 'hom'; there are home"):
        modelling.score(["home", "hom"])
    assert not (tmp_path / "var").exists()


def test_readers_state_that_a_placement_is_no_longer_configured_and_of_when_its_lists_are(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bring(installation, "champion")
    people(installation, key="ann", late="late")
    published(installation.engine, {"key": [("i", 1.0, "why")]}, shelf(version=1, k=1))
    published(installation.engine, {"i": []}, shelf("other", "goes-well-with", 1, 1, "item"))
    with installation.engine.begin() as connection:
        connection.execute(text("UPDATE placements SET checked_at = '2026-11-10 05:32 +01:00'"))
    services.goes_with(["i"])
    assert "Nothing is known to go with it." in capsys.readouterr().out
    (tmp_path / "own.toml").write_text("[mail]\nk = 1\n")
    monkeypatch.setenv("TAILORBIRD_PLACEMENTS", str(tmp_path / "own.toml"))
    services.goes_with(["i"])
    printed = " ".join(capsys.readouterr().out.split())
    assert printed == (
        "These lists name nothing that goes with it. goes-well-with is no longer configured; its lists are of "
        "2026-11-10 04:32 UTC. For newer ones, configure it again, then run `tailorbird score goes-well-with`."
    )
    services.recommend("ann")
    shown = capsys.readouterr().out
    assert "Recommendations for ann" in shown
    assert "home is no longer configured; its lists are of 2026-11-10 04:32 UTC." in shown
    services.recommend("late")
    why = "No list is published for this user yet. home is no longer configured;"
    assert why in capsys.readouterr().out
    assert unconfigured_line(unconfigured(installation.engine, load())) == (
        "No longer configured, but still shown: goes-well-with (lists of 2026-11-10 04:32 UTC), "
        "home (lists of 2026-11-10 04:32 UTC)."
    )


def test_a_user_without_a_list_gets_the_reason(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    bring(installation, "champion")
    published(installation.engine, {"key": [("i", 1.0, "why")]}, shelf(version=1, k=1))
    people(installation, late="late", gone="gone")
    services.recommend("late")
    assert "No list is published for this user yet. Next: `tailorbird score home`." in capsys.readouterr().out
    with installation.engine.begin() as connection:
        connection.execute(text("UPDATE placements SET moved_by = 'ann'"))
    services.recommend("late")
    assert "ann took the lists of home back to batch 1. This user has no list there" in capsys.readouterr().out
    published(installation.engine, {"key": [("i", 1.0, "why")]}, shelf("again", "buy-again", 1, 1))
    services.recommend("late", "buy-again")
    assert "buy-again shows only what the user bought and is due again." in capsys.readouterr().out
    services.recommend("gone")
    assert "consent is missing or was refused, or the user is suppressed" in capsys.readouterr().out
    with pytest.raises(TailorbirdError, match="No user 'stranger' is stored"):
        services.recommend("stranger")


@pytest.mark.parametrize(("options", "shown"), [([], 3), (["-k", "2"], 2), (["--k", "2"], 2), (["-k", "20"], 3)])
def test_a_list_is_shown_up_to_the_given_number_of_items(
    installation: Installation, options: list[str], shown: int
) -> None:
    bring(installation, "champion")
    people(installation, key="ann")
    published(installation.engine, {"key": [(f"i{rank}", 1.0 / rank, "why") for rank in (1, 2, 3)]}, shelf(version=1))
    with installation.engine.begin() as connection:
        goods = [{"item_id": f"i{rank}", "attributes": {}, "available": True, "batch_id": "b"} for rank in (1, 2, 3)]
        connection.execute(insert(items), goods)
    rows = json.loads(run("recommend", "ann", *options, "--json").out)
    assert [row["item_id"] for row in rows] == ["i1", "i2", "i3"][:shown]


@pytest.mark.parametrize("command", ["recommend", "goes-with", "score"])
def test_commands_with_a_number_of_items_take_it_as_a_short_option(command: str) -> None:
    ended = run(command, *([] if command == "score" else ["i"]), "-k", "1001")
    assert (ended.code, "'--k' / '-k'" in ended.err) == (2, True), ended.err
