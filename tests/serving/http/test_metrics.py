"""The metrics of several workers show the champion that answers, and none before it."""

import subprocess
import sys
from pathlib import Path

import pytest

LOADED = """
import sys
from serving.http import metrics

for version in sys.argv[1:]:
    metrics.show_model(version, f"digest-{version}")
print(*(line for line in metrics.exposition().decode().splitlines() if line.startswith("tailorbird_model_info{")))
"""


def shown_after(*versions: str, folder: Path | None = None) -> str:
    """What is shown after a process has loaded champions."""
    variables = {"PYTHONPATH": str(Path(__file__).parents[2])}
    if folder is not None:
        variables["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    done = subprocess.run([sys.executable, "-c", LOADED, *versions], capture_output=True, env=variables, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("shares", [False, True])
def test_only_the_loaded_champion_is_shown(tmp_path: Path, shares: bool) -> None:
    folder = tmp_path if shares else None
    assert shown_after("1", "2", folder=folder) == 'tailorbird_model_info{digest="digest-2",version="2"} 1.0'
    # The worker in place of one that has died.
    assert shown_after("3", folder=folder) == 'tailorbird_model_info{digest="digest-3",version="3"} 1.0'
