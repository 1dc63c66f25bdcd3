"""A variable of the environment with any content is used, or refused by its name."""

import os
from collections.abc import Iterator
from contextlib import suppress
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.configuration import placements
from infra.configuration.settings import Settings, load
from infra.prefect_api import notification_blocks
from infra.services.endpoints import database_url, endpoints
from models.errors import TailorbirdError
from tests.examples import spread
from tests.fuzz.commands import check, run

VARIABLES = sorted(
    str(field.validation_alias or f"TAILORBIRD_{name.upper()}") for name, field in Settings.model_fields.items()
)
ODD = [
    *(" ", "-", "0", "-1", "nan", "inf", "1e308", "9" * 5000, "70000", "true", "x" * 5000, "\udce9", "\x1b[31m", "\n"),
    *("/", "/dev/null", "/dev/null/x", "/proc/self/mem", "~", "~nobody/x", "..", "s3://", "s3://b/l", "ftp://h/x"),
    *("file:///x", "://", "http://", "http://[", "http://h:99999", "http://h:no/", "http://u:p@w@h/", "postgresql://"),
    *("postgresql://u:p@127.0.0.1:9/d", "postgresql://h:no/d", "postgresql://h/d?x=1&x=2", "sqlite:///x", "mysql://h"),
    *("{", "[]", "{}", "null", '{"users": NaN}', '{"users": 1e400}', '{"users": {}}', '{"a":' * 5000, "[" * 100_000),
    *("0GB", "4GB", "4 GiB", "1e9GB", "0.000001GB", "block:", "block:a/b", "mailto://", "json://127.0.0.1:9", ",,,"),
    *("a" * 64, "f" * 64 + "," + "0" * 64, "manual", "Mars/Olympus"),
]
READERS = {
    "TAILORBIRD_PLACEMENTS": placements.configured,
    "TAILORBIRD_ALERTS": notification_blocks.addresses,
    "TAILORBIRD_DATABASE_URL": database_url,
}
"""Readers of a setting's value that run later than the settings themselves."""
READ_BY_EVERY_COMMAND = [
    f"TAILORBIRD_{name}" for name in ("DATABASE_URL", "VAR", "LAKE", "HOME", "GATE", "PREFECT_PORT")
]
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
"""What a variable can hold, except for bytes that are no UTF-8, which are in ODD."""


@pytest.fixture(scope="module", autouse=True)
def no_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Unset our variables; nothing was started in the current folder."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in list(os.environ):
            if name.startswith(("TAILORBIRD_", "PREFECT_", "MLFLOW_")):
                monkeypatch.delenv(name)
        monkeypatch.chdir(tmp_path_factory.mktemp("settings"))
        yield


@pytest.mark.parametrize("variable", VARIABLES)
def test_any_value_of_a_variable_is_used_or_refused(variable: str) -> None:
    def property_holds(value: str) -> None:
        with patch.dict(os.environ, {variable: value}), suppress(TailorbirdError):
            READERS.get(variable, endpoints)(load())

    for value in ODD:
        property_holds(value)
    given(TEXT)(property_holds)()


@pytest.mark.parametrize("variable", READ_BY_EVERY_COMMAND)
def test_a_command_with_an_odd_setting_ends_in_a_sentence(variable: str) -> None:
    for value in spread(ODD, READ_BY_EVERY_COMMAND.index(variable)):
        with patch.dict(os.environ, {variable: value}):
            check(run("ledger"), [variable, value])
