"""The page of operators over HTTP: the real API with rules in memory."""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from models.lists.rules.layer.rule_layer import AnyRule, HiddenItem, ItemBoost, PinnedItem
from serving.api.assembly import build_app
from serving.api.operators.pages.page import COOKIE
from serving.api.operators.pages.rules import (
    MOST_CHANGES,
    Draft,
    RuleError,
    Typed,
    choices,
    key,
    layer_of,
    read_draft,
    rule_at,
    with_words,
)
from serving.api.state import State
from serving.http.safe_pages import POLICY
from serving.operations import sign_ins
from serving.operations.sign_ins import SignIns
from serving.stores.catalogue import Item
from tests.serving.api.fakes import (
    DOCS,
    MLFLOW,
    PASSWORD,
    REPORT,
    DownParts,
    FakeAnswers,
    MemoryRules,
    new_key,
    state_of,
)

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}"
HOME = "/operator/placements/home"
END = datetime(2999, 12, 24, 23, tzinfo=UTC)
PIN = PinnedItem(placement="home", item="item-3", place=1)
HIDE = HiddenItem(item="item-4", until=END)
BOOST = ItemBoost(placement="home", kind="category", value="FOOD|TEA", factor=1.5)


@dataclass
class Desk:
    """A browser of an operator, with the last page."""

    browser: TestClient
    state: State
    answers: FakeAnswers
    page: str = ""
    answer: httpx.Response = field(default_factory=lambda: httpx.Response(200))

    def open(self, path: str, status: int = 200) -> str:
        self.answer = self.browser.get(path)
        assert self.answer.status_code == status, self.answer.text
        self.page = self.answer.text
        return self.page

    def hidden(self, name: str) -> str:
        found = re.search(rf'name="{name}" value="([^"]*)"', self.page)
        assert found, self.page
        return html.unescape(found[1])

    def send(self, path: str, status: int = 200, **fields: str) -> str:
        """Send a form of the last page, and follow the answer."""
        carried = {name: self.hidden(name) for name in ("token", "draft") if f'name="{name}"' in self.page}
        self.answer = self.browser.post(path, data={**carried, **fields})
        assert self.answer.status_code == status, self.answer.text
        self.page = self.answer.text
        return self.page

    def sign_in(self, name: str = "Ann", password: str = PASSWORD, status: int = 200) -> str:
        self.open("/operator/sign-in")
        return self.send("/operator/sign-in", status, name=name, password=password)

    def add(self, status: int = 200, **fields: str) -> str:
        return self.send(f"{HOME}/add", status, q="milk", **{"about": "item:item-3", **fields})

    def save(self, status: int = 200, comment: str = "Advent") -> str:
        return self.send(f"{HOME}/save", status, comment=comment)


@pytest.fixture
def visitor(tmp_path: Path) -> Iterator[Desk]:
    answers = FakeAnswers()
    state = state_of([new_key("read")[1]], answers, sign_ins=tmp_path / "sign-ins")
    with TestClient(build_app(state), "http://127.0.0.1", raise_server_exceptions=False) as browser:
        yield Desk(browser, state, answers)


@pytest.fixture
def desk(visitor: Desk) -> Desk:
    visitor.sign_in()
    return visitor


