"""A rotation of the pseudonym key reaches waiting messages and profiles, and so does a message that comes late."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from infra.keys.identity import pseudonym
from serving.events.message import user_message
from tasks.rekeying.rotate import rotate_pseudonym_key
from tests.tasks.ingest.inbox.api import Api
from tests.tasks.rekeying.stores import started


def test_waiting_messages_and_profiles_get_the_new_keys(api: Api) -> None:
    old, old_device = api.key("ann"), api.device("phone")
    api.send(api.act("bob", "cup", consent=True))
    api.move()
    api.send(api.act("ann", "cup", consent=True, session="phone"))
    late = replace(api.act("ann", "pan", consent=True), user_id=None)
    rotate_pseudonym_key(api.here.engine, api.here.settings, "ann", "it leaked")
    here = started()
    new = pseudonym("ann", here.key)
    assert new != old
    waiting = api.rows("SELECT user_key, session_key, key_version FROM event_inbox WHERE moved_at IS NULL")
    api.here = here
    assert waiting == [(new, api.device("phone"), 2)]
    assert api.rows("SELECT subject FROM session_profiles WHERE subject = :new", new=new)
    api.send(late)
    api.move()
    assert {row["item_id"]: row["user_key"] for row in api.lake() if row["user_key"] == new} == {"cup": new, "pan": new}
    assert len(api.lake()) == 3
    assert old_device not in str(api.rows("SELECT * FROM aliases"))
    assert api.rows("SELECT user_key, user_id FROM identity.users WHERE user_id = 'ann'") == [(new, "ann")]


def test_answers_that_wait_or_come_late_get_the_new_keys(api: Api) -> None:
    api.send(api.act("ann", "cup", consent=True))
    api.move()
    old = api.key("ann")
    api.send(api.shown("ann", "r1", "cup", session_key=api.device("phone")), api.shown(None, "r2", "cup"))
    late = api.shown("ann", "r3", "pan")
    rotate_pseudonym_key(api.here.engine, api.here.settings, "ann", "it leaked")
    here = started()
    new = pseudonym("ann", here.key)
    api.here = here
    waiting = api.rows(
        "SELECT payload -> 'user_key', payload -> 'session_key', key_version FROM event_inbox "
        "WHERE kind = 'answers' ORDER BY inbox_id"
    )
    assert waiting == [([new], [api.device("phone")], 2), ([None], [None], 2)]
    api.send(late)
    api.move()
    shown = [row for row in api.lake() if row["event_type"] == "impression"]
    assert [(row["recommendation_id"], row["user_key"]) for row in shown] == [("r1", new), ("r3", new)]
    assert old not in str(api.lake())


def hides(api: Api, user: str) -> Any:
    return api.act(user, "cup", kind="not_interested", consent=True)


def states(api: Api, user: str) -> Any:
    return user_message({}, [("item", "cup")], api.sender(user, consent=True), api.id())


@pytest.mark.parametrize("late", [hides, states])
def test_an_item_hidden_by_a_process_from_before_the_rotation_is_hidden_from_the_same_person(
    api: Api, late: Callable[[Api, str], Any]
) -> None:
    api.send(api.act("ann", "cup", consent=True))
    api.move()
    old, message = api.key("ann"), late(api, "ann")
    rotate_pseudonym_key(api.here.engine, api.here.settings, "ann", "it leaked")
    api.here = started()
    api.send(replace(message, user_id=None))
    assert api.rows("SELECT user_key FROM exclusions") == [(old,)]
    api.move()
    assert api.rows("SELECT user_key, kind, value FROM exclusions") == [(api.key("ann"), "item", "cup")]
