"""Ids in several spellings and unknown answers are suspicious, with the key that explains them."""

import tomllib

import pyarrow as pa
import pytest

from models.ingest.check.suspicions import unread_consent, unread_stock, user_ids_of_several_spellings
from models.ingest.tabular.mapping_keys import parse
from models.ingest.tabular.table_mapping import UsersMapping


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


USUAL = UsersMapping.model_fields["consent_words"].default


def test_words_of_stock_come_with_what_they_probably_mean_beside_those_that_are_stated() -> None:
    [guess] = unread_stock("Stan", {"Brak": 27, "dostępny": 3, "xyz": 1, "w 5 dni": 1}, {"lieferbar": True})

    assert "32 answers of 'Stan' (available)" in guess.says
    assert tomllib.loads(guess.write) == {
        "available_words": {"lieferbar": True, "brak": False, "dostępny": True, "w 5 dni": True}
    }
    assert guess.write.endswith('# to decide, in stock until then: "xyz"')


def test_a_word_that_may_mean_yes_comes_with_the_key_for_it() -> None:
    [guess] = unread_consent("Newsletter", pa.array(["tak", "nie", "Tak ", None, ""]), USUAL)

    assert "'tak' (2)" in guess.says
    assert "nie" not in guess.says
    assert guess.write == 'consent_words = ["tak"]'


def test_plain_answers_and_columns_of_many_words_are_no_reason_to_look() -> None:
    assert not list(unread_consent("ok", pa.array(["yes", "no", "0"]), USUAL))
    assert not list(unread_consent("ok", pa.array([f"u{n}" for n in range(50)]), USUAL))
