"""The page about the results of a run from the files to the lists."""

import pytest

from infra.installation import Installation
from infra.registry.client import Registry
from tasks.orchestration.demo_story import Story, markdown

LEDGER = {"batch_id": "shop-events-1", "status": "committed", "dataset": "events", "read": 1_200, "accepted": 1_150}
LEDGER |= {"quarantined": 50, "duplicate": 0, "suppressed": 0, "routed": 0}
DATASET = {"version": "v5", "rows": {"interactions": 1_150, "users": 90, "items": 40}}
LADDER = [{"model": name, "ndcg_at_10": figure} for name, figure in (("most_popular", 0.1), ("two_stage", 0.4))]
REVIEW = {"status": "approved", "model_version": 3, "ladder": LADDER, "reviewer": "ann", "reason": "<b>fine</b>"}
REVIEW |= {"gate": [{"name": "is personal", "outcome": "passed"}, {"name": "is fair", "outcome": "warning"}]}
SUMMARY = {"coverage": 0.12345, "kept_from_before": 0, "reasons": {}, "short": {}, "notes": []}
BATCH = {"placement": "home", "batch_id": 1, "model_version": 3, "users": 90, "recommendations": 1_800}
BATCH |= {"status": "published", "summary": SUMMARY}


@pytest.fixture
def page(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(Registry, "_experiment", "1")
    return markdown(installation, Story([LEDGER], DATASET, [], REVIEW, [BATCH]))


def test_the_verdict_comes_first_and_then_every_step(page: str) -> None:
    first, *_ = page.splitlines()
    assert first == "**Version 3: approved. two_stage is best by NDCG. Lists are live: home.**"
    for text in ("| committed | events | 1,200 | 1,150 | 50 |", "1,150 interactions", "| two_stage | 0.4000 |"):
        assert text in page
    assert "Checks of the gate: 1 passed, 1 warning. ann: &lt;b&gt;fine&lt;/b&gt;" in page
    assert "| published | home | 90 | 1800 | 0.1235 |" in page


def test_the_page_leads_to_the_models_and_to_the_version(page: str, installation: Installation) -> None:
    pages = installation.endpoints.mlflow_page
    assert f"({pages}/#/models/tailorbird/versions/3)" in page
    assert f"({pages}/#/experiments/1/runs?" in page


def test_a_step_that_did_not_happen_has_no_section(page: str) -> None:
    assert "searched" not in page
