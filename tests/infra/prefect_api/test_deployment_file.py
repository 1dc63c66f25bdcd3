"""The deployments that are registered with Prefect: those of prefect.yaml, at the times in the settings."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.configuration.settings import Settings
from infra.configuration.settings_file import SettingsRefusedError
from infra.configuration.value_checks import Timing
from infra.prefect_api import deployments

ROOT = Path(__file__).resolve().parents[3]


def sent(tmp_path: Path, *, demo: bool = False, **settings: Any) -> dict[str, Any]:
    given = Settings(var=tmp_path, home=ROOT, **settings)
    written = yaml.safe_load(deployments.write_file(given, tmp_path / "prefect" / "sent.yaml", demo=demo).read_text())
    return {deployment["name"]: deployment for deployment in written["deployments"]} | {"pull": written["pull"]}


def test_only_a_demo_installation_has_the_deployment_that_loads_the_demos_data(tmp_path: Path) -> None:
    plain, demo = sent(tmp_path), sent(tmp_path, demo=True)
    assert set(demo) - set(plain) == {"demo"}
    assert plain["pull"] == demo["pull"] == yaml.safe_load((ROOT / "prefect.yaml").read_text())["pull"]


def test_a_schedule_runs_at_the_time_of_the_settings_and_the_others_as_before(tmp_path: Path) -> None:
    plain, changed = sent(tmp_path), sent(tmp_path, schedules={"score-nightly": Timing("0 2 * * *", "Asia/Tokyo")})
    [nightly] = changed.pop("score")["schedules"]
    assert nightly == {"slug": "score-nightly", "cron": "0 2 * * *", "timezone": "Asia/Tokyo"}
    plain.pop("score")
    assert plain == changed


def test_a_schedule_that_is_not_built_in_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsRefusedError, match="no built-in schedule 'nightly-score'; the nearest is 'score-nightly'"
    ):
        sent(tmp_path, schedules={"nightly-score": "0 2 * * *"})


def test_every_built_in_schedule_is_known_by_its_slug() -> None:
    assert deployments.built_in(ROOT)["score-nightly"] == Timing("30 4 * * *")
    assert "retrain-weekly" in deployments.built_in(ROOT)
    assert deployments.built_in(Path("/")) == {}
