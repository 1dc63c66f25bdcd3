"""What is wrong with a form that somebody filled in, as a person reads it: where, what, and what would be right."""

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
    """The error of a validator that looks at several fields: what is wrong by where, below what it validates."""
    text = "; ".join(f"{where}: {what}" for where, what in faults.items())
    # Braces would be taken for places to fill in.
    return PydanticCustomError(_ACROSS, "{text}", {"text": text, "faults": dict(faults)})


def faults(
    form: type[BaseModel], error: ValidationError, within: str = "", label: Callable[[str], str] = str
) -> list[str]:
    """All that is wrong, each with its place in the form; `within` is where the form itself stands.

    `label` returns what to call a key, such as the key with its line in a file.
    """
    return [text for fault in error.errors() for text in _sentences(form, fault, within, label)]


def _sentences(form: type[BaseModel], fault: Any, within: str, label: Callable[[str], str]) -> Iterator[str]:
    place = [*([within] if within else []), *(str(key) for key in fault["loc"] if key != "[key]")]
    if fault["type"] == _ACROSS:
        for where, what in fault["ctx"]["faults"].items():
            yield f"{label('.'.join([*place, where]))}: {what}"
        return
    message = _PLAINER.get(fault["type"], fault["msg"].removeprefix("Value error, "))
    if fault["type"] == "extra_forbidden":
        message = f"there is no such key; {_instead(place[-1], list(_fields(_table(form, fault['loc'][:-1]))))}"
    yield f"{label('.'.join(place))}: {message}" if place else message


def _instead(key: str, known: list[str]) -> str:
    """Return the nearest key, or all of them if none is near."""
    near = get_close_matches(key, known, n=1, cutoff=_NEAR)
    return f"the nearest is {near[0]!r}" if near else f"the keys here are {', '.join(known)}"


def _fields(form: type[BaseModel]) -> dict[Any, FieldInfo]:
    """The keys of a table, as they are written."""
    return {field.alias or name: field for name, field in form.model_fields.items()}


def _table(form: type[BaseModel], place: tuple[Any, ...]) -> type[BaseModel]:
    """The form of the table at this place; numbers are places in a list of tables."""
    for key in place:
        if not isinstance(key, int):
            form = next(_forms(_fields(form)[key].annotation))
    return form


def _forms(said: Any) -> Iterator[type[BaseModel]]:
    """The forms that an annotation speaks of."""
    if isinstance(said, type) and issubclass(said, BaseModel):
        yield said
    for part in get_args(said):
        yield from _forms(part)
