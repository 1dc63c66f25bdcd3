"""Which settings file is read, and what is refused in it."""

from contextlib import suppress
from pathlib import Path

import pytest

from infra.configuration import settings_file
from infra.configuration.settings import Settings, in_file, load
from infra.configuration.settings_file import SettingsRefusedError
from models.errors import TailorbirdError
from models.gate.thresholds import GateThresholds
from models.monitoring.drift.monitor_settings import DriftMonitorConfig


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
        ("prefect_port = true\n", "prefect_port has to be a whole number"),
        ("review_days = [7]\n", "review_days has to be a number"),
        ("placements = 5\n", "placements has to be text in quotes"),
        ("memory = 4\n", "memory has to be text in quotes"),
        ("gate = 3\n", "gate has to be a table"),
        ('gate.users = "many"\n', "tailorbird.toml:1: gate.users has to be a whole number"),
        ("gate.group_margin = 2\n", "tailorbird.toml:1: gate: group_margin is a share: from 0 to 1. Correct it"),
        ('review = "yes"\n', "tailorbird.toml:1: review: Input should be 'manual', 'auto' or 'never'. Correct it"),
        ("prefect_port = 0\n", "tailorbird.toml:1: prefect_port: .* greater than or equal to 1"),
        ('var = "/dev/null"\n', "tailorbird.toml:1: var: /dev/null is not a folder"),
        (
            "\nreconciler_port = 4300\n",
            "tailorbird.toml:2: reconciler_port is no setting any more: .* Remove that line.",
        ),
        ('webhook_url = "https://x.example/mlflow"\n', "webhook_url is no setting any more: .* Remove that line."),
        ('settings_file = "x"\n', "there is no key 'settings_file'"),
        ('secret_pseudonym_key = "ab"\n', "are not kept in this file. Set TAILORBIRD_SECRET_PSEUDONYM_KEY, or use"),
        ("review = auto\n", r"tailorbird.toml is not valid TOML: .*line 1, column 10.*Correct that line"),
        ("review = 1\nreview = 2\n", "is not valid TOML"),
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
