"""Answers that a mapping does not know come with the key that explains them, ready to paste."""

import tomllib

import pyarrow as pa

from models.ingest.check.answer_suspicions import unread_consent, unread_stock
from models.ingest.tabular.table_mapping import UsersMapping

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
