import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from expectations.limits import bounds
from models.shapes import mapping, segment_mapping

SHIPPED = sorted((Path(__file__).parents[3] / "tasks" / "sources" / "mappings").glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_mapping_declares_consent_only_where_its_data_allow_it(path: Path) -> None:
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    parse = segment_mapping.parse if content.get("kind") == "segment" else mapping.parse
    said = parse(content, path.stem)
    assert said.consent == ("given" if path.stem == "complete_journey" else "opt-in")
    assert said.accepts_unknown_items == (path.stem == "segment")


def test_what_the_segment_mapping_shows_as_comments_can_be_switched_on() -> None:
    text = next(path for path in SHIPPED if path.stem == "segment").read_text(encoding="utf-8")
    shown = re.sub(r'^# (?=\[|"|\w+ = )', "", text, flags=re.MULTILINE)
    said = segment_mapping.parse(tomllib.loads(shown), "mine")
    assert said.events == {"Article Read": "consume"}
    assert (said.start, said.end) == (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 30, 22, tzinfo=UTC))
    assert said.placeholder_ids == ["walk-in"]
    assert said.traffic.internal_users == ["qa-1", "qa-2"]
    assert (said.spelling.currency, said.spelling.brand) == ({"Taler": "EUR"}, {"ADIDAS AG": "Adidas"})
    assert bounds("events", said.limits)["quarantined_share"] == (None, 0.05)
    assert said.page_rule() is not None
