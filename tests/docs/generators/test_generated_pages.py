"""Pages are made from definitions, and the examples of the page of mappings are mappings."""

import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from docs.generators import features_page, mapping_page, privacy_page, settings_page
from docs.generators.mapping_examples import EXAMPLES
from infra.configuration.settings import Settings
from infra.configuration.settings_file import UNWRITABLE
from models.ingest.mixpanel import MixpanelMapping
from models.ingest.segment.segment_mapping import SegmentMapping
from models.ingest.tabular import table_mapping
from models.ingest.tabular.table_mapping import Mapping
from models.primitives.json_types import JsonObject

DOCS = Path(__file__).parents[3] / "docs"
TABLES: JsonObject = {
    "events": {
        "file": "e.csv",
        "user_id": "u",
        "item_id": "i",
        "occurred_at": "t",
        "constants": {"event_type": "view"},
    },
    "items": {"file": "i.csv", "item_id": "i", "title": "t"},
    "users": {"file": "u.csv", "user_id": "u", "attributes": []},
}
LINES = {"segment": SegmentMapping.parse, "mixpanel": MixpanelMapping.parse}
BESIDE = {
    "event_type": {"constants": {}},
    "event_types": {"event_type": "what", "constants": {}},
    "event_id_prefix": {"event_id": "id"},
    "consent_at": {"consent": "agreed"},
    "constants": {"event_type": None},
    "optional": {"currency": "Currency", "brand": "Brand", "attributes": ["Plan"]},
    "fill": {"quantity": "Quantity", "brand": "Brand", "attributes": ["Country"]},
    "fill_down": {"where": "Email is not null or Status is not null"},
    "choose": {"price": "p", "updated_at": "at"},
    "available_words": {"available": "Stock"},
    "category_separator": {"category": ["path"]},
    "required": {"value": "v", "price": "p", "attributes": ["Country"]},
}


@pytest.mark.parametrize("page", [features_page, mapping_page, privacy_page, settings_page])
def test_a_page_is_made_of_the_definitions(page: ModuleType) -> None:
    name = page.__name__.rpartition(".")[2]
    file = {"privacy_page": "privacy_policy.md"}.get(name, name.replace("_page", ".md"))
    assert (DOCS / file).read_text() == page.document(), f"run `python -m docs.generators.{name} > docs/{file}`"


def test_every_key_has_a_meaning_and_an_example() -> None:
    for _, table, model, _ in mapping_page.SECTIONS:
        meanings = mapping_page.meanings(model)
        names = {field.alias or name: name for name, field in model.model_fields.items()}
        for key in mapping_page.keys(table, model):
            assert meanings.get(names[key]), key
            assert (table, key) in EXAMPLES


@pytest.mark.parametrize(("table", "key"), [pair for pair in EXAMPLES if pair[1] not in TABLES or pair[0] == "limits"])
def test_every_example_is_part_of_a_mapping(table: str, key: str) -> None:
    models = [model for _, name, model, _ in mapping_page.SECTIONS if name == table]
    if not any(key in mapping_page.keys(table, model) for model in models):
        pytest.fail(f"{table}.{key} is no key any more; take its example out")
    stated = tomllib.loads(EXAMPLES[table, key])
    content: JsonObject = {"consent": "given", "consent_note": "test", **TABLES}
    if table in LINES:
        LINES[table]({"kind": table, **stated}, "test")
        return
    if table == "sql":
        content["items"] = {**TABLES["items"], table: stated}
        assert Mapping.parse(content, "test").items is not None
        return
    if table in TABLES:
        fields = getattr(table_mapping, f"{table.title()}Mapping").model_fields
        beside = {name: value for name, value in BESIDE.get(key, {}).items() if name in fields}
        part = {**TABLES[table], **beside, **stated}
        stated = {table: {name: value for name, value in part.items() if value is not None}}
    elif table in ("traffic", "spelling", "limits"):
        stated = {table: stated}
    Mapping.parse(content | stated, "test")


def test_every_setting_is_in_one_section() -> None:
    names = [name for _, section in settings_page.SECTIONS.values() for name in section]
    assert sorted(names) == sorted(Settings.model_fields.keys() - UNWRITABLE)
