import json

from infra.installation import Installation
from infra.keys.credentials import FOLDER
from models.primitives.json_types import JsonObject
from tests.fuzz.commands import run


def keys(*arguments: str) -> list[JsonObject]:
    ended = run("keys", *arguments, "--json")
    assert ended.code == 0, ended.err
    return [row for row in json.loads(ended.out) if row["kind"] == "signing-key"]


def test_a_signing_key_is_shown_rotated_and_retired_by_commands(installation: Installation) -> None:
    assert installation.engine
    secret = (installation.settings.var / FOLDER / "signing-key").read_text().strip()
    (first,) = keys("show")
    assert [row["state"] for row in keys("rotate", "signing", "--reason", "she left", "--actor", "ann")] == [
        "trusted",
        "in use",
    ]
    in_use = run("keys", "retire", keys("show")[-1]["fingerprint"], "--reason", "done")
    assert (in_use.code, "run `tailorbird keys rotate signing` first" in in_use.err) == (1, True)
    assert keys("retire", first["fingerprint"], "--reason", "done")[0]["state"] == "retired"
    table = run("keys", "show").out
    assert "she left" in table
    assert secret not in table
