"""Describe the faults of a configuration file for a person: the place, the fault, and what would be right."""

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

_ACROSS: Final = "across_fields"
_NEAR: Final = 0.7
_PLAINER: Final = MappingProxyType(
    {
        "missing": "it is missing; add it",
        "string_type": "write it in quotes",
        "list_type": "write a list: [...]",
        "dict_type": "write a table: { key = value }",
        "model_type": "write a table: { key = value }",
    }
)


def across(faults: Mapping[str, str]) -> PydanticCustomError:
    """Return the error of a validator of several fields, from fault messages by their place below its model."""
    text = "; ".join(f"{where}: {message}" for where, message in faults.items())
    # pydantic would treat braces as placeholders.
    return PydanticCustomError(_ACROSS, "{text}", {"text": text, "faults": dict(faults)})


def faults(
    model: type[BaseModel], error: ValidationError, within: str = "", label: Callable[[str], str] = str
) -> list[str]:
    """Return all faults, each with its place in the model; `within` is the place of the model itself.

    `label` returns the name of a key in messages, such as the key with its line in a file.
    """
    return [text for fault in error.errors() for text in _sentences(model, fault, within, label)]


def _sentences(model: type[BaseModel], fault: Any, within: str, label: Callable[[str], str]) -> Iterator[str]:
    place = [*([within] if within else []), *(str(key) for key in fault["loc"] if key != "[key]")]
    if fault["type"] == _ACROSS:
        for where, message in fault["ctx"]["faults"].items():
            yield f"{label('.'.join([*place, where]))}: {message}"
        return
    message = _PLAINER.get(fault["type"], fault["msg"].removeprefix("Value error, "))
    if fault["type"] == "extra_forbidden":
        message = f"there is no such key; {_instead(place[-1], list(_fields(_table(model, fault['loc'][:-1]))))}"
    yield f"{label('.'.join(place))}: {message}" if place else message


def _instead(key: str, known: list[str]) -> str:
    """Return the nearest key, or all of them if none is near."""
    near = get_close_matches(key, known, n=1, cutoff=_NEAR)
    return f"the nearest is {near[0]!r}" if near else f"the keys here are {', '.join(known)}"


def _fields(model: type[BaseModel]) -> dict[Any, FieldInfo]:
    """Return the fields of a table by their keys in the file."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _table(model: type[BaseModel], place: tuple[Any, ...]) -> type[BaseModel]:
    """Return the model of the table at this place; numbers are positions in a list of tables."""
    for key in place:
        if not isinstance(key, int):
            model = next(_models(_fields(model)[key].annotation))
    return model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
