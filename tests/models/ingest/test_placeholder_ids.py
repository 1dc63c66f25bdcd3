from models.ingest.placeholder_ids import ITEMS, PEOPLE, spellings


def test_a_placeholder_is_known_in_every_usual_case() -> None:
    assert spellings(["guest", "[object Object]"]) == [
        *("guest", "GUEST", "Guest"),
        *("[object Object]", "[object object]", "[OBJECT OBJECT]", "[Object Object]"),
    ]
    assert {"null", "NULL", "Null", "N/A", "0", "-1", "00000000-0000-0000-0000-000000000000", "Anonymous"} <= {*PEOPLE}


def test_an_item_may_be_called_what_no_user_is_called() -> None:
    assert {"null", "UNDEFINED", "NaN".lower()} <= {*ITEMS}
    assert not {"0", "-1", "guest", "*"} & {*ITEMS}


def test_spellings_of_spellings_are_the_same() -> None:
    assert set(spellings(PEOPLE)) == set(PEOPLE)
    assert len(set(ITEMS)) == len(ITEMS)
