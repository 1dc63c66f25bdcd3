"""Compares the settings of running services with the present ones."""

import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from typing import Final

from infra.configuration.settings import Settings, in_file, source, variable_of
from infra.configuration.settings_file import NAME
from infra.keys.credentials import secret
from infra.services import environment, state_file
from infra.services.endpoints import elsewhere
from infra.services.processes import HIDDEN

_LOGIN: Final = re.compile("//[^/,]*@")
_SHORT: Final = 16
_SHARED_WITH_API: Final = (
    *("database_url", "bundles", "placements", "signing_public_key", "user_traits", "identity", "pass_environment"),
    *("redis_url", "cache_seconds", "impressions_share", "spool_mb", "collect_mapping", "privacy_due_days"),
)
API_SETTINGS: Final = frozenset(
    variable_of(name) for name in Settings.model_fields if name.startswith("api_") or name in _SHARED_WITH_API
)
"""The variables of the settings that the API reads. A change of others does not restart it: visitors wait for it."""


def described(settings: Settings) -> dict[str, str]:
    """Return every setting by its variable, without passwords; unset ones are left out."""
    return _redacted(settings, environment.of_settings(settings))


def overrides(settings: Settings) -> dict[str, str]:
    """Return, without passwords, the settings that do not come from the settings file."""
    return _redacted(settings, environment.overrides(settings))


def with_overrides(settings: Settings, overriding: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a run that reads the file now, with the `overriding` variables in its environment."""
    plain = in_file(settings.settings_file, var=settings.var, home=settings.home)
    return described(plain) | dict(overriding)


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the settings that differ, by name: the earlier and the later value, empty if unset."""
    names = {name: variable_of(name) for name in Settings.model_fields if name != "exported_by"}
    pairs = {name: (before.get(variable, ""), now.get(variable, "")) for name, variable in names.items()}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def changes(before: Mapping[str, str], settings: Settings) -> list[str]:
    """Return a line for each changed setting of the services, with the origin of the new value."""
    lines = []
    for name, (earlier, later) in differences(before, described(settings)).items():
        line = f"Setting {name} changes from {readable(earlier)} to {readable(later)} ({_origin(name)})"
        secret_changed = name != "alerts" and earlier.startswith(HIDDEN) and later.startswith(HIDDEN)
        lines.append(f"{line}: run `tailorbird down`, then `tailorbird up`" if secret_changed else line)
    return lines


def of_this_shell(settings: Settings) -> list[str]:
    """Return a line for each variable of this shell whose value differs from that of the running services."""
    known = state_file.load(settings.var).get("reconciler")
    if settings.exported_by or known is None or not known.alive or not known.settings:
        return []
    changed = differences(known.settings, described(elsewhere(settings, state_file.load(settings.var))))
    return [
        f"{variable} of this shell is {readable(now)}; the running services use {readable(theirs)}. Set {name} in "
        f"{NAME} and run `tailorbird up`, so that scheduled runs use it too."
        for name, (theirs, now) in changed.items()
        if os.environ.get(variable := variable_of(name)) and now
    ]


def readable(value: str) -> str:
    """Return a described value in readable form."""
    return "(hidden)" if value.startswith(HIDDEN) else value or "(not set)"


def _origin(name: str) -> str:
    given = source(name)
    if given != variable_of(name):
        return given.partition(": ")[0]
    return f"{given} of this shell" if os.environ.get(given) else f"{given} is not set in this shell"


def _redacted(settings: Settings, values: Mapping[str, str]) -> dict[str, str]:
    hidden = environment.secret_settings()
    key = secret(settings, "settings-comparison").encode()
    redacted = {}
    for variable, value in values.items():
        digest = hmac.new(key, value.encode(), hashlib.sha256).hexdigest()[:_SHORT]
        redacted[variable] = HIDDEN + digest if variable in hidden else _LOGIN.sub("//", value)
    return redacted
