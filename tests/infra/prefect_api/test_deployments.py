"""Whether the flows have to be registered again."""

import shutil
from pathlib import Path

from infra.configuration.settings import Settings
from infra.configuration.value_checks import Timing
from infra.prefect_api.deployments import fingerprint

ROOT = Path(__file__).resolve().parents[3]


def test_a_flow_a_schedule_and_the_demo_each_make_another_state_and_other_settings_do_not(tmp_path: Path) -> None:
    shutil.copy(ROOT / "prefect.yaml", tmp_path)
    (tmp_path / "flows").mkdir()
    (flow := tmp_path / "flows" / "score.py").write_text("def score(): ...\n")
    settings = Settings(var=tmp_path / "var", home=tmp_path)
    plain = fingerprint(settings, demo=False)
    assert plain == fingerprint(settings.model_copy(update={"placements": "/other.toml"}), demo=False)
    scheduled = settings.model_copy(update={"schedules": {"score-nightly": Timing("0 2 * * *")}})
    states = {plain, fingerprint(settings, demo=True), fingerprint(scheduled, demo=False)}
    flow.write_text("def score(k: int): ...\n")
    states.add(fingerprint(settings, demo=False))
    (tmp_path / "prefect.yaml").write_text("deployments: []\n")
    states.add(fingerprint(settings, demo=False))
    assert len(states) == 5
