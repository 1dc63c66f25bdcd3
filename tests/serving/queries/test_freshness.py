from pathlib import Path
from typing import Any

import pytest

from flows.commands.services import status
from infra.configuration.settings import Settings
from infra.installation import Installation
from models.lists.rules.placement_config import PlacementError
from serving.queries.freshness import FRESH, NEVER, judged
from tests.published import published


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "placements.toml").write_text("[home]\nfresh_hours = 24\n[email]\nfresh_hours = 1.5\n[new]\n")
    return Settings(placements=str(tmp_path / "placements.toml"))


def shown(placement: str, hours: float) -> dict[str, Any]:
    return {"placement": placement, "batch_id": 1, "hours": hours}


def test_lists_are_fresh_for_as_long_as_their_placement_allows(settings: Settings) -> None:
    placements = judged([shown("home", 24), shown("email", 1.6)], settings)
    assert [row["state"] for row in placements] == [
        FRESH,
        "stale: 2 hours old, 1.5 are allowed",
        NEVER,
    ]
    assert [row["placement"] for row in placements] == ["home", "email", "new"]


def test_lists_of_another_version_than_the_champion_are_not_fresh(settings: Settings) -> None:
    rows = [shown("home", 1) | {"model_version": 2}, shown("email", 1) | {"model_version": 3}]
    placements = judged(rows, settings, champion_version=3)
    assert [row["state"] for row in placements[:2]] == [
        "made by version 2, but version 3 is the champion",
        FRESH,
    ]


def test_lists_that_were_rolled_back_to_show_how_many_users_have_none(settings: Settings) -> None:
    back = shown("home", 1) | {"moved_by": "ann", "lists": 20, "users": 1400}
    whole = shown("email", 1) | {"moved_by": "ann", "lists": 1400, "users": 1400}
    assert [row["state"] for row in judged([back, whole], settings)[:2]] == [
        "rolled back; at least 1,380 of 1,400 users have none",
        FRESH,
    ]


def test_lists_of_a_placement_that_was_taken_out_of_the_file_have_a_state_of_their_own(settings: Settings) -> None:
    (old, *missing) = judged([shown("old", 1)], settings)
    assert old["state"] == "no longer configured; its last lists stay"
    assert [(row["placement"], row["state"]) for row in missing] == [(n, NEVER) for n in ("home", "email", "new")]


def test_a_file_that_cannot_be_used_is_reported(settings: Settings) -> None:
    Path(settings.placements).write_text("[home]\nfresh_hours = 0\n")
    with pytest.raises(PlacementError, match=r"home\.fresh_hours"):
        judged([], settings)


def test_the_rest_of_the_status_is_shown_all_the_same(
    settings: Settings, installation: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(settings.placements).write_text("[home]\nfresh_hours = 0\n")
    monkeypatch.setenv("TAILORBIRD_PLACEMENTS", settings.placements)
    monkeypatch.setattr("infra.supervisor.probes.reachable", lambda _: {"postgres": True})
    published(installation.engine, {"ann": [("i1", 1.0, "a")]})
    with pytest.raises(PlacementError, match=r"home\.fresh_hours"):
        status()
    assert "home: not known whether fresh, batch" in capsys.readouterr().out
