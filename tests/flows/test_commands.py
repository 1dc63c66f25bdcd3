"""Mistakes on the command line are reported before anything starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.commands.reviewing import app
from tests.fuzz.commands import run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shoppe"], "no mapping 'shoppe'. Give the path of a .toml file or one of: complete_journey"),
        (["segment", "export/", "--consent", "yes"], "consent: "),
        (["segment", "export/", "--consent", "given"], "state how it was given, as consent_note"),
        (["segment", "export/", "--from", "yesterday"], "from: 'yesterday' is no time"),
        (["web", "export/", "--mapping", "nowhere.toml"], "no mapping 'nowhere.toml'"),
        (["segment", "export/", "--cron", "0 3 * * *"], "Start the services with: tailorbird up"),
        (["segment", "export/"], "Start the services with: tailorbird up"),
    ],
)
def test_a_mistake_in_what_to_ingest_is_reported_at_once(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAILORBIRD_VAR", str(tmp_path))
    ended = run("ingest", *arguments)
    assert (ended.code, message in ended.err) == (1, True), ended.err
    assert "Traceback" not in ended.err


def test_arguments_of_an_ingest_are_checked_before_prefect_is_imported() -> None:
    """Prefect reads its server's address when it is imported. Too early, and the run uses a server of its own."""
    preview = "from flows.commands.ingestion import _request as r; r('complete_journey', ['s3://a/b'], {})"
    command = [sys.executable, "-c", f"import sys; {preview}; print('prefect' in sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout == "False\n"


def test_lists_are_made_without_mlflow(tmp_path: Path) -> None:
    closed = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    closed |= {"TAILORBIRD_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nothing", "TAILORBIRD_VAR": str(tmp_path)}
    command = [sys.executable, "-m", "flows", "score"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | closed)
    assert done.returncode == 1, done.stderr
    assert "Not reachable: postgres, prefect. Start" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_decision_without_yes_or_no_names_both_options() -> None:
    refused = CliRunner().invoke(app, ["decide", "--reason", "x"], env={"COLUMNS": "200"})
    assert refused.exit_code == 2
    assert "--approve" in refused.output
    assert "--reject" in refused.output
