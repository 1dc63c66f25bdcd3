"""`decide` names a missing option before anything starts."""

import pytest
from typer.testing import CliRunner

from flows.commands.reviewing import app


@pytest.mark.parametrize("version", [[], ["1"]])
def test_a_decision_without_yes_or_no_names_both_options(version: list[str]) -> None:
    refused = CliRunner().invoke(app, ["decide", *version, "--reason", "x"], env={"COLUMNS": "200"})
    assert refused.exit_code == 2
    assert "--approve" in refused.output
    assert "--reject" in refused.output


@pytest.mark.parametrize("reason", ["…", "...", " - "])
def test_a_reason_of_dots_is_refused_with_an_example(reason: str) -> None:
    refused = CliRunner().invoke(app, ["decide", "1", "--approve", "--reason", reason], env={"COLUMNS": "200"})
    assert refused.exit_code == 2
    assert 'such as --reason "better on new items"' in refused.output
