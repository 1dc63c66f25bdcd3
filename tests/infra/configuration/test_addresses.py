"""Whatever a password is made of, no message, page or setting of another program repeats a part of it."""

import contextlib
import io
import os
from contextlib import nullcontext
from functools import cache
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infra.configuration import addresses
from infra.configuration.addresses import AddressRefusedError
from infra.configuration.settings import Settings, load
from infra.configuration.settings_file import SettingsRefusedError
from infra.outages import explain
from infra.prefect_api import notification_blocks
from infra.services import endpoints, http_client
from infra.supervisor.probes import reachable
from models.errors import TailorbirdError
from tests.examples import FEW
from tests.recording_server import LoopbackServer

DATABASE = "TAILORBIRD_DATABASE_URL"
FORMS = {
    DATABASE: ["postgresql://u:{}@127.0.0.1:9/db?sslmode=prefer"],
    "PREFECT_API_URL": ["http://u:{}@127.0.0.1:9/api"],
    "MLFLOW_TRACKING_URI": ["http://u:{}@127.0.0.1:9"],
    "TAILORBIRD_PREFECT_PAGE": ["https://u:{}@pages.example/prefect"],
    "TAILORBIRD_DOCS_URL": ["https://u:{}@pages.example/docs"],
    "TAILORBIRD_METRICS_URL": ["http://u:{}@127.0.0.1:9/metrics"],
    "TAILORBIRD_LAKE": ["s3://u:{}@bucket/lake"],
    "TAILORBIRD_ALERTS": ["mailto://u:{}@smtp.example?to=ops@shop.example", "nothing://u:{}@host"],
    "AWS_ENDPOINT_URL": ["http://u:{}@127.0.0.1:9"],
}
CASES = [(variable, form) for variable, forms in FORMS.items() for form in forms]
# Letters and digits that no message needs, and every character that means something in an address.
PASSWORDS = st.text(st.sampled_from("ZQXJKV7384@/#%?:&=+;,!$~ []\\\"'<>^|{}é\t"), min_size=3, max_size=24)


def parts(text: str) -> set[str]:
    return {text[at : at + 3] for at in range(len(text) - 2)}


@cache
def everything_shown(variable: str, value: str) -> str:
    """All that a person or another program's log can see of an installation with this variable."""
    shown = io.StringIO()
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("TAILORBIRD", "AWS_"))}
    closed = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    usual = {"TAILORBIRD_VAR": "/nonexistent", DATABASE: "postgresql://u@127.0.0.1:9/db", **closed}
    with (
        mock.patch.dict(os.environ, environment | usual | {variable: value}, clear=True),
        contextlib.redirect_stderr(shown),
        contextlib.redirect_stdout(shown),
    ):
        for step in (_settings, _services, _alerts, _metrics):
            try:
                print(step())
            except TailorbirdError as refusal:
                print(refusal)
            except OSError as outage:
                print(explain(outage) or outage)
    return shown.getvalue()


def _settings() -> object:
    return load().database_url


def _services() -> object:
    resolved = endpoints.endpoints(load())
    hidden = {"PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_PASSWORD", DATABASE, *_OPAQUE}
    environment = {name: value for name, value in resolved.environment.items() if name not in hidden}
    return resolved, environment, resolved.docs_page, resolved.mlflow_tracking_uri, reachable(load())


_OPAQUE = {f"TAILORBIRD_{name}" for name in ("METRICS_URL", "PREFECT_PAGE", "DOCS_URL", "ALERTS")}
"""Given to processes of ours as they are, never shown."""


def _alerts() -> object:
    return notification_blocks.addresses(load()) and "sent"


def _metrics() -> object:
    return [http_client.fetch_text(address) for address in load().metrics_url.split(",") if address]


@pytest.mark.parametrize(("variable", "form"), CASES)
@FEW
@given(password=PASSWORDS)
@example(password="ZZQ@XXJ/KKV#778?334%QQX")
@example(password="ZQX/7384@JKV")
@example(password="7384/ZQX")
def test_no_part_of_a_password_is_shown(variable: str, form: str, password: str) -> None:
    usual = parts(everything_shown(variable, form.format("uuu")) + everything_shown(variable, form.format("u@u")))
    for written in (password, quote(password, safe="")):
        seen = everything_shown(variable, form.format(written).replace("\0", ""))
        assert not (parts(password) & parts(seen)) - usual


@pytest.mark.parametrize("character", "@/#?%")
@pytest.mark.parametrize("variable", [name for name in FORMS if name not in ("TAILORBIRD_ALERTS", "AWS_ENDPOINT_URL")])
def test_a_character_that_is_not_encoded_is_refused_with_the_name_and_the_remedy(
    variable: str, character: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, FORMS[variable][0].format(f"ZZ{character}QQ"))
    with pytest.raises(SettingsRefusedError, match=rf"{variable}: .*percent-encoded.* @ as %40") as refusal:
        load()
    assert "ZZ" not in str(refusal.value)
    assert "QQ" not in str(refusal.value)