@pytest.mark.parametrize("path", ["", "/reports", "/history", "/placements/home"])
def test_without_a_sign_in_every_page_leads_to_it(visitor: Desk, path: str) -> None:
    assert "Sign in as an operator" in visitor.open(f"/operator{path}")
    for act in ("sign-out", "history/undo", "placements/home/save"):
        answer = visitor.browser.post(f"/operator/{act}", data={}, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/operator/sign-in")
    assert visitor.browser.get("/operator/operator.css").status_code == 200


def test_the_cookie_of_operators_is_kept_from_scripts_and_other_sites_and_ends(visitor: Desk) -> None:
    visitor.open("/operator/sign-in")
    given = {"token": visitor.hidden("token"), "name": "Ann", "password": PASSWORD}
    answer = visitor.browser.post("/operator/sign-in", data=given, follow_redirects=False)
    (cookie,) = answer.headers.get_list("set-cookie")
    assert {"HttpOnly", "SameSite=strict", "Path=/operator", "Max-Age=28800"} <= set(cookie.split("; "))
    assert PASSWORD not in cookie
    secure = TestClient(build_app(visitor.state), "https://localhost").get("/operator/sign-in").headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Secure"} <= set(secure.split("; "))


def test_a_wrong_password_is_refused_and_a_few_of_them_make_everybody_wait(visitor: Desk) -> None:
    for _ in range(sign_ins.MOST_FAILURES):
        assert "The password is wrong." in visitor.sign_in(password="guessed", status=403)
    assert "There were too many wrong passwords." in visitor.sign_in(status=429)
    assert 0 < int(visitor.answer.headers["retry-after"]) <= 60


def test_a_sign_in_ends_after_its_hours_and_a_signed_out_cookie_is_worthless_for_all_workers(tmp_path: Path) -> None:
    now = [1000.0]
    own, other = (SignIns(PASSWORD, "secret", tmp_path, lambda: now[0]) for _ in range(2))
    ann, ben = (own.sign_in(name, PASSWORD) for name in ("Ann", "Ben"))
    assert ann is not None
    assert ben is not None
    own.end(ann)
    assert [one.known(own.cookie(ann)) for one in (own, other)] == [None, None]
    assert [one.known(own.cookie(ben)) for one in (own, other)] == [ben, ben]
    for changed in ((PASSWORD, "another secret"), ("a new password", "secret")):
        assert SignIns(*changed, tmp_path, lambda: now[0]).known(own.cookie(ben)) is None
    assert own.known("of another installation") is None
    now[0] += sign_ins.SECONDS
    assert own.known(own.cookie(ben)) is None
    own.end(ben)
    assert len(list(tmp_path.iterdir())) == 1


def test_wrong_passwords_count_for_all_workers_and_for_a_minute(tmp_path: Path) -> None:
    now = [1000.0]
    own, other = (SignIns(PASSWORD, "secret", tmp_path, lambda: now[0]) for _ in range(2))
    assert own.sign_in("Ann", PASSWORD)
    assert [one.sign_in("Ann", "guessed") for one in (own, other, own, other)] == [None] * 4
    assert own.wait_seconds() == 0
    assert other.sign_in("Ann", "guessed") is None
    assert [own.wait_seconds(), other.wait_seconds()] == [60, 60]
    now[0] += 61
    assert own.wait_seconds() == 0


def test_without_a_place_for_failures_nobody_signs_in() -> None:
    with pytest.raises(OSError, match="nowhere"):
        SignIns(PASSWORD, "secret", Path("/proc/nowhere")).sign_in("Ann", PASSWORD)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "http://["])
def test_a_browser_that_names_another_host_is_refused(desk: Desk, host: str) -> None:
    answer = desk.browser.get("/operator", headers={"host": host})
    assert answer.status_code == 400
    assert "Overview</h1>" not in answer.text


def test_a_foreign_draft_and_a_form_that_is_too_large_are_refused(desk: Desk) -> None:
    desk.open(HOME)
    answer = desk.browser.post(f"{HOME}/save", data={"token": desk.hidden("token"), "draft": "x" * 200_000})
    assert answer.status_code == 413
    assert answer.headers["content-security-policy"] == POLICY
    desk.send(f"{HOME}/preview", 403, draft=Draft(0, (PIN,)).written(b"another secret"))


def test_a_name_is_needed_and_signing_out_ends_the_session(visitor: Desk) -> None:
    assert "Type your name" in visitor.sign_in(name=" ", status=422)
    visitor.sign_in()
    cookie = visitor.browser.cookies[COOKIE]
    assert "Sign in as an operator" in visitor.send("/operator/sign-out")
    visitor.browser.cookies.set(COOKIE, cookie, path="/operator")
    assert "Sign in as an operator" in visitor.open("/operator")


