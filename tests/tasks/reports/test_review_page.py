import base64
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from models.evaluation.example_users import Example, ExampleList
from models.gate.results import Check, GateResult, Outcome, not_applicable
from tasks.reports.evaluation_plots import plot_groups
from tasks.reports.review_page import BOUGHT, Page, Plot, render
from tests.models.reviewed import ALONE, CHECKS, EVALUATIONS, GROUPS, VERSION

HOSTILE = "<script>alert(1)</script>\"'>{{ 7 * 7 }}<img src=http://evil.example/x>$\\broken$"
KEY = "9f3a21bc77aa55ee"
REFUSED = Check("no group worse by age", -0.0106, -0.0265, Outcome.REFUSED, "65+ fares worst.", -0.0276, -0.0071)
WORSE = replace(GROUPS[1], difference=-0.1, low=-0.13, high=-0.09, passed=False)
EXAMPLE = Example(
    KEY, 12, ExampleList(["i1", "i2"], 0.31), ExampleList(["i3", "i1"], 0.22), ["i1", "i9"], frozenset({"i1"})
)


class FetchParser(HTMLParser):
    """Every tag, and every address that a browser would fetch by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        attributes = dict(attrs)
        self.fetched += [value for name in ("src", "srcset", "poster", "data") if (value := attributes.get(name))]


@pytest.fixture
def page(tmp_path: Path) -> Page:
    plot_groups(GROUPS, "champion (als)", tmp_path / "groups.png")
    return Page(
        version=replace(VERSION, gate=GateResult(True, (CHECKS[0], REFUSED), (GROUPS[0], WORSE, GROUPS[2]))),
        material="Learned from what 2,467 people bought.",
        plots=[Plot("Calibration", "Good?", tmp_path / "groups.png"), Plot("Over-fit", "", tmp_path / "none.png")],
        group_plot=Plot("Differences by group", "", tmp_path / "groups.png"),
        examples=[EXAMPLE],
        titles={"i1": "Milk, 1 l", "i2": "", "i3": "Bread"},
        facts={"git commit": "8b9ff9c"},
        settings={"trees": "200"},
        libraries={"numpy": "2.4.0"},
        links={"the training run": "http://mlflow/#/run"},
    )


def judged(page: Page, *checks: Check, passed: bool = True) -> Page:
    return replace(page, version=replace(page.version, gate=GateResult(passed, checks)))


def plain(text: str) -> str:
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text.partition("</style>")[2])))


def test_the_verdict_stands_on_top_then_what_to_do(page: Page) -> None:
    text = plain(render(page))
    parts = (
        page.version.verdict,
        "tailorbird decide 3 --approve",
        "The gate's questions",
        "Figures beside other models",
    )
    places = [text.index(part) for part in parts]
    assert places == sorted(places)
    assert "set the tag review to approved or rejected" in text
    refused = plain(render(judged(page, REFUSED, passed=False)))
    assert "a version that the gate refuses serves nobody" in refused
    assert "override" in refused


def test_checks_are_listed_with_value_interval_and_limit_failed_ones_first(page: Page) -> None:
    text = plain(render(page))
    assert "✗ no group worse by age -0.0106 -0.0276 to -0.0071 -0.0265 65+ fares worst." in text
    assert "✓ has figures 900 900 ndcg_at_10 is a number" in text
    assert text.index("✗ no group") < text.index("✓ has figures")


def test_values_that_could_not_be_measured_are_marked(page: Page) -> None:
    unmeasured = Check(
        "better than the champion", float("nan"), 0.0, Outcome.REFUSED, "the champion was not measured on all."
    )
    unsure = Check("no group worse by age", 0.1, 0.0, Outcome.PASSED, "Fine.", float("nan"), float("nan"))
    text = plain(render(judged(page, unmeasured, unsure)))
    assert "✗ better than the champion not measured 0 the champion was not measured on all." in text
    assert "✓ no group worse by age 0.1000 0 Fine." in text


def test_warnings_and_questions_not_asked_are_no_passes(page: Page) -> None:
    warning = Check("shows items evenly", 0.9, 0.84, Outcome.WARNING, "Gini index 0.900.")
    unasked = not_applicable("no group worse", "No trait divides people into groups.")
    text = plain(render(judged(page, CHECKS[0], unasked, warning)))
    assert "! shows items evenly 0.9000 0.8400 Warning. Gini index 0.900." in text
    assert "? no group worse Not asked. No trait divides people into groups." in text
    assert text.index("! shows items") < text.index("? no group") < text.index("✓ has figures")


def test_figures_stand_beside_the_reference_with_the_difference(page: Page) -> None:
    text = plain(render(page))
    assert "0.4393 0.4255 to 0.4526 0.4213 0.4075 to 0.4350 +0.0180 ▲ +0.0180 to +0.0180" in text
    assert "Items that are new to the person" in text
    unmeasured = replace(page.version, evaluations=EVALUATIONS | {"r1": EVALUATIONS["r2"]})
    assert "Items that are new to the person" not in plain(render(replace(page, version=unmeasured)))


def test_groups_are_drawn_and_listed(page: Page) -> None:
    text = plain(render(page))
    assert "✓ age 65+ 1,200 0.4000 0.4100 +0.0100 -0.0100 to +0.0300" in text
    assert "✗ age 19-24 80" in text
    assert page.group_plot.data in render(page)
    assert "There are no traits to form groups by" in plain(render(judged(page)))


def test_a_person_is_shown_with_both_shelves_hits_and_purchases_and_no_more_of_the_key(page: Page) -> None:
    text = plain(render(page))
    assert "9f3a21bc 12 baskets before" in text
    assert KEY not in render(page)
    assert "champion (als) NDCG 0.220 Bread new Milk, 1 l ✓ bought again" in text
    assert "this version NDCG 0.310 +0.090 Milk, 1 l ✓ bought again i2 new" in text
    assert "then bought 2 items Milk, 1 l again i9 new" in text
    assert "These people are not hand-picked. All people are sorted by the gain of this version" in text


def test_of_many_purchases_the_first_are_named_and_the_others_counted(page: Page) -> None:
    many = replace(EXAMPLE, bought=[f"b{number}" for number in range(BOUGHT + 4)])
    text = plain(render(replace(page, examples=[many])))
    assert f"b{BOUGHT - 1} new and 4 more" in text
    assert f"b{BOUGHT} " not in text


def test_with_nobody_to_compare_with_the_page_is_whole_all_the_same(page: Page) -> None:
    without_reference = replace(page, version=ALONE, examples=[])
    text = plain(render(without_reference))
    assert "There is no model to compare with" in text
    assert "▲ +" not in text


def test_plots_are_inside_the_page_and_their_absence_is_stated(page: Page) -> None:
    text = render(page)
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert len(pictures) == 2
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    assert "Over-fit This version has none." in plain(text)


def test_the_page_asks_nobody_for_anything(page: Page) -> None:
    text = render(page)
    parser = FetchParser(text)
    assert not parser.tags & {"script", "link", "iframe", "object", "embed", "base", "form"}
    assert all(address.startswith("data:image/png;base64,") for address in parser.fetched)
    assert not re.search(r"url\(|@import|http-equiv=\"refresh", text)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in text


def test_names_in_data_and_from_people_are_text_and_nothing_else(page: Page, tmp_path: Path) -> None:
    group = replace(GROUPS[0], trait=HOSTILE, value=HOSTILE)
    plot_groups([group], HOSTILE, tmp_path / "hostile.png")
    example = replace(EXAMPLE, user_key="<script>x", candidate=ExampleList([HOSTILE], 0.1), bought=[HOSTILE])
    check = replace(CHECKS[0], name=HOSTILE, detail=HOSTILE)
    kinds, gate = {**page.version.kinds, "r2": HOSTILE}, GateResult(False, (check,), (group,))
    version = replace(page.version, kinds=kinds, gate=gate)
    hostile = replace(
        page,
        version=version,
        examples=[example],
        titles={"i1": HOSTILE},
        settings={HOSTILE: HOSTILE},
        facts={HOSTILE: HOSTILE},
        libraries={HOSTILE: HOSTILE},
        material=HOSTILE,
    )
    text = render(hostile)
    parser = FetchParser(text)
    assert "script" not in parser.tags
    assert all(address.startswith("data:image/png;base64,") for address in parser.fetched)
    assert "{{ 7 * 7 }}" in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
