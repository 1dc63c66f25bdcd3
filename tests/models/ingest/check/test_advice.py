"""Every rule has a way out."""

import re
from pathlib import Path

import pytest

from expectations.batches import USER_RULES, event_rules, item_rules
from models import columns
from models.ingest.check.advice import CONFLICT, LINE_UNREADABLE, UNREADABLE, advice

REQUIRED = (columns.QUANTITY, columns.CURRENCY, columns.PRICE)
RULES = sorted(
    {rule.id for suite in (event_rules(required=REQUIRED), item_rules(REQUIRED), USER_RULES) for rule in suite}
    | {CONFLICT, LINE_UNREADABLE, UNREADABLE}
)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_that_puts_rows_into_quarantine_has_a_way_out(rule: str) -> None:
    sentence = advice(rule)
    assert sentence.endswith(".")
    assert re.search("ingest|replay|[Dd]ismiss", sentence)


def test_the_page_on_ingestion_has_a_way_out_for_every_rule() -> None:
    page = (Path(__file__).parents[4] / "docs" / "ingestion.md").read_text()
    lines = page.partition("| rule |")[2].partition("\n\n")[0].splitlines()[2:]
    assert lines
    for line in lines:
        helps = line.rsplit(" | ", 1)[-1]
        assert re.search("ingest|replay|[Dd]ismiss|look at", helps), line
