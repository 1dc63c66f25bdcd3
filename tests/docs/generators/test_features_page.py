from pathlib import Path

from docs.generators.features_page import document
from models.features.tables.registry import TABLES

DOCS = Path(__file__).parents[3] / "docs" / "features.md"


def test_the_page_is_made_of_the_definitions() -> None:
    command = "run `python -m docs.generators.features_page > docs/features.md`"
    assert DOCS.read_text(encoding="utf-8") == document(), command


def test_every_feature_has_a_row_with_meaning_and_unit() -> None:
    page = document()
    for table in TABLES.values():
        for feature in table.features:
            assert feature.meaning
            assert feature.unit
            assert f"| `{feature.name}` | {feature.meaning} | {feature.unit} |" in page
