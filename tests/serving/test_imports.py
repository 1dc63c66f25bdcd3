import json
import subprocess
import sys

import pytest

from infra.installation import Installation

HEAVY = {"prefect", "mlflow", "great_expectations", "pandas"}
AFTER = """
import json, sys
try:
    {program}
finally:
    sys.stderr.write("\\nLOADED " + json.dumps(sorted({{name.partition(".")[0] for name in sys.modules}})))
"""
COMMAND = "import sys; sys.argv = {arguments!r}; import flows.__main__ as line; line.main()"


def run(program: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run it, and list which packages were loaded at the end."""
    command = [sys.executable, "-c", AFTER.format(program=program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done, set(json.loads(done.stderr.rpartition("LOADED ")[2]))


def test_an_api_starts_without_what_only_collected_calls_and_documents_need() -> None:
    modules = "serving.api.startup.loaded_once, serving.api.startup.installation"
    done, loaded = run(f"from serving.api.gate.workers import prepare; prepare(); import {modules}")
    assert done.returncode == 0, done.stderr
    assert {"fastapi", "scipy", "asyncpg"} <= loaded
    assert not (HEAVY | {"pyarrow", "duckdb", "jinja2"}) & loaded


def test_the_model_that_mlflow_serves_needs_mlflow_as_little_as_prefect() -> None:
    done, loaded = run("import serving.pyfunc")
    assert done.returncode == 0, done.stderr
    assert not (HEAVY - {"pandas"}) & loaded


def test_the_status_is_printed_without_heavy_libraries(installation: Installation) -> None:
    done, loaded = run(COMMAND.format(arguments=["tailorbird", "status", "--json"]))
    imported = json.loads(done.stdout)
    assert imported["services"] == {"postgres": True, "prefect": False, "mlflow": False, "docs": False, "api": False}
    assert imported["ledger"]["read"] == 0
    assert "sqlalchemy" in loaded
    assert not HEAVY & loaded
    assert installation.endpoints.database_url not in done.stdout + done.stderr


def test_recommendations_are_printed_without_heavy_libraries_and_a_mistake_without_a_traceback(
    installation: Installation,
) -> None:
    done, loaded = run(COMMAND.format(arguments=["tailorbird", "recommend", "nobody", "--json"]))
    assert done.returncode == 1
    assert "tailorbird: Nothing is ingested yet. Next: `tailorbird ingest MAPPING PATH…`" in done.stderr
    assert "Traceback" not in done.stderr
    assert "sqlalchemy" in loaded
    assert not HEAVY & loaded
    assert installation.settings.var.is_absolute()


@pytest.mark.usefixtures("installation")
def test_settings_show_the_rules_of_the_file_and_of_operators_without_what_is_heavy() -> None:
    done, loaded = run(COMMAND.format(arguments=["tailorbird", "settings"]))
    assert done.returncode == 0, done.stderr
    assert "Rules of operators: none" in done.stdout
    assert "shows at most 2 of one category" in " ".join(done.stdout.split())
    assert not HEAVY & loaded