@pytest.mark.parametrize("path", ["sign-out", "history/undo", "placements/home/add", "placements/home/save"])
def test_a_form_of_another_site_changes_nothing(desk: Desk, path: str) -> None:
    desk.open(HOME)
    fields = {"draft": desk.hidden("draft"), "comment": "x", "version": "0", "target": "0"}
    for token in ({}, {"token": "0" * 64}, {"token": "of the shop"}):
        assert desk.browser.post(f"/operator/{path}", data={**fields, **token}).status_code == 403
    desk.browser.headers["origin"] = "http://evil.example"
    desk.send(f"/operator/{path}", 403, **fields)


def test_the_reports_page_shows_every_report_and_counts_that_add_up(desk: Desk) -> None:
    text = desk.open("/operator/reports")
    for words in ("shows items", "fresh", "version 3, 29 Nov", "drift, version 3", "stable", "a.csv", "0.1000", "Ann"):
        assert words in re.sub(r"</?(strong|time)[^>]*>", "", text), words
    assert desk.answer.headers["content-security-policy"] == POLICY
    assert not re.search(r"<script|<style| style=| on\w+=", text)
    section = desk.open("/operator/reports").partition('<h2 id="ledger">')[2].partition("</section>")[0]
    names = re.findall(r'<th scope="col" class="number">(\w+)</th>', section)
    rows = [re.findall(r'<td class="number">(?:<a[^>]*>)?(\d+)', row) for row in section.split("<tr>")[2:]]
    assert names == ["Read", "Accepted", "Quarantined", "Duplicate", "Suppressed", "Routed"]
    assert rows
    for read, *others in rows:
        assert int(read) == sum(map(int, others)) == 17


def test_the_reports_page_has_a_table_for_all_items_for_new_ones_and_for_repeat_purchases(desk: Desk) -> None:
    tables = desk.open("/operator/reports").split("<summary>Version 3 against the other models ")[1:]
    rows = [
        (table.partition("</summary>")[0], *re.sub(r"<[^>]+>", " ", row).split()[:-1])
        for table in tables
        for row in table.partition("</table>")[0].split("<tr>")[2:]
    ]
    assert rows == [
        ("on all items", "most_popular", "+0.2000", "+0.1900", "to", "+0.2100"),
        ("on new items", "most_popular", "+0.0010", "-0.0090", "to", "+0.0110", "no", "proven"),
        ("on repeat purchases", "the", "champion", "-0.0200", "-0.0300", "to", "-0.0100"),
    ]


def test_each_number_of_the_reports_links_to_its_page(desk: Desk) -> None:
    links = set(re.findall(r'<a href="(http[^"]+)" rel="noreferrer">([^<]+)</a>', desk.open("/operator/reports")))
    assert links >= {(MLFLOW, number) for number in ("12", "3", "30", "5", "0.1000", "Version 3")}
    assert links >= {(REPORT, "stable"), (REPORT, "1.25 of 3.00")}
    assert links >= {(DOCS, number) for number in ("17", "8", "1", "2", "3")}
    text = re.sub(r"<a [^>]*>[^<]*</a>|<time [^>]*>[^<]*</time>", "", desk.page)
    assert not re.search(r">\s*\d[\d.]*\s*<", text.partition("<main")[2])


def test_a_pin_is_added_previewed_saved_with_its_author_and_undone(desk: Desk) -> None:
    desk.open(HOME)
    text = desk.send(f"{HOME}/search", q="milk", user="7")
    assert "Title of item-3 (item item-3)" in text
    assert "All of the category FOOD, TEA" in text
    text = desk.add(user="7", until="2999-12-24T23:00")
    assert "Add: Pin “Title of item-3” (item item-3) to place 1 until 24 Dec 2999, 23:00 UTC" in text
    assert "Under the draft" in text
    assert re.search(r"(?s)Add: Pin “Title of item-3”.*Conflict: a conflict\..*</ul>", text)
    desk.send(f"{HOME}/preview", user="8", item="", comment="Advent")
    assert re.search('id="user" [^>]*value="8"', desk.page)
    assert "Version 1 of the rules is stored" in desk.save()
    assert re.search(
        r"(?s)<td>Pin “Title of item-3”[^<]*<p [^>]*>Conflict: a conflict\.</p>\s*</td>.*?<td>Ann</td>", desk.page
    )
    assert "Advent" in desk.open("/operator/history")
    assert "Added: Pin" in desk.page
    assert "State in a few words why." in desk.send("/operator/history/undo", 422, version="1", target="0", comment="")
    assert "Version 2" in desk.send("/operator/history/undo", version="1", target="0", comment="too early")
    assert "Removed: Pin" in desk.page
    assert "None." in desk.open(HOME)


