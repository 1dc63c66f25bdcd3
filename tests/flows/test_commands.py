"""Commands and forms of deployments without services: what they accept, ask and show."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from prefect.utilities.callables import parameter_schema
from sqlalchemy import insert
from typer.testing import CliRunner, Result

from flows.__main__ import app
from flows.commands import lake, reviewing, running
from infra.database.schema.schema import datasets
from infra.installation import Installation
from models.primitives.json_types import JsonObject
from tests.fuzz.commands import run
from tests.models.ingest.draft.shops import SHOPS
from tests.tasks.ingest.check.test_check_mapping import order, shop

ROOT = Path(__file__).parents[2]
NAMES = [entry["name"] for entry in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shoppe"], "no mapping 'shoppe'. Give the path of a .toml file or one of: complete_journey"),
        (["segment", "export/", "--consent", "yes"], "consent: "),
        (["segment", "export/", "--consent", "given"], "state how it was given, as consent_note"),
        (["segment", "export/", "--from", "yesterday"], "from: 'yesterday' is no time"),
        (["web", "export/", "--mapping", "nowhere.toml"], "no mapping 'nowhere.toml'"),
        (["segment", "export/", "--cron", "0 3 * * *"], "Start the services with: tailorbird up"),
        (["segment", "export/"], "Start the services with: tailorbird up"),
    ],
)
def test_a_mistake_in_what_to_ingest_is_reported_at_once(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAILORBIRD_VAR", str(tmp_path))
    ended = run("ingest", *arguments)
    assert (ended.code, message in ended.err) == (1, True), ended.err
    assert "Traceback" not in ended.err


def test_arguments_of_an_ingest_are_checked_before_prefect_is_imported() -> None:
    """Prefect reads its server's address when it is imported. Too early, and the run uses a server of its own."""
    preview = "from flows.commands.ingestion import _request as r; r('complete_journey', ['s3://a/b'], {})"
    command = [sys.executable, "-c", f"import sys; {preview}; print('prefect' in sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "False\n"


def test_lists_are_made_without_mlflow(tmp_path: Path) -> None:
    closed = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    closed |= {"TAILORBIRD_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing", "TAILORBIRD_VAR": str(tmp_path)}
    command = [sys.executable, "-m", "flows", "score"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | closed)
    assert done.returncode == 1, done.stderr
    assert "Not reachable: postgres, prefect. Start" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_decision_without_yes_or_no_names_both_options() -> None:
    refused = CliRunner().invoke(reviewing.app, ["decide", "--reason", "x"], env={"COLUMNS": "200"})
    assert refused.exit_code == 2
    assert "--approve" in refused.output
    assert "--reject" in refused.output


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


@pytest.mark.parametrize(("terminal", "yes", "questions_asked"), [(True, False, 1), (True, True, 0), (False, False, 0)])
def test_a_rollback_asks_once_on_a_terminal(
    done: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, terminal: bool, yes: bool, questions_asked: int
) -> None:
    questions: list[str] = []
    monkeypatch.setattr("sys.stdin.isatty", lambda: terminal, raising=False)
    monkeypatch.setattr("typer.confirm", lambda question, **_: questions.append(question) or True)
    reviewing.rollback_model("a slip", "ann", yes)
    assert (len(questions), done) == (questions_asked, [("ann", "a slip")])


def test_after_a_no_nothing_is_rolled_back(
    done: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    with pytest.raises(Exception, match=r"^0?$"):
        reviewing.rollback_model("a slip", "ann")
    shown = capsys.readouterr().err
    assert (done, "Nothing was changed." in shown, "Version 1 becomes" in shown) == ([], True, True)


@pytest.mark.usefixtures("installation")
def test_an_empty_lake_is_shown_as_such() -> None:
    assert json.loads(CliRunner().invoke(lake.app, ["show", "--json"]).stdout)["files"] == 0
    assert "Nothing is there." in CliRunner().invoke(lake.app, ["show"]).stdout


def test_the_lake_is_shown_by_month_with_the_versions_that_data_sets_name(installation: Installation) -> None:
    for chunk, months in enumerate((["2017-01", "2017-01", "2017-02"], ["2017-01"])):
        ids = [f"{chunk}-{number}" for number in range(len(months))]
        installation.lake.append_events(pa.table({"event_id": ids, "month": months}), "b", chunk)
    with installation.engine.begin() as connection:
        connection.execute(insert(datasets).values(version="v1", manifest={"events_version": 1}))
    result = json.loads(CliRunner().invoke(lake.app, ["show", "--json"]).stdout)
    assert (result["version"], result["files"], result["rows"], result["named_versions"]) == (1, 3, 4, [1])
    assert [(row["month"], row["files"], row["rows"]) for row in result["months"]] == [
        ("2017-01", 2, 3),
        ("2017-02", 1, 1),
    ]
    output = CliRunner().invoke(lake.app, ["show"]).stdout
    assert "2017-02" in output
    assert "Version 1; data sets name: 1." in output


def form_of(name: str) -> JsonObject:
    """Return the form of a deployment: its fields, and which are required."""
    return parameter_schema(getattr(import_module(f"flows.{name}"), name)).model_dump()


@pytest.mark.parametrize("name", NAMES)
def test_every_field_has_a_description_and_those_to_fill_in_come_first(name: str) -> None:
    form = form_of(name)
    fields = sorted(form["properties"], key=lambda field: form["properties"][field]["position"])
    assert [field for field in fields if not form["properties"][field].get("description")] == []
    required = form.get("required", [])
    assert set(fields[: len(required)]) == set(required)
    assert not form.get("definitions"), "fields of fields are in no order and have no description"


@pytest.mark.parametrize("name", NAMES)
def test_no_answer_to_a_required_field_can_be_left_out_by_mistake(name: str) -> None:
    form = form_of(name)
    for field in form.get("required", []):
        schema = form["properties"][field]
        assert schema["type"] == "string", f"{field}: a switch that is off sends nothing"
        assert schema.get("enum") or schema["minLength"] == 1, f"{field} may be blank"


@pytest.mark.parametrize("name", NAMES)
def test_a_form_without_any_model_is_not_sent(name: str) -> None:
    models = form_of(name)["properties"].get("models", {"minItems": 1})
    assert models["minItems"] == 1


def typed(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TAILORBIRD_VAR": str(folder / "var"), "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    command = [sys.executable, "-m", "flows", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    room = tmp_path / "room"
    room.mkdir()
    return room


@pytest.fixture
def type_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return the function that runs a command in the folder, without a process of its own."""
    monkeypatch.chdir(folder)
    place = {"TAILORBIRD_VAR": str(folder / "var"), "COLUMNS": "80"}
    return lambda *arguments: CliRunner().invoke(app, arguments, env=place)


def test_an_accepted_shop_ends_with_0_and_the_command_that_comes_next(folder: Path, tmp_path: Path) -> None:
    mapping = shop(tmp_path / "shop", map(order, range(60)))

    done = typed(folder, "check", mapping, str(tmp_path / "shop"))

    assert done.returncode == 0, done.stderr
    assert "Columns that are not used: note" in done.stdout
    assert f"tailorbird ingest {mapping} {tmp_path / 'shop'}" in done.stdout
    assert list(folder.iterdir()) == []


def test_a_refused_shop_ends_with_1_and_json_names_the_reason(type_here: Callable[..., Result], tmp_path: Path) -> None:
    mapping = shop(tmp_path / "shop", (order(n, pieces="-1") for n in range(60)))

    done = type_here("check", mapping, str(tmp_path / "shop"), "--json")

    assert done.exit_code == 1
    result = json.loads(done.stdout)
    assert not result["accepted"]
    assert result["tables"][-1]["broken"][0]["examples"][0] == {"line": 2, "cells": {"pieces": "-1"}}


def test_init_writes_a_mapping_that_the_next_command_accepts(
    folder: Path, type_here: Callable[..., Result], tmp_path: Path
) -> None:
    files = [str(file) for file in SHOPS["woocommerce"](tmp_path)]

    made = type_here("init", "--from", *files, "--to", "mugs.toml")
    done = type_here("check", "mugs.toml")

    assert made.exit_code == 0, made.stderr
    assert "tailorbird check mugs.toml" in made.stderr
    assert done.exit_code == 0, done.stdout
    assert "--consent given --consent-note" in done.stdout
    assert [file.name for file in folder.iterdir()] == ["mugs.toml"]


def test_a_check_imports_neither_prefect_nor_great_expectations() -> None:
    preview = "from tasks.ingest.check.check_mapping import check_mapping; print({'prefect', 'great_expectations'} & "
    command = [sys.executable, "-c", f"import sys; {preview}set(sys.modules))"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "set()\n"
