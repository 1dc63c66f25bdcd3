"""Forms of deployments, as Prefect makes them from the flows: every field can be understood and answered."""

from importlib import import_module
from pathlib import Path

import pytest
import yaml
from prefect.utilities.callables import parameter_schema

from models.primitives.json_types import JsonObject

_ROOT = Path(__file__).parents[2]
NAMES = [entry["name"] for entry in yaml.safe_load((_ROOT / "prefect.yaml").read_text())["deployments"]]


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
