from pathlib import Path

from docs.generators.settings_page import SECTIONS, document
from infra.configuration.settings import Settings
from infra.configuration.settings_file import UNWRITABLE

PAGE = Path(__file__).parents[3] / "docs" / "settings.md"


def test_the_page_is_made_of_the_settings() -> None:
    command = "run `python -m docs.generators.settings_page > docs/settings.md`"
    assert PAGE.read_text(encoding="utf-8") == document(), command


def test_every_setting_is_in_one_section() -> None:
    names = [name for _, section in SECTIONS.values() for name in section]
    assert sorted(names) == sorted(Settings.model_fields.keys() - UNWRITABLE)
