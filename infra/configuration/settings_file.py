"""Finds and reads `tailorbird.toml`, the settings file of an installation."""

import os
import re
import tomllib
from pathlib import Path
from typing import Final

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
