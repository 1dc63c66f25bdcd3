"""Retraining on newer events, with the real servers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Shop


def test_a_retrain_searches_what_is_due_and_goes_on_without_what_it_does_not_find(stocked: Shop) -> None:
    before = stocked.json("status")["champion"]
    stocked.sql("DELETE FROM search_results WHERE model = 'als'")
    models = ("--model", "most_popular", "--model", "own_frequency", "--model", "als")
    result = stocked.json("retrain", "--minutes", "0.03", *models)
    assert result["due"] == {"als": "it has no search yet"}  # nobody named two_stage; own_frequency is a minute old
    assert list(result["searches"]) == ["als"]
    assert re.fullmatch(  # an earlier test may have tried settings of the same study
        r"It found no settings; the model is trained with its defaults\.|It tried \d+ settings, and the best .*",
        result["searches"]["als"],
    )
    ladder = [row["model"] for row in result["review"]["ladder"]]
    assert {"most_popular", "own_frequency"} <= set(ladder)
    assert result["review"]["status"] != "approved"  # a person decides
    assert stocked.json("status")["champion"] == before