@given(password=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_an_encoded_password_comes_out_as_it_was(password: str) -> None:
    url = addresses.database(f"postgresql://me:{quote(password, safe='')}@db:5433/shop?sslmode=require")
    assert (url.drivername, url.username, url.password) == ("postgresql+psycopg2", "me", password)
    assert (url.host, url.port, url.database, url.query["sslmode"]) == ("db", 5433, "shop", "require")
    web = addresses.web(f"https://me:{quote(password, safe='')}@host/path", "X")
    assert (web.address, web.login) == ("https://host/path", f"me:{password}")


def test_a_password_in_the_query_is_kept_where_passwords_are() -> None:
    url = addresses.database("postgresql://db/shop?user=me&password=hidden&sslmode=require")
    assert (url.username, url.password, dict(url.query)) == ("me", "hidden", {"sslmode": "require"})


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2", "postgresql+asyncpg"])
def test_every_spelling_of_postgres_becomes_psycopg2(scheme: str) -> None:
    assert addresses.database(f"{scheme}://[::1]:5432/shop").drivername == "postgresql+psycopg2"


@pytest.mark.parametrize(
    "value", ["mysql://u:hidden@db/shop", "hidden", "", "postgresql://u:hidden@db:port/shop", "postgresql://h/hidden#x"]
)
def test_an_address_of_something_else_is_refused_with_the_right_form(value: str) -> None:
    with pytest.raises(AddressRefusedError, match=f"{DATABASE} cannot be read.*postgresql://user:password@host") as no:
        addresses.database(value)
    assert "hidden" not in str(no.value)


@pytest.mark.parametrize(
    "value", ["amqp://u:p@h:5672/shop", "kafka://h", "kafka://h:9092/shop.events", "kafkas://u:p@h:9092,i:9092/shop"]
)
def test_an_address_of_a_broker_names_one_host_or_those_of_a_kafka(value: str) -> None:
    assert addresses.broker(value) == value


@pytest.mark.parametrize(
    "value",
    [
        "amqp://",
        "amqp://h:i/",
        "kafka://[::1/t",
        "kafka://u:hidden@/t",
        "kafka://h/hidden/t",
        "kafka://h/t?hidden",
    ],
)
def test_another_address_of_a_broker_is_refused_with_the_right_form(value: str) -> None:
    with pytest.raises(AddressRefusedError, match=r"Write it as amqp://.* or kafka://host:9092/topic") as no:
        addresses.broker(value)
    assert "hidden" not in str(no.value)


@pytest.mark.parametrize(
    ("setting", "form"),
    [
        ("stream_url", "amqp://h:{}/"),
        ("stream_url", "kafka://h:{}/t"),
        ("redis_url", "redis://h:{}/0"),
        ("prefect_page", "http://h:{}/"),
        ("database_url", "postgresql://h:{}/shop"),
    ],
)
@given(port=st.integers(0, 99_999))
@example(port=65_535)
@example(port=65_536)
def test_a_port_is_at_most_65535(setting: str, form: str, port: int) -> None:
    with nullcontext() if port <= 65_535 else pytest.raises(AddressRefusedError, match="Write it as"):
        addresses.READERS[setting](form.format(port), "It")


def test_redacting_keeps_all_but_the_login() -> None:
    text = "API request to http://me:hid/den@host:5000/api failed; see s3://bucket/me@x and abfss://box@account/y"
    assert addresses.redact(text) == text.replace("me:hid/den", "***")
    assert addresses.shown("https://me:hidden@host:1/a?token=hidden#hidden") == "https://host:1/a"


def test_a_login_in_an_address_is_sent_as_a_header() -> None:
    class Guarded(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.headers["Authorization"].encode())

    with LoopbackServer(Guarded) as server:
        answer = http_client.fetch_text(server.url.replace("//", "//me:p%40ss@"))
    assert answer == http_client.basic_auth("me:p@ss")


def test_prefect_and_mlflow_get_the_login_apart_from_the_address(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "prefect_api_url": "http://me:p%40ss@prefect/api",
        "mlflow_tracking_uri": "http://you:%3F@mlflow",
    }
    resolved = endpoints.endpoints(Settings(var=tmp_path, database_url="postgresql://db/shop", **given))
    assert (resolved.prefect_api_url, resolved.mlflow_tracking_uri) == ("http://prefect/api", "http://mlflow")
    assert resolved.environment["PREFECT_API_AUTH_STRING"] == "me:p@ss"
    assert resolved.environment["MLFLOW_TRACKING_USERNAME"] == "you"
    assert resolved.environment["MLFLOW_TRACKING_PASSWORD"] == "?"


def test_an_endpoint_that_cannot_be_read_is_refused_with_the_form_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "minio:9000")
    with pytest.raises(addresses.AddressRefusedError, match=r"^AWS_ENDPOINT_URL .*http://host:port\.$"):
        load()