def test_nothing_is_stored_before_it_is_saved_and_changes_can_be_taken_back(desk: Desk) -> None:
    desk.open(HOME)
    desk.add()
    desk.add(about="category:FOOD|TEA", act="boost", factor="1,5")
    assert "Multiply the scores of category FOOD|TEA by 1.5" in desk.page
    desk.send(f"{HOME}/take-back", rule=key(BOOST))
    assert "Multiply" not in desk.page
    desk.save()
    desk.send(f"{HOME}/remove", rule=key(PIN))
    assert "Remove: Pin" in desk.page
    assert "The draft is empty" not in desk.page
    assert "No longer" not in desk.open(HOME)
    assert "That rule does not count any more." in desk.send(f"{HOME}/remove", 422, rule=key(HIDE))
    assert "The draft is empty" in desk.save(422)
    assert "version 1" in desk.open(HOME)


def test_rules_that_another_person_stored_meanwhile_are_shown_and_the_draft_is_kept(desk: Desk) -> None:
    desk.open(HOME)
    desk.add()
    draft = desk.hidden("draft")
    desk.open(HOME)
    desk.add(about="item:item-9", act="hide")
    desk.save(comment="sold out")
    desk.page = desk.page.replace(desk.hidden("draft"), draft)
    text = desk.save(409)
    assert "Ann stored version 1 meanwhile" in text
    assert "sold out" in text
    assert "Added: Hide “Title of item-9”" in text
    assert "Add: Pin “Title of item-3”" in text
    assert "Version 2 of the rules is stored" in desk.save()
    assert all(words in desk.page for words in ("Hide “Title of item-9”", "Pin “Title of item-3”"))
    stale = {"version": "1", "target": "0", "comment": "back"}
    assert "Another version was stored meanwhile." in desk.send("/operator/history/undo", 409, **stale)


def test_versions_with_many_rules_are_on_more_pages(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 6):
        desk.open(HOME)
        desk.add(about=f"item:item-{number}", act="hide")
        desk.save(comment="sold out")
    monkeypatch.setattr(MemoryRules, "most_versions", 3)
    pages, path = [], "/operator/history"
    while path:
        text = desk.open(path)
        pages.append(re.findall(r'<h2 id="version-(\d+)"', text))
        later = re.search(r'href="([^"]+)">Earlier versions', text)
        path = html.unescape(later[1]) if later else ""
    assert pages == [["5", "4"], ["3", "2", "1", "0"]]


def test_faults_are_sentences_beside_their_fields(desk: Desk) -> None:
    desk.open(HOME)
    text = desk.add(422, about="category:FOOD", act="boost", factor="1000")
    assert re.search(
        r'aria-invalid="true" aria-describedby="error-factor">\s*<p class="error" id="error-factor">', text
    )
    assert "Nothing is changed yet" in text
    assert "State in a few words" in (desk.add() and desk.save(422, comment=" "))
    assert 'id="error-user"' in desk.send(f"{HOME}/preview", 422, user="a\x85b")
    assert "Type words" in desk.send(f"{HOME}/search", 422, q="")
    assert "There is no such placement." in desk.open("/operator/placements/nowhere", 404)


