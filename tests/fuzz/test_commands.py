"""No arguments of a command end in a traceback: it ends with a known code and a sentence."""

import os
from collections.abc import Iterator
from functools import cache
from typing import Any
from unittest.mock import patch

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from infra.database.schema.schema import ingest_batches
from infra.installation import Installation
from tests.fuzz import values
from tests.fuzz.commands import check, run
from tests.fuzz.unorchestrated import unorchestrated
from tests.fuzz.values import commands

COMMANDS = dict(commands())
PASSED_ON = {("psql",)}
"""Their arguments are PostgreSQL's business."""
ENDLESS = frozenset({"watch", "foreground"})
WITHOUT_DATABASE = {("up",), ("demo",), ("down",), ("keys", "rotate", "signing"), ("keys", "rotate", "pseudonym")}
"""Their database does not run: else they would start servers, or make one more key each time."""


@pytest.fixture(scope="module", autouse=True)
def services_that_seem_to_run(stocked: Installation) -> Iterator[None]:
    assert stocked.engine
    built = cache(typer.main.get_command)  # the command line is built once, and not for each example
    with unorchestrated(), patch("typer.main.get_command", built):
        yield


@pytest.fixture(scope="module")
def known(stocked: Installation) -> st.SearchStrategy[str]:
    """Return values that exist in this shop."""
    with stocked.engine.connect() as connection:
        batches = connection.execute(select(ingest_batches.c.batch_id)).scalars().all()
    files = ["demographics.parquet", "products.parquet", "."]
    return st.sampled_from([*batches, *files, "shop.toml", "500000", "77000001", "home", "als"])


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in PASSED_ON], ids=" ".join)
def test_no_arguments_of_a_command_end_in_a_traceback(name: tuple[str, ...], known: st.SearchStrategy[str]) -> None:
    away = {"TAILORBIRD_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing"} if name in WITHOUT_DATABASE else {}

    @given(values.arguments(COMMANDS[name], ENDLESS, known))
    def property_holds(given: list[str]) -> None:
        check(run(*name, *given), [*name, *given])

    with patch.dict(os.environ, away):
        property_holds()


def numbers() -> Iterator[tuple[str, Any]]:
    for name, command in COMMANDS.items():
        for parameter in command.params:
            if parameter.type_descriptor.annotation in (int, float):
                yield f"{' '.join(name)} {parameter.opts[0]}", parameter


@pytest.mark.parametrize(("name", "parameter"), numbers(), ids=lambda part: part if isinstance(part, str) else "")
def test_every_number_has_a_lowest_and_a_highest_value(name: str, parameter: Any) -> None:
    assert parameter.min is not None, name
    assert parameter.max is not None, name
