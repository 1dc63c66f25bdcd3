import json

import pyarrow as pa
import pytest
from sqlalchemy import insert
from typer.testing import CliRunner

from flows.commands.lake import app
from infra.database.schema.schema import datasets
from infra.installation import Installation


@pytest.mark.usefixtures("installation")
def test_an_empty_lake_is_shown_as_such() -> None:
    assert json.loads(CliRunner().invoke(app, ["show", "--json"]).stdout)["files"] == 0
    assert "Nothing is there." in CliRunner().invoke(app, ["show"]).stdout


def test_the_lake_is_shown_by_month_with_the_versions_that_data_sets_name(installation: Installation) -> None:
    for chunk, months in enumerate((["2017-01", "2017-01", "2017-02"], ["2017-01"])):
        ids = [f"{chunk}-{number}" for number in range(len(months))]
        installation.lake.append_events(pa.table({"event_id": ids, "month": months}), "b", chunk)
    with installation.engine.begin() as connection:
        connection.execute(insert(datasets).values(version="v1", manifest={"events_version": 1}))
    result = json.loads(CliRunner().invoke(app, ["show", "--json"]).stdout)
    assert (result["version"], result["files"], result["rows"], result["named_versions"]) == (1, 3, 4, [1])
    assert [(row["month"], row["files"], row["rows"]) for row in result["months"]] == [
        ("2017-01", 2, 3),
        ("2017-02", 1, 1),
    ]
    output = CliRunner().invoke(app, ["show"]).stdout
    assert "2017-02" in output
    assert "Version 1; data sets name: 1." in output