def test_while_the_database_is_down_the_pages_state_it_and_the_draft_stays(desk: Desk) -> None:
    desk.open(HOME)
    desk.add()
    parts = desk.state.parts
    down: Any = DownParts()
    assert parts.operators is not None
    own = replace(parts.operators, changes=down, previews=down, reports=down)
    desk.state.parts = replace(parts, operators=own)
    for step in ("save", "preview", "add"):
        text = desk.send(f"{HOME}/{step}", 503, comment="Advent", about="item:item-3", q="milk")
        assert "does not answer at the moment" in text
        assert "Pin “Title of item-3” (item item-3) to place 1" in text
    draft = desk.page
    assert "These reports are missing: earned, experiments, placements" in desk.open("/operator", 503)
    assert "These reports are missing: placements, models" in desk.open("/operator/reports", 503)
    assert "does not answer" in desk.open("/operator/history", 503)
    desk.page, desk.state.parts = draft, parts
    assert "Version 1 of the rules is stored" in desk.save()


def test_hostile_names_comments_and_values_are_text(visitor: Desk) -> None:
    visitor.sign_in(name=HOSTILE)
    visitor.open(HOME)
    visitor.answers.items = (HOSTILE,)
    visitor.answers._made.clear()
    visitor.add(about=f"item:{HOSTILE}", user=HOSTILE)
    pages = [
        visitor.page,
        visitor.save(comment=HOSTILE),
        visitor.open("/operator/history"),
        visitor.open("/operator?saved=<b>"),
    ]
    for text in pages:
        assert "<script" not in text
        assert "<img" not in text.replace('<img src="/operator/icon.svg', "")
        assert "&lt;script&gt;" in text
        assert "<b>" not in text


def test_the_first_page_shows_earnings_before_placements_and_no_figures_of_models(desk: Desk) -> None:
    text = desk.open("/operator")
    titles = re.findall(r'<h2 id="(\w+)"', text)
    assert titles == ["earned", "experiments", "placements", "engineers"]
    plain = re.sub(r"<[^>]+>", "", text).replace("\N{NO-BREAK SPACE}", " ")
    assert "people bought for 80.00 EUR within a day after a click on a recommendation" in plain
    assert "That is 25.0 % of all revenue; in the week before, it was 25.0 %." in plain
    assert "Up to 20 products for each visitor; the lists are fresh" in plain
    for words in ("ndcg", "als", "Champion", "Version 3"):
        assert words not in plain, words
    assert set(re.findall(r'<a href="(http[^"]+)"', text)) >= {MLFLOW, DOCS}
    assert not re.search(r"<script|<style| style=| on\w+=", text)


def test_an_experiment_is_shown_with_its_claim_and_stopped_with_a_reason(desk: Desk) -> None:
    text = desk.open("/operator")
    plain = re.sub(r"<[^>]+>", "", text)
    assert "test changed clicks per impression by +12.0% against control (between +3.0% and +21.0%)." in plain
    assert "In home, running since 19 Nov 2026, ends 19 Dec 2026. 500 people in control, 511 people in test." in plain
    assert "Clicks per impression, of the control dashed, 20 Nov 2026 to 22 Nov 2026: at most 0.055" in text
    stop = "/operator/experiments/spring/stop"
    assert "enough" not in desk.send(stop, 422, comment="?")
    desk.open("/operator")
    desk.send(stop, comment="enough is seen")
    reports: Any = desk.state.parts.operators and desk.state.parts.operators.reports
    assert reports.stopped == [("spring", "Ann", "enough is seen")]


def test_a_pin_moves_up_and_down_and_changes_places_with_the_pin_that_is_there(desk: Desk) -> None:
    desk.open(HOME)
    desk.add(place="1")
    desk.add(about="item:item-4", place="2")
    desk.save()
    second = PinnedItem(placement="home", item="item-4", place=2)
    text = desk.send(f"{HOME}/up", rule=key(second))
    assert "Move from place 2: Pin “Title of item-4” (item item-4) to place 1" in text
    assert "Move from place 1: Pin “Title of item-3” (item item-3) to place 2" in text
    assert "Remove: Pin" not in text
    desk.send(f"{HOME}/down", rule=key(replace(second, place=1)))
    assert "Nothing is changed yet" in desk.page
    desk.send(f"{HOME}/down", rule=key(second))
    desk.send(f"{HOME}/take-back", rule=key(replace(second, place=3)))
    assert "Nothing is changed yet" in desk.page
    desk.send(f"{HOME}/down", rule=key(second))
    desk.save()
    assert "Pin “Title of item-4” (item item-4) to place 3" in desk.page
    assert "That rule does not count any more." in desk.send(f"{HOME}/up", 422, rule=key(second))


