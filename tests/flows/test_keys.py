"""The commands of keys, on a real database."""

import json

import pytest
from sqlalchemy import select

from infra.database.schema.serving_schema import api_keys
from infra.installation import Installation
from infra.keys.api_keys import ApiKey, all_scopes, hash_of, id_of, matches
from infra.keys.credentials import FOLDER
from models.primitives.json_types import JsonObject
from tests.fuzz.commands import run

pytestmark = pytest.mark.usefixtures("installation")


def keys(*arguments: str) -> list[JsonObject]:
    ended = run("keys", *arguments, "--json")
    assert ended.code == 0, ended.err
    rows: list[JsonObject] = json.loads(ended.out)
    return rows


def signing_keys(*arguments: str) -> list[JsonObject]:
    return [row for row in keys(*arguments) if row["kind"] == "signing-key"]


def test_a_signing_key_is_shown_rotated_and_retired_by_commands(installation: Installation) -> None:
    assert installation.engine
    secret = (installation.settings.var / FOLDER / "signing-key").read_text().strip()
    (first,) = signing_keys("show")
    assert [row["state"] for row in signing_keys("rotate", "signing", "--reason", "she left", "--actor", "ann")] == [
        "trusted",
        "in use",
    ]
    in_use = run("keys", "retire", signing_keys("show")[-1]["fingerprint"], "--reason", "done")
    assert (in_use.code, "run `tailorbird keys rotate signing` first" in in_use.err) == (1, True)
    assert signing_keys("retire", first["fingerprint"], "--reason", "done")[0]["state"] == "retired"
    table = run("keys", "show").out
    assert "she left" in table
    assert secret not in table


def test_a_key_is_shown_once_and_stored_as_a_hash(installation: Installation) -> None:
    (made,) = keys("create", "shop", "--scope", "read", "--scope", "write", "--days", "30", "--rate", "50")
    with installation.engine.connect() as connection:
        row = connection.execute(select(api_keys)).mappings().one()
    assert row["secret_hash"] == hash_of(str(made["key"]))
    assert (row["scopes"], row["requests_per_second"]) == (["read", "write"], 50)
    known = ApiKey(row["key_id"], "shop", all_scopes(row["scopes"]), row["secret_hash"])
    assert matches(known, str(made["key"]))
    assert not matches(known, str(made["key"])[:-1] + "x")
    assert id_of(str(made["key"])) == row["key_id"]
    assert row["expires_at"] is not None
    listed = run("keys", "list").out
    assert "shop" in listed
    assert str(made["key"]) not in listed


def test_a_rotated_key_and_its_successor_are_valid_side_by_side() -> None:
    (old,) = keys("create", "shop")
    (new,) = keys("rotate", "api", str(old["key_id"]), "--overlap", "2")
    states = {row["key_id"]: (row["name"], row["state"]) for row in keys("list")}
    assert states == {old["key_id"]: ("shop", "valid"), new["key_id"]: ("shop", "valid")}
    assert new["key"] != old["key"]
    (ended,) = keys("rotate", "api", str(new["key_id"]), "--overlap", "0")
    assert {row["key_id"]: row["state"] for row in keys("list")}[new["key_id"]] == "expired"
    assert ended["key_id"] not in (old["key_id"], new["key_id"])


def test_a_revoked_key_is_listed_and_cannot_be_revoked_or_rotated_again() -> None:
    (made,) = keys("create", "shop")
    (row,) = keys("revoke", str(made["key_id"]), "--actor", "ann")
    assert (row["state"], row["revoked_by"]) == ("revoked", "ann")
    for again in (("revoke",), ("rotate", "api")):
        ended = run("keys", *again, str(made["key_id"]))
        assert (ended.code, "no valid API key" in ended.err) == (1, True)


@pytest.mark.parametrize("arguments", [("shop", "--scope", "root"), (" ",), ("shop", "--rate", "0"), ("a\nb",)])
def test_impossible_keys_are_refused(arguments: tuple[str, ...]) -> None:
    ended = run("keys", "create", *arguments)
    assert ended.code == 2
    assert keys("list") == []


def test_pages_and_servers_have_sources_of_their_own() -> None:
    (page,) = keys("create", "web", "--scope", "collect")
    assert (page["kind"], [row["kind"] for row in keys("list")]) == ("page", ["page"])
    refused = run("keys", "create", "web", "--scope", "collect", "--kind", "server")
    assert (refused.code, "such as web-server" in refused.err) == (1, True)
    (server,) = keys("create", "web-server", "--scope", "collect", "--kind", "server")
    (again,) = keys("rotate", "api", str(server["key_id"]))
    assert (server["kind"], again["kind"]) == ("server", "server")
    keys("revoke", str(page["key_id"]))
    assert keys("create", "web", "--scope", "collect", "--kind", "server")[0]["kind"] == "server"
    for kind, scope in (("page", "read"), ("till", "collect")):
        assert run("keys", "create", "x", "--scope", scope, "--kind", kind).code == 2


def test_a_key_that_only_sends_events_has_no_other_scope_and_the_name_of_a_source(installation: Installation) -> None:
    (made,) = keys("create", "web-shop", "--scope", "collect")
    with installation.engine.connect() as connection:
        assert connection.execute(select(api_keys.c.scopes)).scalar_one() == ["collect"]
    assert made["name"] == "web-shop"
    assert all_scopes(["admin"]) == {"read", "write", "privacy", "admin"}
    for name, more in (("web-shop", ["--scope", "read"]), ("api", []), ("my shop", []), ("../x", [])):
        ended = run("keys", "create", name, "--scope", "collect", *more)
        assert ended.code == 2
        assert "create two keys" in ended.err or "the source of the events" in ended.err
