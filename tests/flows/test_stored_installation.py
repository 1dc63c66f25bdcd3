"""An installation of an earlier version goes on after `tailorbird up`: same champion, lists, ledger and files.

The tests of the monitor come after these, in the same installation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest

from tests.flows.stored_installation import Stored

_USER_LISTS: Final = (
    "SELECT placement, user_id, rank, item_id, title, score, reason FROM recommendations_by_user_id ORDER BY 1, 2, 3"
)
_ITEM_LISTS: Final = (
    "SELECT placement, for_item_id, rank, item_id, title, score, reason FROM current_item_recommendations "
    "ORDER BY 1, 2, 3"
)
_USER: Final = "12414"


@pytest.fixture(scope="module")
def stored(stored_installation: Stored) -> Iterator[Stored]:
    with stored_installation.inside():
        yield stored_installation


def test_the_champion_is_the_same(stored: Stored) -> None:
    assert stored.shop.json("status")["champion"] == stored.expected("status")["champion"]


def test_the_ledger_is_the_same(stored: Stored) -> None:
    assert stored.shop.json("status")["ledger"] == stored.expected("status")["ledger"]
    assert stored.shop.json("ledger", "show") == stored.expected("ledger")


def test_the_lists_of_users_and_items_are_the_same(stored: Stored) -> None:
    assert stored.shop.json("recommend", _USER) == stored.expected("home")
    assert stored.shop.sql(_USER_LISTS) == stored.rows_then("user_lists")
    assert stored.shop.sql(_ITEM_LISTS) == stored.rows_then("item_lists")


def test_the_same_files_come_in_by_the_old_mapping_and_change_nothing(stored: Stored) -> None:
    stored.shop.run("ingest", "my_shop.toml")
    assert stored.shop.json("status")["ledger"] == stored.expected("status")["ledger"]


def test_the_old_champion_makes_the_same_lists_again(stored: Stored) -> None:
    stored.shop.run("score", "home", "--k", "9")
    home = [row for row in stored.rows_then("user_lists") if row[0] == "home" and int(row[2]) <= 9]
    assert [row for row in stored.shop.sql(_USER_LISTS) if row[0] == "home"] == home


def test_the_old_champion_explains_its_list(stored: Stored) -> None:
    first = stored.expected("home")[0]
    assert first["title"] in stored.shop.run("explain", _USER, first["item_id"])


def test_a_new_data_set_and_a_new_model_are_made_beside_the_old_ones(stored: Stored) -> None:
    stored.shop.run("features")
    stored.shop.run("train", "--model", "most_popular")
    assert stored.shop.json("status")["champion"] == stored.expected("status")["champion"]


def test_an_undo_takes_out_what_the_old_version_brought(stored: Stored) -> None:
    stored.undo()
    assert stored.shop.json("status")["ledger"]["accepted"] == 0
