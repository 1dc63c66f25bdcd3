"""`tailorbird init` writes a settings file that names every setting."""

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from infra.configuration.settings import Settings, annotations, load
from infra.configuration.settings_file import UNWRITABLE, SettingsRefusedError, limits_of
from infra.overview import settings_template


def uncommented() -> str:
    return re.sub(r"^# (?=[a-z0-9_]+(\.[a-z0-9_-]+)? = )", "", settings_template.content(), flags=re.MULTILINE)


def test_it_changes_nothing_until_a_line_is_uncommented(folder: Path) -> None:
    before = load()
    assert settings_template.write() == folder / "tailorbird.toml"
    assert load().model_copy(update={"settings_file": None}) == before
    assert (folder / "tailorbird.toml").stat().st_mode & 0o077 == 0


def test_it_names_every_key_and_every_limit_with_its_meaning() -> None:
    written = tomllib.loads(uncommented())
    types = annotations()
    assert set(written) == set(Settings.model_fields) - UNWRITABLE
    for name in written:
        assert settings_template.descriptions(Settings)[name]
        if table := limits_of(types[name]):
            assert (
                list(written[name])
                == [field.name for field in fields(table)]
                == list(settings_template.descriptions(table))
            )


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
