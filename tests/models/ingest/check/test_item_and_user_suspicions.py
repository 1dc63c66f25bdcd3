"""Guesses about ids of users that differ only in their spelling."""

import pyarrow as pa
import pytest

from models.ingest.check.item_and_user_suspicions import user_ids_of_several_spellings
from models.ingest.tabular.expressions import parse


@pytest.mark.parametrize(
    ("other", "difference", "expression"),
    [
        (" ann@shop.example", "only in spaces around them", 'trim("E-Mail")'),
        ("Ann@Shop.example ", "only in case or spaces", 'lower(trim("E-Mail"))'),
    ],
)
def test_user_ids_that_differ_only_in_their_spelling_are_counted(other: str, difference: str, expression: str) -> None:
    ids = pa.chunked_array([["ann@shop.example", "bob@shop.example"], [other, None, other]])
    (guess,) = user_ids_of_several_spellings(ids, ["E-Mail"])
    assert guess.says.startswith(f"1 of 3 user ids differ from another one {difference}, and count as other users.")
    assert guess.write == f"user_id = {{ expr = '{expression}' }}"


def test_ids_of_a_few_users_that_differ_in_case_may_be_a_coincidence() -> None:
    ids = pa.chunked_array([[f"user {number}" for number in range(2000)], ["User 7"]])
    assert not list(user_ids_of_several_spellings(ids, ["id"]))
    assert list(user_ids_of_several_spellings(pa.chunked_array([["user 7", "User 7"]]), ["id"]))


def test_each_column_of_a_user_id_is_written_alike() -> None:
    (guess,) = user_ids_of_several_spellings(pa.chunked_array([["a", "a "]]), ["id", parse("lower(mail)", "text")])
    assert guess.write == 'user_id = [{ expr = "trim(id)" }, { expr = "trim(lower(mail))" }]'
