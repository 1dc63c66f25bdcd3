"""The times of schedules in the settings."""

from pathlib import Path

import pytest

from infra.configuration import settings_file
from infra.configuration.settings import load
from infra.configuration.settings_file import SettingsRefusedError
from infra.configuration.value_checks import Timing


def test_a_schedule_is_a_cron_line_or_a_table_with_its_zone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        'schedules.score-nightly = "0 2 * * *"\nschedules.audit-monthly = { cron = "0 6 2 * *", zone = "Asia/Tokyo" }\n'
    )
    (folder / settings_file.NAME).write_text(text)
    assert load().schedules == {
        "score-nightly": Timing("0 2 * * *"),
        "audit-monthly": Timing("0 6 2 * *", "Asia/Tokyo"),
    }
    monkeypatch.setenv("TAILORBIRD_SCHEDULES", '{"score-nightly": "0 3 * * *"}')
    assert load().schedules == {"score-nightly": Timing("0 3 * * *")}


@pytest.mark.parametrize(
    ("value", "refusal"),
    [
        ('"0 3 * *"', "'0 3 .*' is no cron line. It has minute, hour, day, month and weekday"),
        ('"61 3 * * *"', "is no cron line"),
        ('"@daily"', "is no cron line"),
        ('"0 0 30 2 *"', "is no cron line|names a day that no calendar has"),
        ('{ cron = "0 3 * * *", zone = "Europe/Berlyn" }', "there is no time zone 'Europe/Berlyn'; write one as"),
        ("{ cron = 3 }", "score-nightly has to be written as"),
        ('{ crn = "0 3 * * *" }', "score-nightly has to be written as"),
        ("3", "score-nightly has to be written as"),
    ],
)
def test_a_time_that_cannot_be_is_refused_with_its_line(folder: Path, value: str, refusal: str) -> None:
    (folder / settings_file.NAME).write_text(f"schedules.score-nightly = {value}\n")
    with pytest.raises(SettingsRefusedError, match=refusal) as refused:
        load()
    assert str(refused.value).startswith("tailorbird.toml:1: schedules: ")
