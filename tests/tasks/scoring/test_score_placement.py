"""The report of a scoring run, whatever became of its placements."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from infra.installation import Installation, current
from models.errors import TailorbirdError
from tasks.scoring.score_placement import report_batches, request_segment
from tests.serving.bundle_folders import promote

PEOPLE = {"ann": True, "bob": False, "eve": True}


def batch(placement: str) -> dict[str, Any]:
    entries = {"placement": placement, "batch_id": 1, "model_version": 1, "users": 1, "recommendations": 1}
    return entries | {"status": "published", "summary": {}}


def test_all_refusals_are_reported_at_once_with_the_placements_that_are_shown() -> None:
    made = [batch("home"), TailorbirdError("Email is odd."), batch("buy-again"), TailorbirdError("Items are few.")]
    with pytest.raises(TailorbirdError, match=r"Email is odd\. Items are few\. Placements .*: home, buy-again\."):
        report_batches(made)


def test_one_reason_of_several_placements_stands_once() -> None:
    made: list[Any] = [TailorbirdError("No model was promoted yet.") for _ in range(5)]
    with pytest.raises(TailorbirdError, match=r"^No model was promoted yet\. Placements .*: none\.$"):
        report_batches(made)


def test_a_defect_stays_one() -> None:
    with pytest.raises(ZeroDivisionError):
        report_batches([batch("home"), TailorbirdError("Email is odd."), ZeroDivisionError()])


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
    with pytest.raises(TailorbirdError, match="No placement has live = true"):
        request_segment.fn("Regulars")
    file = tmp_path / "placements.toml"
    file.write_text("[home]\nlive = true\n[email]\n")
    monkeypatch.setenv("TAILORBIRD_PLACEMENTS", str(file))
    current.cache_clear()
    with pytest.raises(TailorbirdError, match="knows no segment 'Nobody'; there are Guests, Regulars"):
        request_segment.fn("Nobody")
    assert request_segment.fn("Regulars") == {"segment": "Regulars", "users": 1, "placements": ["home"]}
    with installation.engine.connect() as connection:
        assert connection.execute(text("SELECT user_key, bulk FROM rescoring_requests")).all() == [("ann", True)]
