"""What a browser keeps."""

from dataclasses import replace
from typing import Any

import pytest
from starlette.requests import Request

from serving.shop.visits import (
    CONSENT_SECONDS,
    COOKIE,
    MOST_HIDDEN,
    MOST_LINES,
    NOTE_COOKIE,
    Line,
    Visit,
    known_visit,
    written,
)

SECRET = b"secret"


def browser(cookie: str, note: str = "") -> Request:
    headers = [(b"cookie", f"{COOKIE}={cookie}; {NOTE_COOKIE}={note}".encode())]
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "headers": headers}
    return Request(scope)


def test_a_visit_comes_back_as_it_was_written() -> None:
    visit = Visit.new().agreeing().signed_in("a Łódź/1").added(["x;y", "z"], {"z": "list"}).hiding("ü", "hidden")
    assert known_visit(browser(written(visit, SECRET), "hidden"), SECRET) == visit


@pytest.mark.parametrize("note", ["", "<b>", "nothing"])
def test_only_messages_of_the_shop_are_shown(note: str) -> None:
    visit = known_visit(browser(written(Visit.new(), SECRET), note), SECRET)
    assert visit
    assert visit.note == ""


@pytest.mark.parametrize("change", ["", "x", ".", "AAAA.00", "é.é"])
def test_a_cookie_that_is_not_ours_is_no_visit(change: str) -> None:
    assert known_visit(browser(change), SECRET) is None


def test_a_changed_cookie_is_no_visit() -> None:
    cookie = written(Visit.new().agreeing(), SECRET)
    assert known_visit(browser(cookie), SECRET)
    assert known_visit(browser("A" + cookie[1:]), SECRET) is None
    assert known_visit(browser(cookie), b"another secret") is None


def test_a_cookie_stays_below_the_limit_of_browsers_however_long_ids_are() -> None:
    visit = Visit.new().added(f"{number}".rjust(256, "x") for number in range(MOST_LINES))
    for number in range(MOST_HIDDEN):
        visit = visit.hiding(f"{number}".rjust(256, "ü"), "hidden")
    cookie = written(visit, SECRET)
    assert len(cookie) < 4_000
    kept = known_visit(browser(cookie), SECRET)
    assert kept
    assert 0 < len(kept.basket) < MOST_LINES


def test_the_lists_of_products_are_the_first_that_a_long_cookie_leaves_out() -> None:
    items = [f"{number}".rjust(110, "x") for number in range(MOST_LINES)]
    visit = Visit.new().agreeing().added(items, dict.fromkeys(items, "0f8fad5bd9cb469fa16570867728950e"))
    kept = known_visit(browser(written(visit.hiding("y", "hidden"), SECRET)), SECRET)
    assert kept
    assert (kept.items, kept.hidden) == (tuple(items), ("y",))
    assert {line.recommendation_id for line in kept.basket} == {""}


def test_half_a_year_after_an_answer_the_visitor_is_asked_again_however_often_the_cookie_was_set() -> None:
    for answered in (Visit.new().agreeing(), Visit.new().refusing()):
        old = replace(answered, answered_at=answered.answered_at - CONSENT_SECONDS).added(["milk"])
        asked = known_visit(browser(written(old, SECRET)), SECRET)
        assert asked
        assert (asked.agrees, asked.device, asked.items) == (None, None, ("milk",))
        assert known_visit(browser(written(answered, SECRET)), SECRET) == replace(answered, note="")


def test_the_id_of_a_browser_exists_only_with_consent() -> None:
    visit = Visit.new()
    assert visit.device is None
    agreed = visit.agreeing()
    assert agreed.device
    assert agreed.agreeing().device == agreed.device
    assert agreed.refusing().device is None
    assert agreed.signed_in("1").device == agreed.device


@pytest.mark.parametrize("leave", [Visit.signed_out, lambda visit: visit.signed_in("2")])
def test_the_next_person_gets_nothing_of_a_household_and_answers_for_themselves(leave: Any) -> None:
    for answered in (Visit.new().agreeing(), Visit.new().refusing()):
        visit = leave(answered.signed_in("1").added(["milk"]).hiding("tea", "hidden"))
        assert visit.household in (None, "2")
        assert (visit.basket, visit.hidden, visit.agrees, visit.device) == ((), (), None, None)


def test_the_basket_remembers_lists_only_with_consent() -> None:
    visit = Visit.new().added(["milk"], {"milk": "list"})
    assert visit.basket == (Line("milk", 1),)
    agreed = visit.agreeing().added(["milk", "tea"], {"milk": "list"}).added(["milk"])
    assert agreed.basket == (Line("milk", 3, "list"), Line("tea", 1))
    assert agreed.refusing().basket == (Line("milk", 3), Line("tea", 1))


def test_a_full_basket_takes_more_of_what_it_has_and_nothing_new() -> None:
    visit = Visit.new().added(str(number) for number in range(MOST_LINES))
    assert visit.added(["0"]).basket[0] == Line("0", 2)
    full = visit.added(["new"])
    assert (full.note, full.basket) == ("full", visit.basket)


def test_a_sign_in_changes_the_tokens_of_forms() -> None:
    visit = Visit.new()
    assert visit.signed_in("1").nonce != visit.nonce
    assert replace(visit, note="added").nonce == visit.nonce
