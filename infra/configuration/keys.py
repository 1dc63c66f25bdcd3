"""Checks the keys and the types of a settings file against the fields of the settings."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

from infra.configuration.settings_file import SettingsRefusedError, place, read
from models.primitives.json_types import JsonObject

UNWRITABLE: Final = frozenset({"settings_file", "exported_by"})
"""Settings that processes set for each other; no file may hold them."""
REMOVED: Final = frozenset({"reconciler_port", "webhook_url"})
"""Settings of earlier versions, for MLflow's webhooks."""
_PATHS: Final = ("var", "home", "lake", "bundles", "placements", "collect_mapping")
"""Settings that may name a file or a folder; relative paths start at the folder of the settings file."""
_TYPES: Final = {str: "text in quotes", int: "a whole number", float: "a number", dict: "a table"}


def values(path: Path, annotations: Mapping[str, Any]) -> JsonObject:
    """Return the settings in a file by name, with absolute paths; `annotations` holds the type of each setting.

    Raises SettingsRefusedError for an unknown key, naming the nearest one, and for a value of the wrong type.
    """
    content = read(path)
    known = {name: annotation for name, annotation in annotations.items() if name not in UNWRITABLE}
    for key, value in content.items():
        name = key.lower().removeprefix("tailorbird_")
        if name.startswith("secret_"):
            raise SettingsRefusedError(
                f"{place(path, key)}: keys and passwords of services are not kept in this file. Set "
                f"TAILORBIRD_{name.upper()}, or use the files in the folder secrets of `var`."
            )
        if key in REMOVED:
            raise SettingsRefusedError(
                f"{place(path, key)}: {key} is no setting any more: MLflow's tags and aliases are read every few "
                "seconds without it. Remove that line."
            )
        _known(path, key, name, known, "key")
        _typed(path, key, value, known[key])
    given = {key: value for key, value in content.items() if value != ""}
    return {"var": str(path.parent / "var")} | {key: _based(path, key, value) for key, value in given.items()}


def readable_by_others(path: Path | None, secrets: Collection[str]) -> list[str]:
    """Return a warning when other users can read a file that holds one of the `secrets`."""
    exposed = sorted(read(path).keys() & set(secrets)) if path is not None and path.stat().st_mode & 0o077 else []
    return [f"Others can read {', '.join(exposed)} in {path}. Close it with: chmod 600 {path}"] if exposed else []


def leaves(annotation: Any) -> Iterator[Any]:
    """Yield the plain types in an annotation, such as str and NoneType of `str | None`."""
    inner = get_args(annotation)
    if not inner or getattr(annotation, "__origin__", None) is dict:
        yield annotation
    elif hasattr(annotation, "__metadata__"):
        yield from leaves(inner[0])
    else:
        for part in inner:
            yield from leaves(part)


def limits_of(annotation: Any) -> type[Any] | None:
    """Return the dataclass that holds a setting's table; None for other settings."""
    return next((leaf for leaf in leaves(annotation) if is_dataclass(leaf) and isinstance(leaf, type)), None)


def _typed(path: Path, key: str, value: Any, annotation: Any) -> None:
    expected = _type(annotation)
    fits = isinstance(value, (int, float) if expected is float else expected) and not isinstance(value, bool)
    if not fits:
        raise SettingsRefusedError(
            f"{place(path, key)}: {key} has to be {_TYPES[expected]}. Correct that line or remove it."
        )
    table = limits_of(annotation)
    if table is not None:
        types = get_type_hints(table)
        for name, inner in value.items():
            _known(path, f"{key}.{name}", name, [field.name for field in fields(table)], f"limit in {key}")
            _typed(path, f"{key}.{name}", inner, types[name])


def _type(annotation: Any) -> type[Any]:
    """Return the TOML type of a setting."""
    if limits_of(annotation) is not None:
        return dict
    for leaf in leaves(annotation):
        if leaf in (int, float):
            return leaf  # type: ignore[no-any-return]
        if leaf is dict or getattr(leaf, "__origin__", None) is dict:
            return dict
    return str


def _known(path: Path, key: str, name: str, known: Any, kind: str) -> None:
    """Refuse an unknown key."""
    if key.rpartition(".")[2] in known:
        return
    nearest = get_close_matches(name, list(known), n=1, cutoff=0.0)[0]
    raise SettingsRefusedError(
        f"{place(path, key)}: there is no {kind} {key.rpartition('.')[2]!r}; the nearest is {nearest!r}. Correct that "
        "line or remove it."
    )


def _based(path: Path, key: str, value: Any) -> Any:
    """Resolve a relative path against the folder of the settings file."""
    return str(path.parent / value) if key in _PATHS and "://" not in value and value[0] != "~" else value
