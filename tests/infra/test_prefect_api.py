"""The deployments that are registered with Prefect: those of prefect.yaml, at the times in the settings."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr

from infra.configuration.settings import Settings
from infra.configuration.settings_file import SettingsRefusedError
from infra.configuration.value_checks import Timing
from infra.prefect_api import deployments
from infra.prefect_api.client import FlowRun
from infra.prefect_api.deployments import fingerprint
from infra.prefect_api.flow_runs import describe
from infra.prefect_api.notification_blocks import AlertsRefusedError, addresses

ROOT = Path(__file__).resolve().parents[2]
RUN: dict[str, Any] = {"name": "monitor", "start_time": "2026-11-28T02:38:11Z", "created_by": None}
SLACK = "https://hooks.slack.com/services/T1AAAAAAA/B1AAAAAAA/cccccccccccccccccccccccc"


def sent(tmp_path: Path, *, demo: bool = False, **settings: Any) -> dict[str, Any]:
    given = Settings(var=tmp_path, home=ROOT, **settings)
    written = yaml.safe_load(deployments.write_file(given, tmp_path / "prefect" / "sent.yaml", demo=demo).read_text())
    return {deployment["name"]: deployment for deployment in written["deployments"]} | {"pull": written["pull"]}


def test_only_a_demo_installation_has_the_deployment_that_loads_the_demos_data(tmp_path: Path) -> None:
    plain, demo = sent(tmp_path), sent(tmp_path, demo=True)
    assert set(demo) - set(plain) == {"demo"}
    assert plain["pull"] == demo["pull"] == yaml.safe_load((ROOT / "prefect.yaml").read_text())["pull"]


def test_deployments_that_are_sent_have_the_tags_of_the_file(tmp_path: Path) -> None:
    sent_ones = sent(tmp_path, demo=True)
    written = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert {entry["name"]: entry["tags"] for entry in written} == {
        name: entry["tags"] for name, entry in sent_ones.items() if name != "pull"
    }


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


@pytest.mark.parametrize(
    ("run", "starter"),
    [
        ({"created_by": {"type": "SCHEDULE"}, "idempotency_key": "scheduled 1"}, "its schedule"),
        (
            {"created_by": {"type": "AUTOMATION", "display_value": "Tailorbird: drift"}},
            "the automation Tailorbird: drift",
        ),
        ({"idempotency_key": "calibration of promotion 3"}, "Tailorbird: calibration of promotion 3"),
        ({}, "a person in Prefect"),
    ],
)
def test_a_run_is_described_by_its_start_and_who_started_it(run: dict[str, Any], starter: str) -> None:
    assert describe(FlowRun.from_json(RUN | run)) == f"monitor (since 2026-11-28 02:38 UTC, started by {starter})"


def settings_of(text: str) -> Settings:
    return Settings(alerts=SecretStr(text))


def test_several_addresses_are_separated_though_one_has_several_recipients() -> None:
    mail = "mailto://user:password@smtp.example?to=ops@example.com,dev@example.com"
    entries = addresses(settings_of(f"block:slack-webhook/ops, {SLACK},{mail}, json://127.0.0.1:8080/alerts"))
    assert entries == ["block:slack-webhook/ops", SLACK, mail, "json://127.0.0.1:8080/alerts"]
    assert addresses(settings_of(" ")) == []


@pytest.mark.parametrize(
    "wrong",
    ["https://shop.example/hunter2", "hunter2", "hunter2://x", "block:hunter2", "block:A b/hunter2", "mailto://"],
)
def test_an_address_that_takes_no_alert_is_refused_by_its_place_and_not_repeated(wrong: str) -> None:
    with pytest.raises(AlertsRefusedError, match=r"entry 2 cannot be read. Write a block") as refusal:
        addresses(settings_of(f"{SLACK},{wrong}" if "://" in wrong or "block" in wrong else f"{SLACK},block:{wrong}"))
    assert "hunter2" not in str(refusal.value)
    assert "hunter2" not in repr(settings_of(wrong))
