from contextlib import suppress
from pathlib import Path

import pytest

from infra.configuration import settings_file
from infra.configuration.placements import configured, one
from infra.configuration.settings import Settings, in_file, load
from infra.configuration.settings_file import SettingsRefusedError
from infra.configuration.value_checks import Timing
from models.errors import TailorbirdError
from models.gate.thresholds import GateThresholds
from models.lists.rules.placement_config import PlacementError
from models.monitoring.drift.monitor_settings import DriftMonitorConfig


def test_without_an_environment_everything_lives_in_var_below_the_current_folder(tmp_path: Path) -> None:
    settings = load()
    assert settings.var == tmp_path / "var"
    assert settings.lake == str(tmp_path / "var" / "lake")
    assert settings.bundles == str(tmp_path / "var" / "bundles")
    assert settings.database_url is settings.prefect_api_url is settings.mlflow_tracking_uri is None


def test_limits_of_the_gate_are_set_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILORBIRD_GATE", '{"group_margin": 0.1, "group_users": 200}')
    assert load().gate == GateThresholds(group_margin=0.1, group_users=200)


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
        ("TAILORBIRD_VAR", "~nobody-here/var", "there is no such user's home"),
        ("TAILORBIRD_VAR", "caf\udce9", "write it as UTF-8 text"),
        ("TAILORBIRD_LAKE", "/dev/null", "/dev/null is not a folder"),
        ("TAILORBIRD_LAKE", "file:///srv/lake", "write a folder, or an address by s3://"),
        ("TAILORBIRD_LAKE", "s3://", "such as s3://bucket/lake"),
        ("TAILORBIRD_BUNDLES", "az://bucket/x", "an address by s3://, gs://"),
        *(("TAILORBIRD_MEMORY", value, "write an amount from 100MB") for value in ("0GB", "1KB", "9999999GB", "4 G")),
        ("TAILORBIRD_GATE", '{"group_mrgin": 0.1}', "there is no limit group_mrgin; there are users, group_users"),
        ("TAILORBIRD_GATE", '{"group_margin": 2}', "group_margin is a share: from 0 to 1"),
        ("TAILORBIRD_GATE", '{"group_margin": "much"}', "should be a valid number"),
        ("TAILORBIRD_GATE", '{"users":' * 5000, "write it as JSON"),
        *(
            ("TAILORBIRD_RETENTION", f'{{"dead_letters": "{period}"}}', "dead_letters is a period such as `90 days`")
            for period in ("90", "0 days", "1 week", "-3 days", "90 days; DROP TABLE users", "12345 days")
        ),
        ("TAILORBIRD_RETENTION", "90 days", 'write it as JSON, such as {"served_answers": "90 days"}'),
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


def test_a_schedule_is_a_cron_line_or_a_table_with_its_zone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        'schedules.score-nightly = "0 2 * * *"\nschedules.audit-monthly = { cron = "0 6 2 * *", zone = "Asia/Tokyo" }\n'
    )
    (folder / settings_file.NAME).write_text(text)
    assert load().schedules == {
        "score-nightly": Timing("0 2 * * *"),
        "audit-monthly": Timing("0 6 2 * *", "Asia/Tokyo"),
    }
    monkeypatch.setenv("TAILORBIRD_SCHEDULES", '{"score-nightly": "0 3 * * *"}')
    assert load().schedules == {"score-nightly": Timing("0 3 * * *")}


@pytest.mark.parametrize(
    ("value", "refusal"),
    [
        ('"0 3 * *"', "'0 3 .*' is no cron line. It has minute, hour, day, month and weekday"),
        ('"61 3 * * *"', "is no cron line"),
        ('"0 0 30 2 *"', "is no cron line|names a day that no calendar has"),
        ('{ cron = "0 3 * * *", zone = "Europe/Berlyn" }', "there is no time zone 'Europe/Berlyn'; write one as"),
        ('{ crn = "0 3 * * *" }', "score-nightly has to be written as"),
        ("3", "score-nightly has to be written as"),
    ],
)
def test_a_time_that_cannot_be_is_refused_with_its_line(folder: Path, value: str, refusal: str) -> None:
    (folder / settings_file.NAME).write_text(f"schedules.score-nightly = {value}\n")
    with pytest.raises(SettingsRefusedError, match=refusal) as refused:
        load()
    assert str(refused.value).startswith("tailorbird.toml:1: schedules: ")


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / settings_file.NAME
    path.write_text(text)
    return path


def test_the_file_in_the_working_directory_is_read_and_paths_begin_at_it(folder: Path) -> None:
    path = write(folder, 'review = "auto"\nplacements = "rules/p.toml"\nlake = "s3://b/lake"\nbundles = "/srv/b"\n')
    settings = load()
    assert (settings.review, settings.settings_file) == ("auto", path)
    assert settings.placements == str(folder / "rules" / "p.toml")
    assert (settings.lake, settings.bundles, settings.var) == ("s3://b/lake", "/srv/b", folder / "var")


