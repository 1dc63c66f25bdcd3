import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from models.gate.thresholds import GateThresholds
from models.monitoring.audit.report import Audit, run_audit
from models.monitoring.audit.served_data import AuditData, AuditItems
from models.monitoring.realised_accuracy import UserOutcomes
from tasks.reports.audit_page import PLOTS, AuditPage, markdown, plot_audit, render
from tasks.reports.review_page import Plot
from tests.tasks.reports.test_review_page import HOSTILE, FetchParser


def audit_data(outcome: bool) -> AuditData:
    """240 people, of whom the old are served badly; a group and a category have hostile names."""
    random = np.random.default_rng(7)
    n = 240
    age = np.where(np.arange(n) < 80, "old", HOSTILE)
    ndcg = np.where(age == "old", 0.05, 0.4) + random.random(n) * 0.1
    one, zero = np.ones(n), np.zeros(n)
    came = UserOutcomes(one * 2, one, one, one, ndcg, zero, zero, ndcg / 4)
    goods = AuditItems(
        np.arange(30.0), np.arange(30.0), np.array(["Tea", HOSTILE, ""] * 10), np.array(["Own", ""] * 15)
    )
    shown = random.random((n, 30)) * (random.random((n, 30)) < 0.3)
    shown /= shown.sum(axis=1, keepdims=True)
    bought = sparse.csr_array(random.random((n, 30)) < 0.3)
    return AuditData({"age": age}, sparse.csr_array(shown), bought, goods, came if outcome else None)


def page_of(audit: Audit, folder: Path) -> AuditPage:
    plot_audit(audit, folder)
    plots = [Plot(title, about, folder / f"{name}.png") for name, (title, about, _, _) in PLOTS.items()]
    return AuditPage("home", 0.0, 28 * 86_400.0, [3, 4], audit, GateThresholds(), plots, {"run": "r1"}, {})


@pytest.fixture
def page(tmp_path: Path) -> AuditPage:
    return page_of(run_audit(audit_data(outcome=True), GateThresholds(), 7), tmp_path)


def test_the_page_names_the_group_that_is_served_worse_and_shows_four_pictures(page: AuditPage) -> None:
    text = render(page)
    assert page.audit.status == "beyond margin"
    assert "Worst off: age old (80 people)" in text
    assert text.count('<tr class="refused">') == 1
    assert text.count("data:image/png;base64,") == len(PLOTS) == 4
    assert "1 January 1970 to 29 January 1970" in text
    assert "Versions 3, 4 of the model" in re.sub(r"\s+", " ", text)


def test_names_out_of_data_stay_text_and_the_page_asks_nobody(page: AuditPage) -> None:
    parser = FetchParser(render(page))
    assert "script" not in parser.tags
    assert all(address.startswith("data:") for address in parser.fetched)


def test_a_page_without_outcomes_states_that_and_shows_what_needs_none(tmp_path: Path) -> None:
    text = render(page_of(run_audit(audit_data(outcome=False), GateThresholds(), 7), tmp_path))
    assert "neither accuracy nor any group can be judged" in text
    assert text.count("data:image/png;base64,") == 3
    assert "NDCG@10</th>" not in text
    assert "popularity lift</th>" in text


def test_the_table_in_prefect_keeps_its_cells_whatever_groups_are_called(page: AuditPage) -> None:
    renamed = replace(page, audit=replace(page.audit, groups=[g._replace(value="a|b\nc") for g in page.audit.groups]))
    lines = [line for line in markdown(renamed, "http://here/x").splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {11}
    assert "[The whole audit](http://here/x)" in markdown(renamed, "http://here/x")
    assert "<script" not in re.sub(r"\\<", "", markdown(page, "x"))
