"""Traits that a person lets correct: data sets know the right ones, as they were known at each moment."""

import time

from infra.keys.credentials import Pseudonyms
from models.datasets.known_attributes import as_known
from serving.events.message import correction
from serving.operations.privacy_requests import send
from tasks.ingest.undo.undo_batches import undo_batches
from tasks.lake.reference_data import read_reference_data
from tests.tasks.ingest.inbox.api import Api

FAR = 2**40


def traits(api: Api, at: int = FAR) -> list[dict[str, str]]:
    """The traits of all users as a data set of that moment knows them."""
    known = read_reference_data(api.here)
    rows = as_known(known.users, "user_key", known.user_history, at).drop_columns(["user_key"])
    return [{name: value for name, value in row.items() if value is not None} for row in rows.to_pylist()]


def correct(api: Api, **values: str | None) -> str:
    """Correct traits of ann, a while after the values before; data sets count in seconds."""
    api.rows("UPDATE user_history SET since = since - interval '1 minute' RETURNING 1")
    place = api.here.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    send(place, correction(Pseudonyms(api.here.key.decode()), "ann", values))
    (batch,) = api.move()
    return batch


def test_a_correction_sets_and_unsets_traits_and_an_undo_takes_it_back(api: Api) -> None:
    object.__setattr__(api.here.settings, "user_traits", "age,city")
    api.send(api.user("ann", consent=True, age="30", city="Bonn"))
    api.move()
    before = traits(api)
    assert before == [{"age": "30", "city": "Bonn"}]
    batch = correct(api, city="Berlin", age=None)
    assert traits(api) == [{"city": "Berlin"}]
    assert traits(api, int(time.time()) - 30) == before
    assert len(api.rows("SELECT * FROM user_history")) == 4
    undo_batches.fn([batch], None, "ann", "test")
    assert traits(api) == before


def test_a_trait_that_is_unset_may_be_stated_again(api: Api) -> None:
    object.__setattr__(api.here.settings, "user_traits", "age")
    api.send(api.user("ann", consent=True, age="30"), api.user("bob", consent=True))
    api.move()
    correct(api, age=None)
    assert traits(api) == [{}, {}]
    correct(api, age="31")
    assert sorted(map(len, traits(api))) == [0, 1]
