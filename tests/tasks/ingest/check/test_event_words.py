"""A column of event types is found by its words, in some languages, and never ignored silently."""

import tomllib
from pathlib import Path

import pytest

from models.ingest.draft.vocabulary import event_type_of
from tasks.ingest.check.check_mapping import check_mapping
from tasks.ingest.check.draft_mapping import draft_mapping


def log(folder: Path, column: str, *words: str) -> Path:
    """Write a log of visits with prices: each word is the third as frequent as the one before."""
    rows = [
        f"2025-06-{n % 28 + 1:02} 07:{n % 60:02}:00,U{n * 7 % 31},P{n * 5 % 17:03},{word},4.{n % 90 + 10}"
        for n, word in enumerate(words[(n % 3 == 0) + (n % 9 == 0)] for n in range(300))
    ]
    path = folder / "log.csv"
    path.write_text("\n".join([f"timestamp,user_id,item_id,{column},price", *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("column", ["Azione", "event_type", "Xyz"])
def test_words_of_events_in_another_language_are_read_and_unknown_ones_listed(tmp_path: Path, column: str) -> None:
    text = draft_mapping([str(log(tmp_path, column, "Visualizzazione", "aggiunta al carrello", "boh"))], "shop").text

    events = tomllib.loads(text)["events"]
    assert events["event_type"] == column
    assert events["event_types"] == {"Visualizzazione": "view", "aggiunta al carrello": "add_to_cart"}
    assert f"# Left out until you decide, since no event type is known for these words of {column}: 'boh'." in text


@pytest.mark.parametrize("column", ["event_type", "Xyz"])
def test_a_column_of_words_that_no_list_has_makes_the_event_type_uncertain(tmp_path: Path, column: str) -> None:
    path = log(tmp_path, column, "katselu", "ostoskori", "osto")
    text = draft_mapping([str(path)], "shop").text

    assert f'constants = {{ event_type = "purchase" }}  # uncertain: or event_type = "{column}"' in text
    assert f'# event_type = "{column}"' in text
    assert '# event_types = { katselu = "…", osto = "…", ostoskori = "…" }' in text

    (tmp_path / "shop.toml").write_text(text, encoding="utf-8")
    guesses = check_mapping(str(tmp_path / "shop.toml"), [str(path)])["tables"][-1]["suspicions"]
    [guess] = [one for one in guesses if one["id"] == "event_type_may_be_a_column"]
    assert f"Does '{column}', which is not used, hold event types: 'katselu', 'osto', 'ostoskori'?" in guess["says"]


def test_states_of_orders_and_countries_are_no_events(tmp_path: Path) -> None:
    for column, words in (("Stav", ("vyřízeno", "odesláno", "zaplaceno")), ("Land", ("DE", "AT", "CH"))):
        assert "uncertain: or event_type" not in draft_mapping([str(log(tmp_path, column, *words))], "shop").text


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("In den Warenkorb", "add_to_cart"),
        ("J'aime", "like"),
        ("Añadido al carrito", "add_to_cart"),
        ("Visualização", "view"),
        ("Toegevoegd aan winkelwagen", "add_to_cart"),
        ("Dodano do koszyka", "add_to_cart"),
        ("zobrazení", "view"),
        ("Köp", "purchase"),
        ("Görüntüleme", "view"),
        ("Goruntuleme", "view"),
        ("Valutazione", "rating"),
    ],
)
def test_words_are_known_with_and_without_accents(word: str, kind: str) -> None:
    assert event_type_of(word) == kind
