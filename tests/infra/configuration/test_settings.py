from pathlib import Path

import pytest

from infra.configuration.settings import Settings, load
from infra.configuration.settings_file import SettingsRefusedError
from models.gate.thresholds import GateThresholds


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [*Settings.model_fields, "PREFECT_API_URL", "MLFLOW_TRACKING_URI"]:
        monkeypatch.delenv(name if name.isupper() else f"TAILORBIRD_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


def test_without_an_environment_everything_lives_in_var_below_the_current_folder(tmp_path: Path) -> None:
    settings = load()
    assert settings.var == tmp_path / "var"
    assert settings.lake == str(tmp_path / "var" / "lake")
    assert settings.bundles == str(tmp_path / "var" / "bundles")
    assert settings.database_url is settings.prefect_api_url is settings.mlflow_tracking_uri is None


def test_limits_of_the_gate_are_set_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILORBIRD_GATE", '{"group_margin": 0.1, "group_users": 200}')
    assert load().gate == GateThresholds(group_margin=0.1, group_users=200)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('{"group_mrgin": 0.1}', "there is no limit group_mrgin; there are users, group_users, group_margin"),
        ('{"group_margin": 2}', "group_margin is a share: from 0 to 1"),
        ('{"group_margin": "much"}', "should be a valid number"),
        ('{"group_margin', "write it as JSON"),
        ("0.1", "write it as JSON"),
    ],
)
def test_limits_that_cannot_be_held_are_named(monkeypatch: pytest.MonkeyPatch, value: str, message: str) -> None:
    monkeypatch.setenv("TAILORBIRD_GATE", value)
    with pytest.raises(SettingsRefusedError, match=message) as refusal:
        load()
    assert str(refusal.value).startswith("TAILORBIRD_GATE: ")


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILORBIRD_DATABASE_URL", "")
    monkeypatch.setenv("TAILORBIRD_MLFLOW_PORT", "")
    assert load() == load()
    assert load().database_url is None


def test_printing_settings_shows_no_password() -> None:
    assert "hidden" not in repr(Settings(database_url="postgresql://me:hidden@db/shop"))


def test_a_folder_for_the_lake_is_made_absolute(tmp_path: Path) -> None:
    assert Settings(lake="my/lake").lake == str(tmp_path / "my" / "lake")


def test_the_code_is_found_from_any_folder_and_a_clone_in_the_current_one_comes_first(tmp_path: Path) -> None:
    assert (load().home / "infra" / "configuration" / "settings.py").is_file()
    (tmp_path / "prefect.yaml").touch()
    assert load().home == tmp_path


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("TAILORBIRD_VAR", "/dev/null", "/dev/null is not a folder; write the path of a folder"),
        ("TAILORBIRD_VAR", "/dev/null/var", "/dev/null is not a folder"),
        ("TAILORBIRD_VAR", "~nobody-here/var", "there is no such user's home"),
        ("TAILORBIRD_VAR", "caf\udce9", "write it as UTF-8 text"),
        ("TAILORBIRD_LAKE", "/dev/null", "/dev/null is not a folder"),
        ("TAILORBIRD_LAKE", "file:///srv/lake", "write a folder, or an address by s3://"),
        ("TAILORBIRD_LAKE", "ftp://host/lake", "write a folder, or an address by s3://"),
        ("TAILORBIRD_LAKE", "s3://", "such as s3://bucket/lake"),
        ("TAILORBIRD_BUNDLES", "s3://bucket/x", "bundles are kept in a folder"),
        *(("TAILORBIRD_MEMORY", value, "write an amount from 100MB") for value in ("0GB", "1KB", "9999999GB", "4 G")),
        ("TAILORBIRD_GATE", '{"users":' * 5000, "write it as JSON"),
        ("TAILORBIRD_GATE", '{"score_ms": Infinity}', "finite|at most"),
        ("TAILORBIRD_MONITOR", '{"cool_down_days": 1e300}', "cool_down_days has to be above 0, and at most 36,500"),
        ("TAILORBIRD_SERVING_P99_MS", "inf", "less than or equal"),
        *(("TAILORBIRD_MLFLOW_PORT", port, "") for port in ("no", "0", "70000")),
        *(("TAILORBIRD_REVIEW_DAYS", days, "") for days in ("0", "inf", "nan", "4000")),
    ],
)
def test_a_value_that_cannot_work_is_refused_with_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsRefusedError, match=allowed) as refusal:
        load()
    assert str(refusal.value).startswith(f"{variable}: ")
    assert str(refusal.value).endswith("Correct it or unset it.")


def test_two_services_cannot_have_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILORBIRD_PREFECT_PORT", "4300")
    monkeypatch.setenv("TAILORBIRD_DOCS_PORT", "4300")
    with pytest.raises(SettingsRefusedError, match="TAILORBIRD_PREFECT_PORT and TAILORBIRD_DOCS_PORT are both 4300"):
        load()
