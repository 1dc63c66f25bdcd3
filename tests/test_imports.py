"""The cost of a command before it works: the step that needs a heavy package imports it."""

import json
import subprocess
import sys
from pathlib import Path

FLOWS = sorted(path.stem for path in (Path(__file__).parent.parent / "flows").glob("[a-z]*.py"))
OF_STEPS = {
    *("great_expectations", "mlflow", "optuna", "matplotlib", "fairlearn", "sklearn", "scipy.stats", "scipy.optimize"),
    *("xgboost", "lightfm", "implicit", "faiss", "torch", "onnxruntime", "prefect.server.api", "fastapi"),
    "pandas",  # Arrow imports it with the first array, `empty_table` or scalar
}
"""Each takes a tenth of a second to several seconds, and most runs need none of them."""
OF_RUNS = {"prefect", "numpy", "pyarrow", "scipy", "sqlalchemy", "duckdb", "deltalake", "pydantic"}
"""Packages that every run of a flow needs, and those that read a table."""


def loaded_by(*modules: str) -> set[str]:
    """Return all that is imported when a fresh process imports the modules."""
    code = f"import json, sys, {', '.join(modules)}; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout))


def test_the_command_line_imports_nothing_heavy_before_it_knows_the_command() -> None:
    assert not loaded_by("flows.__main__") & (OF_STEPS | OF_RUNS)


def test_flows_import_no_package_that_only_single_steps_need() -> None:
    assert not loaded_by(*(f"flows.{name}" for name in FLOWS)) & OF_STEPS


def test_the_reconciler_starts_without_what_only_the_moves_of_messages_need() -> None:
    assert not loaded_by("tasks.reconciler.reconcile") & (OF_STEPS | {"prefect", "duckdb"})


def test_an_ingest_does_without_scipy() -> None:
    assert not loaded_by("flows.ingest") & {"scipy", "sklearn"}


def test_a_command_does_not_wait_for_the_heartbeats_of_its_run() -> None:
    from prefect.settings import get_current_settings

    from flows.commands.running import run_without_heartbeats

    assert run_without_heartbeats(lambda: get_current_settings().flows.heartbeat_frequency) is None
