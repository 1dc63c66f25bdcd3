"""The receivers of alerts: valid and invalid entries of TAILORBIRD_ALERTS."""

import pytest
from pydantic import SecretStr

from infra.configuration.settings import Settings
from infra.prefect_api.notification_blocks import AlertsRefusedError, addresses

SLACK = "https://hooks.slack.com/services/T1AAAAAAA/B1AAAAAAA/cccccccccccccccccccccccc"


def settings_of(text: str) -> Settings:
    return Settings(alerts=SecretStr(text))


def test_without_addresses_nobody_is_notified() -> None:
    assert addresses(settings_of("")) == []
    assert addresses(settings_of(" ")) == []


def test_several_addresses_are_separated_though_one_has_several_recipients() -> None:
    mail = "mailto://user:password@smtp.example?to=ops@example.com,dev@example.com"
    entries = addresses(settings_of(f"block:slack-webhook/ops, {SLACK},{mail}, json://127.0.0.1:8080/alerts"))
    assert entries == ["block:slack-webhook/ops", SLACK, mail, "json://127.0.0.1:8080/alerts"]


@pytest.mark.parametrize(
    "wrong",
    ["https://shop.example/hunter2", "hunter2", "hunter2://x", "block:hunter2", "block:A b/hunter2", "mailto://"],
)
def test_an_address_that_takes_no_alert_is_refused_by_its_place_and_not_repeated(wrong: str) -> None:
    with pytest.raises(AlertsRefusedError, match=r"entry 2 cannot be read. Write a block") as refusal:
        addresses(settings_of(f"{SLACK},{wrong}" if "://" in wrong or "block" in wrong else f"{SLACK},block:{wrong}"))
    assert "hunter2" not in str(refusal.value)
    assert "hunter2" not in repr(settings_of(wrong))