def test_a_variable_counts_more_than_the_file_and_an_empty_one_does_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, 'review = "auto"\nprefect_api_url = "http://file/api"\nreview_days = 3\n')
    monkeypatch.setenv("TAILORBIRD_REVIEW", "never")
    monkeypatch.setenv("PREFECT_API_URL", "http://shell/api")
    monkeypatch.setenv("TAILORBIRD_REVIEW_DAYS", "")
    settings = load()
    assert (settings.review, settings.prefect_api_url, settings.review_days) == ("never", "http://shell/api", 3)


def test_limits_are_tables(folder: Path) -> None:
    write(folder, "gate.users = 40\n[monitor]\nwindow_days = 7\n")
    assert (load().gate, load().monitor) == (GateThresholds(users=40), DriftMonitorConfig(window_days=7))


def test_an_empty_text_counts_as_unset(folder: Path) -> None:
    write(folder, 'placements = ""\nlake = ""\n')
    assert (load().placements, load().lake) == ("", str(folder / "var" / "lake"))


def test_the_named_file_comes_first_and_var_is_beside_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, 'review = "auto"\n')
    other = write(folder / "other", 'review = "never"\n')
    monkeypatch.setenv("TAILORBIRD_SETTINGS", "other/tailorbird.toml")
    assert (load().review, load().var, load().settings_file) == ("never", folder / "other" / "var", other)


def test_no_file_is_read_when_none_is_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, 'review = "auto"\n')
    monkeypatch.setenv("TAILORBIRD_SETTINGS", "none")
    assert (load().review, load().settings_file) == ("manual", None)


def test_a_named_file_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILORBIRD_SETTINGS", "gone.toml")
    with pytest.raises(SettingsRefusedError, match=r"TAILORBIRD_SETTINGS: there is no file /.*/gone.toml. Correct it"):
        load()


def test_var_remembers_its_settings_file_for_commands_in_other_folders(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, var = write(folder / "shop", 'review = "auto"\n'), folder / "shop" / "var"
    var.mkdir()
    settings_file.record(var, path)
    monkeypatch.setenv("TAILORBIRD_VAR", str(var))
    assert (load().review, load().settings_file) == ("auto", path)
    write(folder, 'review = "never"\n')
    assert load().review == "auto"


def test_a_recorded_file_that_is_gone_is_named_and_not_replaced_by_defaults(folder: Path) -> None:
    (folder / "var").mkdir()
    settings_file.record(folder / "var", folder / "shop" / settings_file.NAME)
    with pytest.raises(SettingsRefusedError, match=r"shop/tailorbird.toml, which is gone. Restore that file, name"):
        load()
    write(folder, 'review = "auto"\n')
    assert load().review == "auto"


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ('\nplacement = "p.toml"\n', "tailorbird.toml:2: there is no key 'placement'; the nearest is 'placements'."),
        ('TAILORBIRD_REVIEW = "auto"\n', "there is no key 'TAILORBIRD_REVIEW'; the nearest is 'review'"),
        ("gate.group_mrgin = 0.1\n", "tailorbird.toml:1: there is no limit in gate 'group_mrgin'; .* 'group_margin'"),
        ("[gate]\nusers = 3\nlong_tail = 1\n", "tailorbird.toml:3: there is no limit in gate 'long_tail'; .*_share'"),
        ('\n\nprefect_port = "4200"\n', "tailorbird.toml:3: prefect_port has to be a whole number"),
        ("review_days = [7]\n", "review_days has to be a number"),
        ("placements = 5\n", "placements has to be text in quotes"),
        ("gate = 3\n", "gate has to be a table"),
        ('gate.users = "many"\n', "tailorbird.toml:1: gate.users has to be a whole number"),
        ("gate.group_margin = 2\n", "tailorbird.toml:1: gate: group_margin is a share: from 0 to 1. Correct it"),
        ('review = "yes"\n', "tailorbird.toml:1: review: Input should be 'manual', 'auto' or 'never'. Correct it"),
        ("prefect_port = 0\n", "tailorbird.toml:1: prefect_port: .* greater than or equal to 1"),
        ('var = "/dev/null"\n', "tailorbird.toml:1: var: /dev/null is not a folder"),
        ('webhook_url = "https://x.example/mlflow"\n', "webhook_url is no setting any more: .* Remove that line."),
        ('settings_file = "x"\n', "there is no key 'settings_file'"),
        ('secret_pseudonym_key = "ab"\n', "are not kept in this file. Set TAILORBIRD_SECRET_PSEUDONYM_KEY, or use"),
        ("review = auto\n", r"tailorbird.toml is not valid TOML: .*line 1, column 10.*Correct that line"),
        ("x = " + "[" * 5000 + "\n", "nested too deeply|not valid TOML"),
    ],
)
def test_a_mistake_is_refused_in_one_sentence_with_its_line_and_the_nearest_key(
    folder: Path, text: str, refusal: str
) -> None:
    write(folder, text)
    with pytest.raises(SettingsRefusedError, match=refusal):
        load()


