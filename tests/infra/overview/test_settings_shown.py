"""Which settings services were started with, which hold now, and where those come from."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.commands import settings as command
from infra.configuration import settings_file
from infra.configuration.settings import Settings, load, variable_of
from infra.configuration.settings_file import SettingsRefusedError
from infra.overview import settings_shown, settings_template
from infra.services import settings_in_use, state_file
from infra.services.processes import Running
from infra.services.state_file import Service

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def var(folder: Path) -> None:
    """Make the folder of what is kept."""
    (folder / "var").mkdir()


def started(settings: Settings) -> None:
    """Note that a worker and a reconciler run with these settings; this process stands for both."""
    me = psutil.Process()
    service = Service("", 0, Running(me.pid, me.create_time()))
    variables = {settings_file.VARIABLE: str(settings.settings_file or settings_file.NO_FILE)}
    worker = replace(service, settings=settings_in_use.overrides(settings) | variables)
    state_file.store(
        settings.var, {"worker": worker, "reconciler": replace(service, settings=settings_in_use.described(settings))}
    )


def row(key: str) -> settings_shown.Row:
    return next(row for row in settings_shown.rows(load()) if row.key == key)


def test_each_value_is_shown_with_its_origin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / settings_file.NAME).write_text('\nreview = "auto"\nreview_days = 3\n[gate]\nusers = 40\n')
    monkeypatch.setenv("TAILORBIRD_REVIEW_DAYS", "5")
    monkeypatch.setenv("TAILORBIRD_MONITOR", '{"window_days": 7}')
    assert (row("review").value, row("review").origin) == ("auto", "tailorbird.toml:2")
    assert (row("review_days").value, row("review_days").origin) == ("5.0", "TAILORBIRD_REVIEW_DAYS")
    assert (row("gate.users").value, row("gate.users").origin) == ("40", "tailorbird.toml:5")
    assert (row("monitor.window_days").value, row("monitor.window_days").origin) == ("7", "TAILORBIRD_MONITOR")
    assert row("gate.group_users").origin == row("monitor.least_users").origin == row("memory").origin == "default"
    assert (row("schedules.score-nightly").value, row("schedules.score-nightly").origin) == (
        "30 4 * * * UTC",
        "default",
    )
    assert not (folder / "var" / "secrets").exists()


def test_secrets_are_hidden(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = 'alerts = "json://me:word@ops.example"\nmlflow_tracking_uri = "http://me:word@mlflow.example"\n'
    (folder / settings_file.NAME).write_text(text + 'database_url = "postgresql://me:word@db.example/shop"\n')
    started(load())
    monkeypatch.setenv("TAILORBIRD_ALERTS", "json://me:other-word@ops.example")
    rows = settings_shown.rows(load())
    assert "word" not in str(rows) + (folder / "var" / "services.json").read_text()
    assert row("alerts").running == {"worker": "(hidden)", "reconciler": "(hidden)"}
    assert settings_in_use.changes(state_file.load(folder / "var")["reconciler"].settings, load()) == [
        "Setting alerts changes from (hidden) to (hidden) (TAILORBIRD_ALERTS of this shell)"
    ]


def test_a_file_changed_since_the_start_is_used_by_runs_of_the_worker_and_not_by_the_reconciler(folder: Path) -> None:
    (folder / settings_file.NAME).write_text('review = "auto"\n')
    started(load())
    assert [row for row in settings_shown.rows(load()) if row.running] == []
    (folder / settings_file.NAME).write_text(
        'review = "never"\ngate.users = 40\nschedules.score-nightly = "0 2 * * *"\n'
    )
    assert row("review").running == {"reconciler": "auto"}
    assert row("gate.users").running == {"reconciler": "30"}
    assert row("schedules.score-nightly").running == {"reconciler": "30 4 * * * UTC"}


def test_a_variable_of_this_shell_that_the_services_do_not_have_is_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / settings_file.NAME).write_text('review = "auto"\n')
    started(load())
    monkeypatch.setenv("TAILORBIRD_REVIEW", "never")
    assert row("review").running == {"worker": "auto", "reconciler": "auto"}
    assert settings_in_use.changes(state_file.load(folder / "var")["reconciler"].settings, load()) == [
        "Setting review changes from auto to never (TAILORBIRD_REVIEW of this shell)"
    ]


def test_a_command_names_the_variables_of_its_shell_that_the_services_do_not_have(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAILORBIRD_PLACEMENTS", str(folder / "p.toml"))
    assert settings_in_use.of_this_shell(load()) == []
    started(load())
    assert settings_in_use.of_this_shell(load()) == []
    monkeypatch.setenv("TAILORBIRD_PLACEMENTS", str(folder / "q.toml"))
    assert settings_in_use.of_this_shell(load()) == [
        f"TAILORBIRD_PLACEMENTS of this shell is {folder / 'q.toml'}; the running services use {folder / 'p.toml'}. "
        "Set placements in tailorbird.toml and run `tailorbird up`, so that scheduled runs use it too."
    ]
    monkeypatch.setenv("TAILORBIRD_EXPORTED_BY", str(folder / "var"))
    assert settings_in_use.of_this_shell(load()) == []


def test_a_variable_that_only_the_services_have_is_shown(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as shell:
        shell.setenv("TAILORBIRD_ALERTS", "json://me:word@ops.example")
        started(load())
    assert row("alerts").running == {"worker": "(hidden)", "reconciler": "(hidden)"}
    known = state_file.load(folder / "var")["reconciler"].settings
    assert settings_in_use.changes(known, load()) == [
        "Setting alerts changes from (hidden) to (not set) (TAILORBIRD_ALERTS is not set in this shell)"
    ]
    (folder / settings_file.NAME).write_text('alerts = "json://me:word@ops.example"\n')
    assert [line for line in settings_in_use.changes(known, load()) if "alerts" in line] == []


def test_json_holds_everything(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from flows.commands.settings import show

    (folder / settings_file.NAME).write_text('review = "auto"\n')
    show(as_json=True)
    shown = json.loads(capsys.readouterr().out)
    rows = {entry["key"]: entry for entry in shown["settings"]}
    assert "shows at most 2 of one category" in shown["placements"]["email"]
    assert shown["operator_rules"] is None
    assert rows["review"] == {
        "key": "review",
        "variable": "TAILORBIRD_REVIEW",
        "value": "auto",
        "origin": "tailorbird.toml:1",
        "running": {},
    }
    started(load())
    (folder / settings_file.NAME).write_text('review = "never"\n')
    show()
    out = capsys.readouterr().out
    assert "The running reconciler uses review = auto instead of never" in out
    assert "Restart what uses other values with: tailorbird up" in out


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("TAILORBIRD_ALERT", "TAILORBIRD_ALERTS"),
        ("TAILORBIRD_SETTING", "TAILORBIRD_SETTINGS"),
        ("TAILORBIRD_SECRET_SIGNINGKEY", "TAILORBIRD_SECRET_SIGNING_KEY"),
    ],
)
def test_a_misspelt_variable_is_named_with_the_nearest_setting(
    name: str, nearest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "ann@shop.example")
    [sentence] = settings_shown.unknown_variables()
    assert sentence.startswith(f"{name} is no setting")
    assert f"The nearest is {nearest}." in sentence
    assert "ann" not in sentence


def test_a_variable_of_a_removed_setting_is_named_without_a_wrong_nearest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILORBIRD_WEBHOOK_URL", "https://x.example/mlflow")
    [sentence] = settings_shown.unknown_variables()
    assert sentence == "TAILORBIRD_WEBHOOK_URL is no setting any more, so its value has no effect. Unset it."


def test_real_settings_and_secrets_are_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*map(variable_of, Settings.model_fields), settings_file.VARIABLE, "TAILORBIRD_SECRET_SHOP_API"]:
        monkeypatch.setenv(name, "x")
    assert settings_shown.unknown_variables() == []


def test_the_command_that_shows_settings_names_a_misspelt_variable_and_schedule(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / settings_file.NAME).write_text(
        f'home = {json.dumps(str(REPOSITORY))}\nschedules.score-nigthly = "0 2 * * *"\n'
    )
    monkeypatch.setenv("TAILORBIRD_REVEIW", "auto")
    command.show()
    shown: Any = capsys.readouterr()
    assert "the nearest is 'score-nightly'" in shown.err
    assert "tailorbird.toml:2" in shown.err
    assert "The nearest is TAILORBIRD_REVIEW." in shown.err
    assert load().review == "manual"


def uncommented() -> str:
    return re.sub(r"^# (?=[a-z0-9_]+(\.[a-z0-9_-]+)? = )", "", settings_template.content(), flags=re.MULTILINE)


def test_it_changes_nothing_until_a_line_is_uncommented(folder: Path) -> None:
    before = load()
    assert settings_template.write() == folder / "tailorbird.toml"
    assert load().model_copy(update={"settings_file": None}) == before
    assert (folder / "tailorbird.toml").stat().st_mode & 0o077 == 0


def test_each_line_is_a_default_or_an_example_that_can_be_used(folder: Path) -> None:
    (folder / "tailorbird.toml").write_text(uncommented())
    used, default = load(), Settings(settings_file=None)
    examples = {line.split()[0] for line in uncommented().splitlines() if line.endswith("# an example")}
    assert {n for n in Settings.model_fields if getattr(used, n) != getattr(default, n)} - {"settings_file"} <= examples


def test_a_file_that_is_there_stays(folder: Path) -> None:
    (folder / "tailorbird.toml").write_text("# mine\n")
    with pytest.raises(SettingsRefusedError, match="is already there, and nothing was changed"):
        settings_template.write()
    assert (folder / "tailorbird.toml").read_text() == "# mine\n"


def test_the_template_is_written_to_the_path_of_the_variable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILORBIRD_SETTINGS", "shop.toml")
    assert settings_template.write() == folder / "shop.toml"
    assert load().settings_file == folder / "shop.toml"
