import re
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from expectations.batches import bounds
from models.ingest import mixpanel
from models.ingest.segment import segment_mapping as segment_mapping
from models.ingest.source_config import SourceMapping
from models.ingest.tabular import table_mapping
from models.primitives.json_types import JsonObject

PARSERS: dict[str | None, Callable[[JsonObject, str], SourceMapping]] = {
    None: table_mapping.parse,
    "segment": segment_mapping.parse,
    "mixpanel": mixpanel.parse,
}
SHIPPED = sorted((Path(__file__).parents[4] / "tasks" / "sources" / "mappings").glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_mapping_declares_consent_only_where_its_data_allow_it(path: Path) -> None:
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    mapping = PARSERS[content.get("kind")](content, path.stem)
    assert mapping.consent == ("given" if path.stem == "complete_journey" else "opt-in")
    assert mapping.accepts_unknown_items == (path.stem in ("segment", "mixpanel"))


def test_commented_settings_of_the_segment_mapping_can_be_switched_on() -> None:
    text = next(path for path in SHIPPED if path.stem == "segment").read_text(encoding="utf-8")
    shown = re.sub(r'^# (?=\[|"|\w+ = )', "", text, flags=re.MULTILINE)
    mapping = segment_mapping.parse(tomllib.loads(shown), "mine")
    assert mapping.events == {"Article Read": "consume"}
    assert (mapping.start, mapping.end) == (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 6, 30, 22, tzinfo=UTC))
    assert mapping.placeholder_ids == ["walk-in"]
    assert mapping.traffic.internal_users == ["qa-1", "qa-2"]
    assert (mapping.spelling.currency, mapping.spelling.brand) == ({"Taler": "EUR"}, {"ADIDAS AG": "Adidas"})
    assert bounds("events", mapping.limits)["quarantined_share"] == (None, 0.05)
    assert mapping.page_rule() is not None
