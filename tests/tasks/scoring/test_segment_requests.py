"""The users of a segment who consent wait for new live lists."""

from pathlib import Path

import pytest
from sqlalchemy import text

from infra.installation import Installation, current
from tasks.scoring.score_placement import SegmentRefusedError, request_segment
from tests.serving.bundle_folders import promote

PEOPLE = {"ann": True, "bob": False, "eve": True}


def test_users_of_a_segment_who_consent_are_asked_for_if_a_placement_is_live(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(installation.engine, tmp_path, "digest", version=1)
    with installation.engine.begin() as connection:
        for user, agrees in PEOPLE.items():
            values = {"user": user, "agrees": agrees, "rfm": "Regulars" if user != "eve" else "Guests"}
            for statement in (
                "INSERT INTO users (user_key, attributes, consent, consent_source, batch_id) "
                "VALUES (:user, '{}', :agrees, 'form', 'b')",
                "INSERT INTO segments VALUES ('v1', :user, :rfm, 'age 1')",
                "INSERT INTO segment_descriptions VALUES ('v1', 'rfm', :rfm, 1, '', '') ON CONFLICT DO NOTHING",
            ):
                connection.execute(text(statement), values)
    with pytest.raises(SegmentRefusedError, match="No placement has live = true"):
        request_segment.fn("Regulars")
    file = tmp_path / "placements.toml"
    file.write_text("[home]\nlive = true\n[email]\n")
    monkeypatch.setenv("TAILORBIRD_PLACEMENTS", str(file))
    current.cache_clear()
    with pytest.raises(SegmentRefusedError, match="knows no segment 'Nobody'; there are Guests, Regulars"):
        request_segment.fn("Nobody")
    assert request_segment.fn("Regulars") == {"segment": "Regulars", "users": 1, "placements": ["home"]}
    with installation.engine.connect() as connection:
        assert connection.execute(text("SELECT user_key, bulk FROM rescoring_requests")).all() == [("ann", True)]
