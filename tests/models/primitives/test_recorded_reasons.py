from itertools import product

import pytest

from models.errors import reason_fault


@pytest.mark.parametrize("reason", ["", " ", "…", "...", "-", "?!", "„…“", "\u200b", "\x00"])
def test_a_reason_of_punctuation_alone_is_refused_with_an_example(reason: str) -> None:
    expected = 'Say why it is undone, in words, such as --reason "the wrong file": it is recorded.'
    assert reason_fault(reason, "it is undone", "the wrong file") == expected


@pytest.mark.parametrize(("reason", "around"), product(["ok", "pierwszy model", "7", "良い", "źle"], ["{}", "… {} !"]))
def test_a_reason_with_a_word_in_any_script_is_taken(reason: str, around: str) -> None:
    assert reason_fault(around.format(reason), "it is undone", "the wrong file") is None
