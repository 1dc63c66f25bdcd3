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


@pytest.mark.parametrize(
    ("row", "state"),
    [
        (shown("home", 24), FRESH),
        (shown("email", 1.6), "stale: 2 hours old, 1.5 are allowed"),
        (shown("home", 1) | {"model_version": 2}, "made by version 2, but version 3 is the champion"),
        (
            shown("home", 1) | {"moved_by": "ann", "lists": 20, "users": 1400},
            "rolled back; at least 1,380 of 1,400 users have none",
        ),
        (shown("home", 1) | {"moved_by": "ann", "lists": 1400, "users": 1400}, FRESH),
        (shown("old", 1), "no longer configured; its last lists stay"),
    ],
)
def test_lists_are_fresh_if_they_are_configured_young_of_the_champion_and_not_rolled_back(
    settings: Settings, row: dict[str, Any], state: str
) -> None:
    first, *missing = judged([{"model_version": 3} | row], settings, champion_version=3)
    assert (first["placement"], first["state"]) == (row["placement"], state)
    others = [name for name in ("home", "email", "new") if name != row["placement"]]
    assert [(one["placement"], one["state"]) for one in missing] == [(name, NEVER) for name in others]


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
