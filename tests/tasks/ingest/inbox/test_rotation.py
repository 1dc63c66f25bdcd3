"""A rotation of the pseudonym key reaches waiting messages and profiles, and so does a message that comes late."""

from dataclasses import replace

from infra.keys.identity import pseudonym
from tasks.rekeying.rotate import rotate_pseudonym_key
from tests.tasks.ingest.inbox.api import Api
from tests.tasks.rekeying.stores import started


def test_waiting_messages_and_profiles_get_the_new_keys(api: Api) -> None:
    old, old_device = api.key("ann"), api.key("phone")
    api.send(api.act("bob", "cup", consent=True))
    api.move()
    api.send(api.act("ann", "cup", consent=True, session="phone"))
    late = replace(api.act("ann", "pan", consent=True), user_id=None)
    rotate_pseudonym_key(api.here.engine, api.here.settings, "ann", "it leaked")
    here = started()
    new = pseudonym("ann", here.key)
    assert new != old
    waiting = api.rows("SELECT user_key, session_key, key_version FROM event_inbox WHERE moved_at IS NULL")
    assert waiting == [(new, pseudonym("phone", here.key), 2)]
    assert api.rows("SELECT subject FROM session_profiles WHERE subject = :new", new=new)
    api.send(late)
    api.here = here
    api.move()
    assert {row["item_id"]: row["user_key"] for row in api.lake() if row["user_key"] == new} == {"cup": new, "pan": new}
    assert len(api.lake()) == 3
    assert old_device not in str(api.rows("SELECT * FROM aliases"))
    assert api.rows("SELECT user_key, user_id FROM identity.users WHERE user_id = 'ann'") == [(new, "ann")]
