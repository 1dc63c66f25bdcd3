"""Settings that nothing reads are named, with the nearest real one."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.commands import settings as command
from infra.configuration import settings_file
from infra.configuration.settings import Settings, load, variable_of
from infra.overview import settings_shown

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("TAILORBIRD_ALERT", "TAILORBIRD_ALERTS"),
        ("TAILORBIRD_PLACEMENT", "TAILORBIRD_PLACEMENTS"),
        ("TAILORBIRD_REVEIW_DAYS", "TAILORBIRD_REVIEW_DAYS"),
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
