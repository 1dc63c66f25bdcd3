"""What a browser keeps."""

from dataclasses import replace
from typing import Any

import pytest
from starlette.requests import Request

from serving.shop.visits.cookie import COOKIE, known_visit, written
from serving.shop.visits.visit import MOST_HIDDEN, MOST_LINES, Visit

SECRET = b"secret"


def browser(cookie: str) -> Request:
    headers = [(b"cookie", f"{COOKIE}={cookie}".encode())]
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "headers": headers}
    return Request(scope)


def test_a_visit_comes_back_as_it_was_written() -> None:
    visit = Visit.new().agreeing().signed_in("a Łódź/1").added(["x;y", "z"]).hiding("ü", "hidden")
    assert known_visit(browser(written(visit, SECRET)), SECRET) == visit


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


def test_the_id_of_a_browser_exists_only_with_consent() -> None:
    visit = Visit.new()
    assert visit.device is None
    agreed = visit.agreeing()
    assert agreed.device
    assert agreed.agreeing().device == agreed.device
    assert agreed.refusing().device is None
    assert agreed.signed_in("1").signed_out().device not in (None, agreed.device)
    assert visit.signed_in("1").signed_out().device is None


def test_after_a_sign_out_nothing_of_the_household_is_left() -> None:
    visit = Visit.new().agreeing().signed_in("1").added(["milk"]).hiding("tea", "hidden").signed_out()
    assert (visit.household, visit.basket, visit.hidden, visit.agrees) == (None, (), (), True)


def test_a_full_basket_takes_more_of_what_it_has_and_nothing_new() -> None:
    visit = Visit.new().added(str(number) for number in range(MOST_LINES))
    assert visit.added(["0"]).basket[0] == ("0", 2)
    full = visit.added(["new"])
    assert (full.note, full.basket) == ("full", visit.basket)


def test_a_sign_in_changes_the_tokens_of_forms() -> None:
    visit = Visit.new()
    assert visit.signed_in("1").nonce != visit.nonce
    assert replace(visit, note="added").nonce == visit.nonce
