"""Finds settings without effect: misspelt variables of this shell, and schedules that are not built in."""

import os
from difflib import get_close_matches
from typing import Final

from infra.configuration.keys import REMOVED, UNWRITABLE
from infra.configuration.settings import Settings, variable_of
from infra.configuration.settings_file import VARIABLE, SettingsRefusedError
from infra.prefect_api import deployment_file

_PREFIX: Final = "TAILORBIRD_"
_SECRET: Final = f"{_PREFIX}SECRET_"
_SECRETS: Final = tuple(
    _SECRET + name
    for name in (
        *("PSEUDONYM_KEY", "SIGNING_KEY", "MLFLOW_PAGE", "PREFECT_PAGE", "DOCS_PAGE"),
        *("DATABASE_READER", "DATABASE_SERVING", "DATABASE_INGEST", "DATABASE_OPERATOR"),
    )
)
_CONTAINERS: Final = (f"{_PREFIX}DATABASE_PASSWORD", f"{_PREFIX}POSTGRES_PASSWORD", f"{_PREFIX}SERVICE")
"""Variables of docker-compose.yml, and the mark of processes that `up` starts."""
_REMOVED: Final = frozenset(f"{_PREFIX}{name.upper()}" for name in REMOVED)
_SAME_WORD: Final = 0.85


def variables() -> list[str]:
    """Return a sentence for each variable of this shell that looks like a setting but is not one."""
    known = [VARIABLE, *map(variable_of, Settings.model_fields)]
    removed = [
        f"{name} is no setting any more, so its value has no effect. Unset it."
        for name in sorted(os.environ)
        if name.upper() in _REMOVED
    ]
    return removed + [
        f"{name} is no setting, so its value has no effect. The nearest is {nearest}. Correct the name or unset it."
        for name in sorted(os.environ)
        if name.upper().startswith(_PREFIX) and (nearest := _nearest(name.upper(), known))
    ]


def schedules(settings: Settings) -> list[str]:
    """Return a sentence for a schedule in the settings that is not built in."""
    try:
        deployment_file.check(settings)
    except SettingsRefusedError as error:
        return [str(error)]
    return []


def _nearest(name: str, known: list[str]) -> str | None:
    """Return the known name nearest to an unknown one; None for a known name."""
    if name in known or name in _CONTAINERS or name in _SECRETS or name in _REMOVED:
        return None
    if name.startswith(_SECRET):  # services may have further secrets
        return next(iter(get_close_matches(name, _SECRETS, n=1, cutoff=_SAME_WORD)), None)
    public = [one for one in known if one.lower().removeprefix(_PREFIX.lower()) not in UNWRITABLE]
    return get_close_matches(name, public, n=1, cutoff=0.0)[0]