def test_a_mistake_that_a_variable_hides_is_refused_where_the_file_alone_counts(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(folder, 'review = "yes"\n')
    monkeypatch.setenv("TAILORBIRD_REVIEW", "auto")
    assert load().review == "auto"
    with pytest.raises(SettingsRefusedError, match=r"tailorbird\.toml:1: review: Input should be"):
        in_file(path)


def test_a_file_with_passwords_that_others_can_read_is_named(folder: Path) -> None:
    path = write(folder, 'alerts = "json://me:word@ops"\nreview = "auto"\n')
    path.chmod(0o640)
    [warning] = settings_file.readable_by_others(path, {"alerts", "database_url"})
    assert warning == f"Others can read alerts in {path}. Close it with: chmod 600 {path}"
    path.chmod(0o600)
    assert (
        settings_file.readable_by_others(path, {"alerts"}) == settings_file.readable_by_others(None, {"alerts"}) == []
    )


def test_bytes_that_are_no_text_are_refused(folder: Path) -> None:
    (folder / settings_file.NAME).write_bytes(b'review = "\xff"\n')
    with pytest.raises(SettingsRefusedError, match="is not UTF-8 text"):
        load()


@pytest.mark.parametrize("key", [name for name in Settings.model_fields if name not in settings_file.UNWRITABLE])
def test_any_value_of_a_key_is_used_or_refused(folder: Path, key: str) -> None:
    odd = ('""', '" "', '"x"', '"/dev/null/x"', '"~nobody/x"', '"\\u0000"', '"s3://"', '"http://["', '"{"', "0", "-1")
    more = ("1e308", "nan", "inf", "true", "[]", "[[]]", "{}", "{ a = 1 }", "{ users = {} }", "2020-01-01", "9" * 5000)
    for value in (*odd, *more):
        write(folder, f"{key} = {value}\n")
        with suppress(TailorbirdError):
            in_file(load().settings_file)


def of(folder: Path, content: str | bytes) -> Settings:
    path = folder / "own.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Settings(placements=str(path))


def test_a_file_in_ones_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of(tmp_path, "[basket]\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert list(configured(Settings(placements="~/own.toml"))) == ["basket"]


def test_a_file_that_is_not_there_or_cannot_be_read_is_reported_with_what_to_correct(tmp_path: Path) -> None:
    with pytest.raises(PlacementError, match=r"There is no file .*gone\.toml. Correct TAILORBIRD_PLACEMENTS"):
        configured(Settings(placements=str(tmp_path / "gone.toml")))
    with pytest.raises(PlacementError, match=r"own\.toml are not valid TOML: .*line 2"):
        configured(of(tmp_path, "[home]\nk = \n"))
    with pytest.raises(PlacementError, match=r"own\.toml are not valid TOML"):
        configured(of(tmp_path, b"[home]\nrules.cap = { brand = \xff }"))


def test_a_fault_is_named_by_its_place(tmp_path: Path) -> None:
    settings = of(tmp_path, "[home]\nk = 0\n[home.rules]\nboost = [{ brand = ['A'], by = -1 }]\nhide = { buy = 3 }\n")
    with pytest.raises(PlacementError) as error:
        configured(settings)
    for fault in ("home.k: ", "home.rules.boost.0.by: ", "home.rules.hide.buy: "):
        assert fault in str(error.value)


def test_a_misspelt_key_is_named_with_its_line_and_the_nearest_one(tmp_path: Path) -> None:
    settings = of(tmp_path, "[home]\nk = 9\n[home.rules]\ncapp = { brand = 2 }\n")
    with pytest.raises(PlacementError, match=r"own\.toml:4: home\.rules\.capp: .*the nearest is 'cap'") as refused:
        configured(settings)
    assert refused.value.__cause__ is None


def test_one_is_found_by_its_name_and_its_length_can_be_another(tmp_path: Path) -> None:
    settings = of(tmp_path, '[home]\nk = 9\nrules.pin = [{ item = "a", place = 5 }]\n[email]\n')
    assert one(settings, "home").k == 9
    assert one(settings, "home", 5).model_dump() == one(settings, "home").model_dump() | {"k": 5}
    with pytest.raises(PlacementError, match="There is no placement 'hom'; there are home, email"):
        one(settings, "hom")
    with pytest.raises(PlacementError, match=r"home\.rules\.pin\.0\.place"):
        one(settings, "home", 4)
    with pytest.raises(PlacementError, match=r"home\.k"):
        one(settings, "home", 0)
