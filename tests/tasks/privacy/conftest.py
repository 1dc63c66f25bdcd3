"""A shop with a champion and lists, to rotate the pseudonym key of."""

from pathlib import Path
from typing import Any

import pytest

from infra.installation import Installation
from tasks.ingest.events.ingest_events import ingest_events
from tasks.scoring.score_placement import score_placement


@pytest.fixture
def published(stage: Any) -> Any:
    """Its lists are the champion's."""
    stage.promote()
    score_placement.fn(k=5)
    return stage


@pytest.fixture
def small(installation: Installation, tmp_path: Path) -> Installation:
    """Forty events of four people."""
    rows = [f"u{n % 4},i{n},View,{1_600_000_000 + n * 90_000}" for n in range(40)]
    (tmp_path / "interactions.csv").write_text("\n".join(["USER_ID,ITEM_ID,EVENT_TYPE,TIMESTAMP", *rows]))
    chosen = {"consent": "given", "consent_note": "a test", "unknown_items": "accept"}
    ingest_events.fn("personalize", str(tmp_path / "interactions.csv"), chosen)
    return installation