def test_the_list_of_a_product_is_found_by_words_of_its_title(desk: Desk) -> None:
    path = "/operator/placements/similar-items"
    desk.open(path)
    assert '<option value="' not in desk.page.partition("<datalist")[2]
    # The fake catalogue has every id, so that a title is one, too.
    text = desk.send(f"{path}/preview", item="item-3")
    assert "The list of “Title of item-3”:" in text
    assert '<option value="Title of item-3">' in text
    desk.answers.in_stock = frozenset({"item-4"})
    assert "The list of “Title of item-4”:" in desk.send(f"{path}/preview", item="Title of item-4")
    desk.answers.in_stock = frozenset()
    assert "No product has such an id or title." in desk.send(f"{path}/preview", 422, item="nothing")


def test_a_fault_names_its_rule_in_words() -> None:
    layer = layer_of([HIDE, BOOST, PIN])
    assert rule_at(layer, "/rules/boosts/0/value") == BOOST
    assert rule_at(layer, "/rules/pins/7/place") is None
    named = with_words(layer, "/hides/0 hides the item.", {"item-4": "Tea"})
    assert named == "The rule “Hide “Tea” (item item-4) in all placements until 24 Dec 2999, 23:00 UTC” hides the item."


def test_a_draft_keeps_its_changes_in_a_signed_field_and_is_limited() -> None:
    draft = Draft(3).adding(PIN).removing(HIDE)
    assert read_draft(b"secret", draft.written(b"secret")) == draft
    assert read_draft(b"another", draft.written(b"secret")) is None
    assert list(draft.applied(layer_of([BOOST, HIDE]))) == [PIN, BOOST]
    assert draft.adding(PIN).adding(HIDE) == Draft(3, (PIN,))
    many = Draft(0, tuple(HiddenItem(item="ä" * 256 + str(number)) for number in range(MOST_CHANGES)))
    assert many.is_full
    assert len(many.written(b"secret")) < 120_000


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"about": "colour:red"}, "about"),
        ({"about": "brand:A", "act": "hide"}, "about"),
        ({"act": "delete"}, "act"),
        ({"place": "\N{ARABIC-INDIC DIGIT ONE}"}, "place"),
        ({"act": "boost", "factor": "inf"}, "factor"),
        ({"until": "2026-12-24T23:00+01:00"}, "until"),
    ],
)
def test_a_form_that_states_no_rule_is_refused_at_its_field(given: dict[str, str], field: str) -> None:
    with pytest.raises(RuleError) as refused:
        Typed.of({"about": "item:1", **given}).rule("home")
    assert list(refused.value.errors) == [field]


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"about": "item:item-3"}, PIN),
        ({"about": "item:item-4", "act": "hide-everywhere", "until": "2999-12-24T23:00"}, HIDE),
        ({"about": "item:item-4", "act": "hide"}, HiddenItem(item="item-4", placement="home")),
        ({"about": "category:FOOD|TEA", "act": "boost", "factor": "1,5"}, BOOST),
    ],
)
def test_a_form_states_a_rule(given: dict[str, str], rule: AnyRule) -> None:
    assert Typed.of(given).rule("home") == rule


def test_a_rule_can_be_about_found_products_their_categories_and_brands() -> None:
    tea = Item("1", "Tea", None, None, None, None, "FOOD|TEA", "Ahmad", True, True, -inf, inf)
    assert [value for value, _ in choices([tea, tea])][1:] == [
        *("item:1", "category:FOOD", "category:FOOD|TEA", "brand:Ahmad")
    ]
