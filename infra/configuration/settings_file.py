"""Finds and reads `tailorbird.toml`, the settings file of an installation."""

import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

from models.errors import TailorbirdError
from models.primitives.json_types import JsonObject

NAME: Final = "tailorbird.toml"
VARIABLE: Final = "TAILORBIRD_SETTINGS"
NO_FILE: Final = "none"
"""The value of TAILORBIRD_SETTINGS that disables the settings file."""
RECORD: Final = "settings-file"
"""The file in `var` that holds the path of the installation's settings file."""

_BEGIN: Final = re.compile(r"""\s*(?:\[(?P<table>[^\[\]]+)\]|(?P<key>[\w.\s"'-]+?)\s*=)""")
_SPACE_OR_QUOTE: Final = re.compile(r"""[\s"']""")


class SettingsRefusedError(TailorbirdError):
    """A setting in the environment or in the settings file has an unusable value."""


def find() -> Path | None:
    """Return the settings file of this process; None without one.

    TAILORBIRD_SETTINGS comes first, then the file recorded in TAILORBIRD_VAR, the one in the working directory, and
    the one recorded in `./var`. Raises SettingsRefusedError when the named or recorded file is gone.
    """
    given, var = os.environ.get(VARIABLE), os.environ.get("TAILORBIRD_VAR")
    if given == NO_FILE:
        return None
    if given:
        return _existing(given)
    recorded, local = _recorded(Path(var or "var")), Path(NAME).absolute()
    if recorded is not None and var and _is_file(recorded):
        return recorded
    if _is_file(local):
        return local
    if recorded is not None and not _is_file(recorded):
        raise SettingsRefusedError(
            f"The settings of this installation are in {recorded}, which is gone. Restore that file, name another one "
            f"in {VARIABLE}, or delete {Path(var or 'var').absolute() / RECORD} to go on without."
        )
    return recorded


def record(var: Path, file: Path | None) -> None:
    """Record in `var` the path of its settings file, so that commands in other folders read the same file."""
    path = var / RECORD
    if file is not None and _recorded(var) != file:
        draft = path.with_name(f".{RECORD}.{os.getpid()}")
        draft.write_text(f"{file}\n")
        draft.replace(path)


def read(path: Path) -> JsonObject:
    """Return the content of a settings file. Raises SettingsRefusedError with the line of a mistake."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsRefusedError(f"{path} cannot be read: {error.strerror}. Correct that, or its name.") from None
    except RecursionError:
        raise SettingsRefusedError(f"{path} cannot be read: its brackets are nested too deeply.") from None
    except UnicodeDecodeError:
        raise SettingsRefusedError(f"{path} is not UTF-8 text. Save it as UTF-8.") from None
    except ValueError as error:
        raise SettingsRefusedError(f"{path} is not valid TOML: {error}. Correct that line.") from None


def place(path: Path, key: str) -> str:
    """Return the file and line of a key, as `tailorbird.toml:12`; without a line if no line starts with the key."""
    section = ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = _BEGIN.match(line)
        if match is None:
            continue
        name = _SPACE_OR_QUOTE.sub("", section + match["key"] if match["key"] else match["table"])
        section = f"{name}." if match["table"] else section
        if f"{name}.".startswith(f"{key}."):
            return f"{path.name}:{number}"
    return place(path, key.rpartition(".")[0]) if "." in key else path.name


def placed(path: Path, key: str) -> str:
    """Return a key with its file and line, as `tailorbird.toml:12: k`."""
    return f"{place(path, key)}: {key}"


def _existing(given: str) -> Path:
    try:
        given.encode()
        path = Path(given).expanduser().absolute()
    except (UnicodeEncodeError, RuntimeError):
        raise SettingsRefusedError(f"{VARIABLE}: write the path of a file. Correct it or unset it.") from None
    if not _is_file(path):
        raise SettingsRefusedError(f"{VARIABLE}: there is no file {path}. Correct it or unset it.")
    return path


def _recorded(var: Path) -> Path | None:
    try:
        return Path((var / RECORD).read_text().strip())
    except (OSError, ValueError):
        return None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


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
