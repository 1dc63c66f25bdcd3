"""Writes a first settings file with the meaning and default of every key, from the fields of the settings."""

import ast
import inspect
import json
import os
import textwrap
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from infra.configuration import settings_file
from infra.configuration.settings import Settings, annotations, variable_of
from infra.configuration.settings_file import UNWRITABLE, SettingsRefusedError, limits_of
from infra.prefect_api.deployments import NAME, built_in

_WIDTH: Final = 118
_HEAD: Final = """\
Settings of this installation, read by every command, the worker, its runs and the servers.

Each key is also an environment variable, such as {variable} for {key}. A variable overrides this file.
Relative paths start at this file's folder. `tailorbird settings` shows all values and where they come from.
After a change, `tailorbird up` restarts the processes that use the old value.

Remove the # of a line to use it. It shows the default, unless it ends in "an example"."""


def write() -> Path:
    """Write the settings file to the working directory, or to the path in TAILORBIRD_SETTINGS; return its path.

    Raises SettingsRefusedError if the file exists.
    """
    given = os.environ.get(settings_file.VARIABLE)
    unnamed = given in (None, "", settings_file.NO_FILE)
    path = Path(settings_file.NAME if unnamed else str(given)).expanduser().absolute()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise SettingsRefusedError(
            f"{path} is already there, and nothing was changed. See its values with: tailorbird settings"
        ) from None
    except OSError as error:
        raise SettingsRefusedError(f"{path} cannot be written: {error.strerror}. Correct that.") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as written:
        written.write(content())
    return path


def content() -> str:
    """Return the text of a settings file with every key commented out."""
    head = _HEAD.format(variable=variable_of("review_days"), key="review_days")
    return "\n".join(["\n".join(f"# {line}".rstrip() for line in head.splitlines()), *_sections()]) + "\n"


def descriptions(described: type[Any]) -> dict[str, str]:
    """Return the docstring of each field of a class."""
    body = ast.parse(textwrap.dedent(inspect.getsource(described))).body[0]
    assert isinstance(body, ast.ClassDef)
    texts: dict[str, str] = {}
    for before, after in zip(body.body, body.body[1:], strict=False):
        given = isinstance(before, ast.AnnAssign) and isinstance(before.target, ast.Name)
        if given and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            texts[before.target.id] = inspect.cleandoc(str(after.value.value))  # type: ignore[attr-defined]
    return texts


def _sections() -> Iterator[str]:
    meanings, types = descriptions(Settings), annotations()
    for name, field in Settings.model_fields.items():
        if name in UNWRITABLE:
            continue
        table = limits_of(types[name])
        if table is not None:
            yield _commented(meanings[name], [])
            inner, usual = descriptions(table), table()
            for limit in fields(table):
                yield _commented(
                    inner[limit.name], [f"{name}.{limit.name} = {_toml(getattr(usual, limit.name))}"], gap=False
                )
            continue
        if name == "schedules":
            yield _commented(meanings[name], _schedule_lines())
            continue
        example = next(iter(field.examples or []), None)
        value = f"{_toml(example)}  # an example" if example is not None else _toml(_plain(field.get_default()))
        yield _commented(meanings[name], [f"{name} = {value}"])


def _schedule_lines() -> list[str]:
    folder = Path() if (Path() / NAME).is_file() else Path(__file__).resolve().parents[2]
    return [f"schedules.{slug} = {_toml(timing.cron)}" for slug, timing in built_in(folder).items()]


def _commented(text: str, lines: list[str], *, gap: bool = True) -> str:
    wrapped = textwrap.wrap(" ".join(text.split()), _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join([*([""] if gap else []), *(f"# {line}" for line in wrapped), *(f"# {line}" for line in lines)])


def _plain(default: object) -> object:
    return str(default) if isinstance(default, Path) else default


def _toml(value: object) -> str:
    """Return a value as TOML: text and numbers are the same in JSON."""
    return json.dumps(value, ensure_ascii=False)
