"""Each service gets the variables it needs, and no other one of the shell that runs `up`."""

import os
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic.fields import FieldInfo
from sqlalchemy import make_url

from infra.configuration.retention import Retention
from infra.configuration.settings import Settings, in_file
from infra.configuration.value_checks import Timing
from infra.services import environment as service_environment
from infra.services.endpoints import endpoints, pages_root
from infra.services.processes import Command
from infra.supervisor import commands as servers
from models.datasets.acceptance import DatasetLimits
from models.gate.thresholds import GateThresholds
from models.monitoring.drift.monitor_settings import DriftMonitorConfig

ELSEWHERE: dict[str, Any] = {
    "database_url": "postgresql://me:db-word@db.example/shop",
    "prefect_api_url": "http://prefect.example/api",
    "mlflow_tracking_uri": "http://mlflow.example",
}
SECRETS = {
    "SMTP_PASSWORD": "mail-word",
    "GITHUB_TOKEN": "git-word",
    "AWS_SECRET_ACCESS_KEY": "aws-word",
    "GOOGLE_APPLICATION_CREDENTIALS": "/keys/google.json",
    "AZURE_CLIENT_SECRET": "azure-word",
    "PREFECT_API_KEY": "cloud-word",
    "MLFLOW_TRACKING_TOKEN": "track-word",
    "MIXPANEL_SECRET": "mixpanel-word",
    "PGPASSWORD": "pg-word",
    "TAILORBIRD_SECRET_PSEUDONYM_KEY": "ab" * 32,
    "TAILORBIRD_SECRET_DOCS_PAGE": "docs-word",
    "HTTPS_PROXY": "http://proxy.example",
    "SSL_CERT_FILE": "/certs.pem",
    "OMP_NUM_THREADS": "2",
    "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT__FLOW_RUN_ID": "1f0c",
    "TZ": "Europe/Zurich",
    "FOO_WORD": "foo",
}


@pytest.fixture(autouse=True)
def shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell with secrets of its own, and no setting."""
    for name in os.environ:
        if name.startswith(("TAILORBIRD_", "PREFECT_", "MLFLOW_", "AWS_")):
            monkeypatch.delenv(name)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def given(var: Path, **settings: Any) -> Settings:
    """An installation whose servers run elsewhere, so that nothing has to be started."""
    return Settings(var=var, **(ELSEWHERE | settings))


def clients(settings: Settings) -> list[Command]:
    now = endpoints(settings)
    return [servers.worker_command(settings, now), servers.reconciler_command(settings, now)]


def environment(command: Command) -> dict[str, str]:
    return {**command.taken_over, **command.environment, **command.secrets}


def another(field: FieldInfo) -> Any:
    """Return a value that a setting may have and has not by default."""
    if field.examples:
        return field.examples[0]
    choices = [word for word in get_args(field.annotation) if isinstance(word, str)]
    if choices:
        return next(word for word in choices if word != field.default)
    return field.default / 2 if isinstance(field.default, float) else field.default + 1


def test_every_setting_reaches_the_worker_and_the_reconciler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "tailorbird.toml"
    special: dict[str, Any] = {
        "var": tmp_path / "var",
        "home": Path(servers.__file__).parents[2],
        "exported_by": str(tmp_path / "var"),
        "settings_file": file,
        "database_url": "postgresql://me@db.example/shop",
        "memory": "3GB",
        "gate": GateThresholds(group_margin=0.125),
        "dataset": DatasetLimits(largest_ratio=3.0),
        "monitor": DriftMonitorConfig(window_days=9),
        "retention": Retention(dead_letters=""),
        "schedules": {"score-nightly": Timing("0 2 * * *")},
        "docs_port": 0,
        "pass_environment": "FOO_WORD",
        "placements": "/etc/placements.toml",
        "collect_mapping": "/srv/pages.toml",
    }
    changed = {
        name: special[name] if name in special else another(field) for name, field in Settings.model_fields.items()
    }
    file.touch()
    changed_settings = Settings(**changed)
    plain = Settings()
    assert [
        name for name in changed if getattr(changed_settings, name) == getattr(plain, name) and name != "home"
    ] == []
    for command in clients(changed_settings):
        with monkeypatch.context() as process:
            for name in SECRETS:
                process.delenv(name)
            for name, value in environment(command).items():
                process.setenv(name, value)
            assert Settings() == changed_settings.model_copy(update={"database_url": Settings().database_url})
            url = make_url(str(Settings().database_url and Settings().database_url.get_secret_value()))  # type: ignore[union-attr]
            assert (url.username, url.host, url.database) == ("me", "db.example", "shop")


def test_a_server_gets_its_own_settings_and_the_way_out_and_no_other_secret(tmp_path: Path) -> None:
    settings = Settings(var=tmp_path)
    database = make_url("postgresql+psycopg2://own:own-word@127.0.0.1:1/own")
    own = {
        "prefect": {"HTTPS_PROXY", "SSL_CERT_FILE", "PREFECT_SERVER_LOGGING_LEVEL", "TZ"},
        "mlflow": {"HTTPS_PROXY", "SSL_CERT_FILE", "MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "TZ"},
        "docs": {"TAILORBIRD_SECRET_DOCS_PAGE", "TZ"},
    }
    commands = {
        "prefect": servers.prefect_command(settings, database, 1),
        "mlflow": servers.mlflow_command(settings, database, 1),
        "docs": servers.docs_command(settings, 1),
    }
    assert {name: set(SECRETS) & set(command.taken_over) for name, command in commands.items()} == own
    assert commands["prefect"].secrets["PGPASSWORD"] == "own-word"
    assert set(SECRETS) & set(service_environment.of_postgres()) == {"TZ"}


def test_the_reconciler_computes_in_one_thread_unless_the_shell_states_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [environment(client)["OMP_NUM_THREADS"] for client in clients(given(tmp_path))] == ["2", "2"]
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert [environment(client).get("OMP_NUM_THREADS") for client in clients(given(tmp_path))] == [None, "1"]


def test_clients_get_what_opens_the_lake_but_neither_mail_nor_git(tmp_path: Path) -> None:
    absent = {"SMTP_PASSWORD", "GITHUB_TOKEN", "PREFECT__FLOW_RUN_ID", "PREFECT_SERVER_LOGGING_LEVEL", "FOO_WORD"}
    for command in clients(given(tmp_path)):
        assert set(SECRETS) - set(environment(command)) == absent
        assert environment(command)["PGPASSWORD"] == "db-word"


def test_logins_of_other_servers_stay_behind_when_the_servers_are_ours(tmp_path: Path) -> None:
    taken = service_environment.of_client(Settings(var=tmp_path), own_prefect=True, own_mlflow=True)
    assert {"PREFECT_API_KEY", "MLFLOW_TRACKING_TOKEN", "PGPASSWORD"} & set(taken) == set()
    assert taken["AWS_SECRET_ACCESS_KEY"] == "aws-word"


def test_further_variables_are_passed_on_by_name_or_pattern_but_not_to_postgres(tmp_path: Path) -> None:
    settings = given(tmp_path, pass_environment="FOO_*, GITHUB_TOKEN")
    own = Settings(var=tmp_path, pass_environment="FOO_*, GITHUB_TOKEN")
    database = make_url("postgresql+psycopg2://own@127.0.0.1:1/own")
    made = [*clients(settings), servers.prefect_command(own, database, 1), servers.mlflow_command(own, database, 1)]
    for command in [*made, servers.docs_command(own, 1)]:
        assert {"FOO_WORD", "GITHUB_TOKEN"} <= set(command.taken_over)
        assert "SMTP_PASSWORD" not in command.taken_over
    assert "FOO_WORD" not in service_environment.of_postgres()


def test_a_changed_setting_starts_the_clients_again_and_another_shell_or_password_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digests(**settings: Any) -> list[str]:
        return [command.digest for command in clients(given(tmp_path, **settings))]

    before = digests()
    for name, value in {"placements": "/other.toml", "memory": "1GB", "lake": "s3://a/b", "docs_port": 0}.items():
        assert set(digests(**{name: value})).isdisjoint(before), name
    assert digests(alerts="json://user:word@ops.example") == before
    assert digests(database_url="postgresql://me:other@db.example/shop") == before
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "rotated")
    monkeypatch.setenv("PATH", "/elsewhere:" + os.environ["PATH"])
    assert digests() == before
    with_login = digests(prefect_api_url="http://ann:first@prefect.example/api")
    assert digests(prefect_api_url="http://ann:second@prefect.example/api") == with_login


def test_the_worker_is_given_only_what_the_settings_file_does_not_hold(tmp_path: Path) -> None:
    (tmp_path / "tailorbird.toml").write_text('placements = "p.toml"\nreview = "auto"\nalerts = "json://me:word@ops"\n')
    read = in_file(tmp_path / "tailorbird.toml")
    settings = given(tmp_path / "var", **{**read.model_dump(exclude={*ELSEWHERE, "var"}), "review": "never"})
    for command in clients(settings):
        passed = environment(command)
        assert passed["TAILORBIRD_SETTINGS"] == str(tmp_path / "tailorbird.toml")
        assert passed["TAILORBIRD_REVIEW"] == "never"
        assert {"TAILORBIRD_PLACEMENTS", "TAILORBIRD_ALERTS", "TAILORBIRD_MEMORY"}.isdisjoint(passed)
        assert not [value for value in command.reads.values() if "word" in value]


def test_a_changed_file_starts_the_reconciler_again_and_the_worker_goes_on(tmp_path: Path) -> None:
    def digests(text: str) -> list[str]:
        (tmp_path / "tailorbird.toml").write_text(text)
        read = in_file(tmp_path / "tailorbird.toml").model_dump(exclude={*ELSEWHERE, "var"})
        return [command.digest for command in clients(given(tmp_path / "var", **read))]

    before, after = digests('review = "auto"\n'), digests('review = "never"\n')
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False]


@pytest.mark.parametrize(
    ("page", "begins"),
    [
        ("http://127.0.0.1:4200", "http://127.0.0.1:4200/v2"),
        ("https://shop.example/prefect/", "https://shop.example/prefect/v2"),
        ("https://shop.example/v2", "https://shop.example/v2"),
        ("https://app.prefect.cloud/account/a/workspace/b", "https://app.prefect.cloud/account/a/workspace/b"),
        ("https://prefect.cloud.example", "https://prefect.cloud.example/v2"),
    ],
)
def test_links_lead_to_the_pages_that_ask_for_the_password(page: str, begins: str) -> None:
    assert pages_root(page) == begins
